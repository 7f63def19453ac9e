"""Block statistics: a mean per parameter and a scalar deviation per block whiten weights for the denoiser.

    statistics = BlockStatistics.from_blocks(train_blocks, layout.mask)
    x = statistics.normalize(blocks)            # [..., num_blocks, block_size], padding is exactly 0
    blocks = statistics.denormalize(x)

The statistics come from the training split only and are stored with the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zoo.errors import WeightzooError
from zoo.layout import WeightLayout
from zoo.tensors import read_tensors, write_tensors

STD_FLOOR = 0.05  # of the median block deviation: a block that hardly moves is not blown up to unit variance


@dataclass(frozen=True)
class BlockStatistics:
    """mean and mask (True = weight) [num_blocks, block_size], std [num_blocks] (floored, > 0)."""

    mean: Tensor
    std: Tensor
    mask: Tensor

    @classmethod
    def from_blocks(cls, blocks: Tensor, mask: Tensor) -> BlockStatistics:
        """Return statistics of `blocks` [N, num_blocks, block_size]; a deviation is pooled over a block's weights."""
        if len(blocks) == 0:
            raise WeightzooError(
                "there are no weights to compute statistics from; check that the zoo has training records"
            )
        mask = mask.to(torch.bool)
        mean = blocks.double().mean(0) * mask
        squares = ((blocks - mean) ** 2 * mask).mean(0).sum(-1)
        std = (squares / mask.sum(-1).clamp(min=1)).sqrt()
        return cls(mean.float(), _floored(std.float()), mask)

    @classmethod
    def from_zoo(cls, found: Mapping[str, np.ndarray], layout: WeightLayout) -> BlockStatistics:
        """Return the statistics in a zoo's `statistics.safetensors`, with deviations of at least the floor."""
        mean, std = torch.from_numpy(found["mean"]), torch.from_numpy(found["std"])
        return cls(mean * layout.mask, _floored(std), layout.mask)

    def normalize(self, blocks: Tensor) -> Tensor:
        """Return weights [..., num_blocks, block_size] with about unit variance in each block; padding becomes 0."""
        return (blocks - self.mean) / self.std[:, None] * self.mask

    def denormalize(self, normalized: Tensor) -> Tensor:
        """Return the weights that `normalize` was given; padding becomes 0."""
        return (normalized * self.std[:, None] + self.mean) * self.mask

    def to(self, device: torch.device | str) -> BlockStatistics:
        return BlockStatistics(self.mean.to(device), self.std.to(device), self.mask.to(device))

    def save(self, path: str | Path) -> None:
        """Write a safetensors file, atomically."""
        write_tensors(path, {"mean": self.mean, "std": self.std, "mask": self.mask.to(torch.uint8)})

    @classmethod
    def load(cls, path: str | Path) -> BlockStatistics:
        """Read what `save` wrote.

        Raises:
            WeightzooError: absent, unreadable or another file.
        """
        tensors, _ = read_tensors(path)
        if set(tensors) != {"mean", "std", "mask"}:
            raise WeightzooError(f"{path} holds no block statistics; copy the model folder again")
        return cls(tensors["mean"], tensors["std"], tensors["mask"].bool())


def _floored(std: Tensor) -> Tensor:
    return std.clamp(min=max(STD_FLOOR * float(std.median()), 1e-6))
