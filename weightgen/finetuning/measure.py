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
SEED_OF_PLACES = 7919  # of the pixels of training squares that networks of pixels are measured on
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
    """What K networks are worth on their test pairs and training pairs; the targets' features are computed once."""

    def __init__(self, tensors: PairTensors, feature_network: str | None) -> None:
        self.tensors = tensors
        every = -(-tensors.targets.shape[1] // TRAINING_PICTURES)
        self.sources, self.targets = tensors.sources[:, ::every], tensors.targets[:, ::every].cpu()
        self.looked: Looked | None = None  # what a network of pixels sees of the training squares
        enough = tensors.test_targets.shape[1] >= 2
        self.features = load_features(feature_network) if feature_network and enough else None
        if self.features is not None:
            self.target_features = [self.features(targets) for targets in tensors.test_targets.cpu()]

    def __call__(self, generator: nn.Module, params: Mapping[str, Tensor]) -> list[Row]:
        """Return one row for each of the K networks whose parameters are stacked in `params`.

        Returns:
            `psnr`, `kid` and what `errors` gives, on the test pairs; with the prefix `train_`, what `errors` gives on
            at most 16 squares of the training pairs, the same ones each time; of a network of pixels on pixels of them.
        """
        images = render(generator, params, self.tensors.test_sources).cpu()
        trained, wanted = self.trained(generator, params)
        return [self.row(k, images[k], trained[k], wanted[k]) for k in range(len(images))]

    @torch.no_grad()
    def trained(self, generator: nn.Module, params: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return edited training squares and their targets, [K, T, 3, S, S] each, on the processor.

        Of a network of pixels [K, T, 3, P, 1]: scattered pixels of each square, others than those that are trained on.
        """
        if not isinstance(generator, SolvedGenerator):
            return render(generator, params, self.sources).cpu(), self.targets
        if self.looked is None:
            self.looked = look(generator, self.sources, SEED_OF_PLACES)
        edited = []
        for k, squares in enumerate(self.looked.maps):
            own = {name: value[k : k + 1] for name, value in params.items()}
            edited.append(torch.cat([run_on_pixels(generator, own, generator.see(maps)) for maps in squares]))
        flat = torch.stack(edited).clamp(0, 1).cpu(), at(self.targets, self.looked.places.cpu())
        edits, targets = (part.transpose(-1, -2).unsqueeze(-1) for part in flat)
        return edits, targets

    def row(self, k: int, images: Tensor, trained: Tensor, wanted: Tensor) -> Row:
        """Return the row of concept k for its edited test pictures, its training squares and their targets."""
        targets = self.tensors.test_targets[k].cpu()
        distance = None
        if self.features is not None and bool(torch.isfinite(images).all()):
            distance = rounded(kid(self.features(images), self.target_features[k], paired=True))
        on_training = {f"train_{key}": value for key, value in errors(trained, wanted).items()}
        return errors(images, targets) | {"psnr": rounded(psnr(images, targets).mean()), "kid": distance} | on_training
