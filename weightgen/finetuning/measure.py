"""What networks make of pictures, and what they are worth on their test pairs and on their training pairs.

    images = render(generator, params, sources)     # [K, N, 3, S, S]
    measure = Measure(tensors, "efficientnet-lite0")
    rows = measure(generator, params)          # of each of K networks, {"l1": .048, "psnr": 22.1, "kid": .021, ...}

L1 alone does not see an even grey page: for a drawing it is as near to the targets as many a good picture. So a row has
the contrast as well, and `error`, which adds up both, is what networks are compared by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from zoo.adapters.lora import merge_tensors, plain, plain_config
from zoo.files import rounded
from zoo.gans.solved import SolvedGenerator
from zoo.pictures.features import load_features
from zoo.pictures.metrics import kid, l1, psnr
from zoo.training.batches import Looked, at, look
from zoo.training.gan_objective import run_on_pixels
from zoo.training.train_gan import run_generators

# small batches stay in the processor's cache; the U-Net's batch norm depends on the number, so it is not to vary
IMAGES_AT_ONCE = 8
SEED_OF_PLACES = 7919  # of the pixels that networks of pixels are measured on
TRAINING_PICTURES = 16  # of all training squares: 64 of them would cost as much as four training steps

Row = dict[str, Any]


@dataclass(frozen=True)
class PairTensors:
    """Training and test pairs of K concepts: [K, N, 3, S, S] and [K, T, 3, S, S], RGB in [0, 1]."""

    sources: Tensor
    targets: Tensor
    test_sources: Tensor
    test_targets: Tensor

    def to(self, device: torch.device) -> PairTensors:
        """Return the same pairs on a device."""
        return PairTensors(*(getattr(self, field.name).to(device) for field in fields(self)))


@torch.no_grad()
def render(generator: nn.Module, params: Mapping[str, Tensor], images: Tensor) -> Tensor:
    """Return what `zoo.training.train_gan.run_generators` computes, one network after the other.

    Without gradients that is faster for convolutions: they are not grouped, and LoRA factors are merged first.

    Args:
        params: {name: [K, ...]}, whole networks or adapters of `generator`.
        images: [K, N, 3, H, W].

    Returns:
        [K, N, 3, H, W], clamped to [0, 1].
    """
    if isinstance(generator, SolvedGenerator):
        return run_generators(generator, params, images).clamp(0, 1)
    network, shared = generator, generator.state_dict()
    if plain_config(generator.config) != generator.config:
        network = plain(generator).train(generator.training)
    edited = []
    for k, sources in enumerate(images):
        own = merge_tensors(shared | {name: value[k] for name, value in params.items()})
        batches = sources.contiguous(memory_format=torch.channels_last).split(IMAGES_AT_ONCE)
        edited.append(torch.cat([functional_call(network, own, (batch,)).clamp(0, 1) for batch in batches]))
    return torch.stack(edited)


def contrast(images: Tensor) -> Tensor:
    """Return the standard deviation within each picture, mean of its three colours: [..., 3, H, W] -> [...]."""
    return images.flatten(-2).std(-1).mean(-1)


def errors(images: Tensor, targets: Tensor) -> Row:
    """Return how far pictures [N, 3, H, W] in [0, 1] are from their targets, of the same shape.

    Returns:
        `l1`; `contrast`, as a share of the targets' (None where they have none); `error`, L1 plus the mean difference
        of contrast. None stands for what is not finite.
    """
    distance, own, wanted = l1(images, targets).mean(), contrast(images), contrast(targets)
    return {
        "l1": rounded(distance),
        "contrast": rounded(own.mean() / wanted.mean()),
        "error": rounded(distance + (own - wanted).abs().mean()),
    }


class Measure:
    """What K networks are worth on their test pairs and training pairs; the targets' features are computed once.

    A network of pixels (`zoo.gans.solved`) is measured on scattered pixels of pictures, others than those that it is
    trained on, but for KID: whole pictures would take longer than the training.
    """

    def __init__(self, tensors: PairTensors, feature_network: str | None) -> None:
        every = -(-tensors.targets.shape[1] // TRAINING_PICTURES)
        self.parts = {
            "test": (tensors.test_sources, tensors.test_targets.cpu()),
            "train": (tensors.sources[:, ::every], tensors.targets[:, ::every].cpu()),
        }
        self.looked: dict[str, Looked] = {}
        enough = tensors.test_targets.shape[1] >= 2
        self.features = load_features(feature_network) if feature_network and enough else None
        if self.features is not None:
            self.target_features = [self.features(targets) for targets in self.parts["test"][1]]

    def __call__(self, generator: nn.Module, params: Mapping[str, Tensor]) -> list[Row]:
        """Return one row for each of the K networks whose parameters are stacked in `params`.

        Returns:
            `psnr`, `kid` and what `errors` gives, on the test pairs; with the prefix `train_`, what `errors` gives on
            at most 16 squares of the training pairs, the same ones each time.
        """
        pixels = isinstance(generator, SolvedGenerator)
        images, targets = self.edited(generator, params, "test", pixels and self.features is None)
        trained, wanted = self.edited(generator, params, "train", pixels)
        rows = []
        for k, own in enumerate(images):
            distance = None
            if self.features is not None and bool(torch.isfinite(own).all()):
                distance = rounded(kid(self.features(own), self.target_features[k], paired=True))
            row = errors(own, targets[k]) | {"psnr": rounded(psnr(own, targets[k]).mean()), "kid": distance}
            rows.append(row | {f"train_{key}": value for key, value in errors(trained[k], wanted[k]).items()})
        return rows

    def edited(
        self, generator: nn.Module, params: Mapping[str, Tensor], part: str, pixels: bool
    ) -> tuple[Tensor, Tensor]:
        """Return edited pictures of the "test" or "train" pairs and their targets, on the processor.

        Returns:
            [K, T, 3, S, S] each; of `pixels` [K, T, 3, P, 1].
        """
        sources, targets = self.parts[part]
        if not pixels:
            return render(generator, params, sources).cpu(), targets
        assert isinstance(generator, SolvedGenerator)
        if part not in self.looked:
            self.looked[part] = look(generator, sources, SEED_OF_PLACES)
        looked = self.looked[part]
        edited = render_pixels(generator, params, looked.maps).cpu(), at(targets, looked.places)
        images, wanted = (rows.transpose(-1, -2).unsqueeze(-1) for rows in edited)
        return images, wanted


@torch.no_grad()
def render_pixels(generator: SolvedGenerator, params: Mapping[str, Tensor], maps: Tensor) -> Tensor:
    """Return pixels as K networks edit them, [K, T, P, 3] in [0, 1], from their maps [K, T, P, CHANNELS]."""
    edited = []
    for k, pictures in enumerate(maps):
        own = {name: value[k : k + 1] for name, value in params.items()}
        edited.append(torch.cat([run_on_pixels(generator, own, generator.see(picture)) for picture in pictures]))
    return torch.stack(edited).clamp(0, 1)
