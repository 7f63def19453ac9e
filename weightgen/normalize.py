"""Block statistics: the per-parameter mean and the per-block scalar deviation that whiten weights for the denoiser.

    statistics = BlockStatistics.from_blocks(train_blocks, layout.mask)
    x = statistics.normalize(blocks)            # [..., num_blocks, block_size], padding is exactly 0
    blocks = statistics.denormalize(x)

The statistics come from the training split only and are stored with the model.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from zoo.errors import WeightzooError
from zoo.files import atomic_path
from zoo.records import WeightRecord

STD_FLOOR = 0.05  # of the median block deviation: a block that hardly moves is not blown up to unit variance


@dataclass(frozen=True)
class BlockStatistics:
    """mean [num_blocks, block_size], std [num_blocks] (floored, > 0), mask [num_blocks, block_size] (True = weight)."""

    mean: Tensor
    std: Tensor
    mask: Tensor

    @classmethod
    def from_blocks(cls, blocks: Tensor, mask: Tensor, floor: float = STD_FLOOR) -> BlockStatistics:
        """Statistics of `blocks` [N, num_blocks, block_size]; deviations are pooled over a block's own weights."""
        if len(blocks) == 0:
            raise WeightzooError("no weights to take statistics from; is the training split empty?")
        mask = mask.to(torch.bool)
        mean = blocks.double().mean(0) * mask
        squares = ((blocks - mean) ** 2 * mask).mean(0).sum(-1)
        std = (squares / mask.sum(-1).clamp(min=1)).sqrt()
        std = std.clamp(min=max(floor * float(std.median()), 1e-6))
        return cls(mean.float(), std.float(), mask)

    @classmethod
    def from_records(cls, records: Iterable[WeightRecord], mask: Tensor) -> BlockStatistics:
        """Statistics of an iterable of records (all held in memory once, as float16)."""
        stacked = [torch.from_numpy(np.asarray(record.blocks)) for record in records]
        if not stacked:
            raise WeightzooError("no weights to take statistics from; is the training split empty?")
        return cls.from_blocks(torch.stack(stacked).float(), mask)

    def normalize(self, blocks: Tensor) -> Tensor:
        """Weights [..., num_blocks, block_size] -> about unit variance a block; padding becomes 0."""
        return (blocks - self.mean) / self.std[:, None] * self.mask

    def denormalize(self, normalized: Tensor) -> Tensor:
        """The inverse of `normalize` on weights; padding becomes 0."""
        return (normalized * self.std[:, None] + self.mean) * self.mask

    def to(self, device: torch.device | str) -> BlockStatistics:
        return BlockStatistics(self.mean.to(device), self.std.to(device), self.mask.to(device))

    def save(self, path: str | Path) -> None:
        with atomic_path(path) as temporary:
            save_file({"mean": self.mean, "std": self.std, "mask": self.mask.to(torch.uint8)}, temporary)

    @classmethod
    def load(cls, path: str | Path) -> BlockStatistics:
        try:
            tensors = load_file(path)
            return cls(tensors["mean"].float(), tensors["std"].float(), tensors["mask"].bool())
        except Exception as error:
            raise WeightzooError(f"{path} cannot be read as block statistics ({error}); copy it again") from error
