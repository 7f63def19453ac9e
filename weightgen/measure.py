"""What fine-tuned networks are worth on their test pairs: L1, PSNR, KID.

    measure = Measure(tensors, "efficientnet-lite0")
    rows = measure(generator, params)          # {"l1", "psnr", "kid"} of each of K networks
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from zoo.features import load_features
from zoo.metrics import kid, l1, psnr
from zoo.train_gan import run_generators

EVALUATION_BATCH = 32

Row = dict[str, Any]


@dataclass(frozen=True)
class PairTensors:
    """Training and test pairs of K concepts: [K, N, 3, S, S] and [K, T, 3, S, S], RGB in [0, 1]."""

    sources: Tensor
    targets: Tensor
    test_sources: Tensor
    test_targets: Tensor

    def to(self, device: torch.device) -> PairTensors:
        """The same pairs on a device."""
        return PairTensors(*(getattr(self, field.name).to(device) for field in fields(self)))


class Measure:
    """L1, PSNR and KID of K networks on their test pairs; the targets' features are computed once."""

    def __init__(self, tensors: PairTensors, feature_network: str | None) -> None:
        self.tensors = tensors
        enough = tensors.test_targets.shape[1] >= 2
        self.features = load_features(feature_network) if feature_network and enough else None
        if self.features is not None:
            self.target_features = [self.features(targets) for targets in tensors.test_targets.cpu()]

    @torch.no_grad()
    def __call__(self, generator: nn.Module, params: Mapping[str, Tensor]) -> list[Row]:
        """One row for each of the K networks whose parameters are stacked in `params`."""
        own = {name: value.detach() for name, value in params.items()}
        parts = [
            run_generators(generator, own, sources)
            for sources in self.tensors.test_sources.split(EVALUATION_BATCH, dim=1)
        ]
        images = torch.cat(parts, 1).clamp(0, 1).cpu()
        return [self.row(k, images[k]) for k in range(len(images))]

    def row(self, k: int, images: Tensor) -> Row:
        """The row of concept k for its edited test pictures, [T, 3, S, S] in [0, 1]."""
        targets = self.tensors.test_targets[k].cpu()
        distance = None
        if self.features is not None and bool(torch.isfinite(images).all()):
            distance = round(kid(self.features(images), self.target_features[k], paired=True), 6)
        return {
            "l1": number(l1(images, targets).mean()),
            "psnr": number(psnr(images, targets).mean()),
            "kid": distance,
        }


def number(value: Tensor) -> float | None:
    """A rounded float, or None where JSON has no word for it."""
    return round(float(value), 6) if math.isfinite(float(value)) else None
