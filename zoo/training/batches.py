"""What fleets are trained on, step by step: pictures, or pixels that are scattered over photographs.

    material = material_of(generator, sources, targets, seed=0)
    for index in material.indices(batch_size=4, seed=0):
        batch = material.batch(index)

A network of whole pictures takes a few pictures in each step. A network of single pixels (`zoo.gans.solved`) takes
pixels of many photographs, and a few crops beside them for the discriminator: after 300 steps on scattered pixels its
error is half of that after 300 steps on as many pixels of crops (docs/LOG.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor, nn

from zoo.gans.solved import Seen, SolvedGenerator

PIXELS = 4096  # that are kept of each photograph
GROUP = 256  # of them are taken together
PIXELS_OF_A_STEP = 4096
CROP, CROPS_OF_A_STEP = 32, 2  # side in pixels


class Batch(NamedTuple):
    """One step's data of K concepts.

    Attributes:
        inputs: what the generators take: pictures [B, 3, S, S] or pixels; with a leading K if concepts have their own.
        targets: what they should give: [K, B, 3, S, S], or [K, P, 3].
        sources: pictures for the discriminators, [B, 3, s, s] or [K, B, 3, s, s].
    """

    inputs: Tensor | Seen
    targets: Tensor
    sources: Tensor

    def to(self, device: str | torch.device) -> Batch:
        """Return the batch on a device."""
        inputs = self.inputs
        moved = inputs.to(device) if isinstance(inputs, Tensor) else Seen(*(part.to(device) for part in inputs))
        return Batch(moved, self.targets.to(device), self.sources.to(device))

    def pictures(self, outputs: Tensor) -> Tensor:
        """Return the pictures [K, B, 3, s, s] among what generators gave: all of it, or the crops, which come last."""
        if isinstance(self.inputs, Tensor):
            return outputs
        count, side = self.sources.shape[-4], self.sources.shape[-1]
        last = outputs[:, outputs.shape[1] - count * side * side :]
        return last.unflatten(1, (count, side, side)).movedim(-1, 2)


@dataclass(frozen=True, eq=False)
class Pictures:
    """Whole pictures to train on: `sources` [N, 3, S, S] or [K, N, 3, S, S], `targets` [K, N, 3, S, S]."""

    sources: Tensor
    targets: Tensor

    def indices(self, batch_size: int, seed: int) -> Iterator[Tensor]:
        """Yield endless batches of `batch_size` pictures."""
        return batch_indices(self.targets.shape[1], batch_size, seed)

    def batch(self, index: Tensor, concepts: Tensor | None = None) -> Batch:
        """Return the pictures of an index, of all concepts or of some."""
        sources, targets = self.sources, self.targets
        if concepts is not None:
            sources, targets = sources if sources.dim() == 4 else sources[concepts], targets[concepts]
        chosen = sources[..., index, :, :, :]
        return Batch(chosen, targets[:, index], chosen)


@dataclass(frozen=True, eq=False)
class Looked:
    """What a generator sees of photographs, [N, ...] of each or [K, N, ...] of each concept's own.

    Attributes:
        places, maps: of scattered pixels, [P] in the flattened picture and [P, CHANNELS].
        crop_places, crop_maps: of a crop, from its top left to its bottom right.
        crops: the crop itself, [3, s, s].
    """

    places: Tensor
    maps: Tensor
    crop_places: Tensor
    crop_maps: Tensor
    crops: Tensor


@dataclass(frozen=True, eq=False)
class Pixels:
    """Pixels to train on: what is seen of them, and the targets there, [K, N, P, 3] and [K, N, s * s, 3]."""

    generator: SolvedGenerator
    looked: Looked
    targets: Tensor
    crop_targets: Tensor

    def indices(self, batch_size: int, seed: int) -> Iterator[Tensor]:
        """Yield endless batches of groups of pixels, then photographs whose crops are taken."""
        groups = batch_indices(self.num_groups, PIXELS_OF_A_STEP // min(GROUP, self.targets.shape[2]), seed)
        crops = batch_indices(self.num_photographs, CROPS_OF_A_STEP, seed + 1)
        return (torch.cat(pair) for pair in zip(groups, crops, strict=True))

    @property
    def num_photographs(self) -> int:
        """Return how many photographs each concept has."""
        return self.targets.shape[1]

    def some(self, count: int, seed: int) -> Batch:
        """Return about `count` pixels, and crops."""
        groups = max(1, count // min(GROUP, self.targets.shape[2]))
        index = next(batch_indices(self.num_groups, min(groups, self.num_groups), seed))
        return self.batch(torch.cat([index, torch.arange(CROPS_OF_A_STEP) % self.num_photographs]))

    @property
    def num_groups(self) -> int:
        """Return how many groups of pixels there are."""
        pixels = self.targets.shape[2]
        return self.num_photographs * (pixels // min(GROUP, pixels))

    def batch(self, index: Tensor, concepts: Tensor | None = None) -> Batch:
        """Return the pixels of an index, of all concepts or of some."""
        groups, crops = index[:-CROPS_OF_A_STEP], index[-CROPS_OF_A_STEP:]

        def of(part: Tensor, owned: bool) -> Tensor:
            return part if concepts is None or not owned else part[concepts]

        own = self.looked.maps.dim() == 4
        maps = (
            taken(of(self.looked.maps, own), groups),
            of(self.looked.crop_maps, own)[..., crops, :, :].flatten(-3, -2),
        )
        targets = taken(of(self.targets, True), groups), of(self.crop_targets, True)[:, crops].flatten(-3, -2)
        seen = self.generator.see(torch.cat(maps, -2))
        return Batch(seen, torch.cat(targets, -2), of(self.looked.crops, own)[..., crops, :, :, :])


def taken(pixels: Tensor, groups: Tensor) -> Tensor:
    """Return groups of pixels [..., G, c] out of [..., N, P, c]."""
    size = min(GROUP, pixels.shape[-2])
    whole = pixels[..., : pixels.shape[-2] // size * size, :]
    return whole.unflatten(-2, (-1, size)).flatten(-4, -3)[..., groups, :, :].flatten(-3, -2)


def material_of(generator: nn.Module, sources: Tensor | Looked, targets: Tensor, seed: int = 0) -> Pictures | Pixels:
    """Return what a generator is trained on.

    Args:
        sources: [N, 3, S, S] for all concepts or [K, N, 3, S, S], RGB in [0, 1]; or what :func:`look` made of them.
        targets: [K, N, 3, S, S].
        seed: of the pixels.
    """
    looked = seen_by(generator, sources, seed)
    if isinstance(looked, Tensor):
        return Pictures(looked, targets)
    assert isinstance(generator, SolvedGenerator)
    return Pixels(generator, looked, at(targets, looked.places), at(targets, looked.crop_places))


def joined(parts: Sequence[Pictures | Pixels], count: int) -> Pictures | Pixels:
    """Return the pairs of the first `count` concepts of several fleets as those of one.

    Fleets of one teacher share their photographs, or each concept has its own.
    """
    first = parts[0]
    targets = torch.cat([part.targets for part in parts])[:count]
    if isinstance(first, Pictures):
        own = first.sources.dim() == 5
        sources = torch.cat([part.sources for part in parts if isinstance(part, Pictures)])[:count]
        return Pictures(sources if own else first.sources, targets)
    pixels = [part for part in parts if isinstance(part, Pixels)]
    looked = first.looked
    if looked.maps.dim() == 4:
        names = [field.name for field in fields(Looked)]
        looked = Looked(*(torch.cat([getattr(part.looked, name) for part in pixels])[:count] for name in names))
    return Pixels(first.generator, looked, targets, torch.cat([part.crop_targets for part in pixels])[:count])


def at(pictures: Tensor, places: Tensor) -> Tensor:
    """Return pixels [K, N, P, 3] of pictures [K, N, 3, H, W] at places [N, P] or [K, N, P]."""
    flat, places = pictures.flatten(-2), places.to(pictures.device)
    return flat.gather(-1, places.unsqueeze(-2).expand(*flat.shape[:-1], -1)).transpose(-1, -2).contiguous()


def seen_by(generator: nn.Module, sources: Tensor | Looked, seed: int = 0) -> Tensor | Looked:
    """Return photographs as a generator is trained on them; for a network of pixels, what it sees of them."""
    if isinstance(sources, Looked) or not isinstance(generator, SolvedGenerator):
        return sources
    return look(generator, sources, seed)


@torch.no_grad()
def look(generator: SolvedGenerator, photographs: Tensor, seed: int = 0) -> Looked:
    """Return what a generator sees of photographs [N, 3, H, W] or [K, N, 3, H, W]; the same for the same seed."""
    height, width = photographs.shape[-2:]
    side = min(CROP, height, width)
    draw = torch.Generator().manual_seed(seed)
    rows = []
    for photograph in photographs.flatten(0, -4):
        scattered = torch.randperm(height * width, generator=draw)[:PIXELS]
        top, left = (int(torch.randint(length - side + 1, (), generator=draw)) for length in (height, width))
        crop = (torch.arange(top, top + side)[:, None] * width + torch.arange(left, left + side)).flatten()
        maps = generator.maps_of(photograph, torch.cat([scattered, crop]))
        picture = photograph[:, top : top + side, left : left + side]
        rows.append((scattered, maps[: len(scattered)], crop, maps[len(scattered) :], picture))
    parts = (torch.stack(part).unflatten(0, photographs.shape[:-3]) for part in zip(*rows, strict=True))
    return Looked(*parts)


def batch_indices(count: int, batch_size: int, seed: int) -> Iterator[Tensor]:
    """Yield endless batches of indices below `count`, by shuffled epochs, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    queue = torch.empty(0, dtype=torch.long)
    while True:
        while len(queue) < batch_size:
            queue = torch.cat([queue, torch.randperm(count, generator=generator)])
        yield queue[:batch_size]
        queue = queue[batch_size:]
