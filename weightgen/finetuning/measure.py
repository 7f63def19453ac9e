"""What networks make of pictures, and what they are worth on their test pairs: L1, PSNR, KID.

    images = render(generator, params, sources)     # [K, N, 3, S, S]
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
from torch.func import functional_call

from zoo.features import load_features
from zoo.lora import merge_tensors, plain, plain_config
from zoo.metrics import kid, l1, psnr

# small batches stay in the processor's cache; the U-Net's batch norm depends on the number, so it is not to vary
IMAGES_AT_ONCE = 8

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


@torch.no_grad()
def render(generator: nn.Module, params: Mapping[str, Tensor], images: Tensor) -> Tensor:
    """What `zoo.train_gan.run_generators` computes, one network after the other.

    Without gradients that is faster: the convolutions are not grouped, and LoRA factors are merged first.

    Args:
        params: {name: [K, ...]}, whole networks or adapters of `generator`.
        images: [K, N, 3, H, W].

    Returns:
        [K, N, 3, H, W], clamped to [0, 1].
    """
    network, shared = generator, generator.state_dict()
    if plain_config(generator.config) != generator.config:
        network = plain(generator).train(generator.training)
    edited = []
    for k, sources in enumerate(images):
        own = merge_tensors(shared | {name: value[k] for name, value in params.items()})
        batches = sources.contiguous(memory_format=torch.channels_last).split(IMAGES_AT_ONCE)
        edited.append(torch.cat([functional_call(network, own, (batch,)).clamp(0, 1) for batch in batches]))
    return torch.stack(edited)


class Measure:
    """L1, PSNR and KID of K networks on their test pairs; the targets' features are computed once."""

    def __init__(self, tensors: PairTensors, feature_network: str | None) -> None:
        self.tensors = tensors
        enough = tensors.test_targets.shape[1] >= 2
        self.features = load_features(feature_network) if feature_network and enough else None
        if self.features is not None:
            self.target_features = [self.features(targets) for targets in tensors.test_targets.cpu()]

    def __call__(self, generator: nn.Module, params: Mapping[str, Tensor]) -> list[Row]:
        """One row for each of the K networks whose parameters are stacked in `params`."""
        images = render(generator, params, self.tensors.test_sources).cpu()
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
