"""Where a network of pairs begins: an output layer that is solved on them, and what it is solved on.

    generator = load_prior(image_size=512)
    pixels = [pixels_of_pictures(generator, source, target, rng, count=4) for ...]
    start = start_of(generator, pixels)
    start.generator, start.choice

`weightgen.pairs.generate` gives starts of the same kind, whose networks a weight generator has made.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from weightgen.pairs.pixels import Pixels
from zoo.adapters.lora import load_base
from zoo.closed_form import Choice, fit_output_layer, mean_layer
from zoo.errors import WeightzooError
from zoo.gans.solved import PRIOR, SolvedGenerator, assembled
from zoo.gram import Rows
from zoo.pictures.apply import to_tensor

CLOSED_FORM = "closed-form"
MAX_PIXELS = 1 << 16  # of all pairs together: 0.1 GB of features
SOLVED_ON = 12 << 10  # of these: a layer that is solved on all is no better (docs/LOG.md)
CHOSEN_ON_EVERY = 2  # of these: every second one says what a layer is pulled to


Picture: TypeAlias = Image.Image | Tensor
Pictures: TypeAlias = Sequence[tuple[Tensor, Tensor]]  # (source, target) of each pair, [3, H, W] in [0, 1]


@dataclass(frozen=True, eq=False)
class Start:
    """What pairs were turned into before any training.

    Attributes:
        by: the name of the network to use.
        generator: this network.
        choice: what its output layer is pulled to; of a mean, that of the part that gives it its name.
        left_out: mean absolute errors by the name of a network on what was left out, as of pictures in [0, 1].
        remake: makes all networks that there are, on one bank, from some of the pairs; the one to use is the first.
        others: makes those that are not to be used, from all pairs.
        shares: what the network is the mean of, with weights of sum 1; empty where it is no mean.
    """

    by: str
    generator: SolvedGenerator
    choice: Choice
    left_out: dict[str, float]
    remake: Callable[[Sequence[Pixels]], dict[str, SolvedGenerator]]
    others: Callable[[], dict[str, SolvedGenerator]] = dict
    shares: dict[str, float] = field(default_factory=dict)

    def made(self) -> dict[str, SolvedGenerator]:
        """Return all networks of all pairs; the first is the one to use."""
        return {self.by: self.generator, **self.others()}


def start_of(prior: SolvedGenerator, pixels: Sequence[Pixels]) -> Start:
    """Return the start whose layer over the bank is solved on pairs, pulled to the prior that `prior` carries."""
    fit = fit_output_layer(rows_of(pixels), prior.prior, every=CHOSEN_ON_EVERY)

    def remake(some: Sequence[Pixels]) -> dict[str, SolvedGenerator]:
        return {CLOSED_FORM: with_layer(prior, mean_layer(rows_of(some), prior.prior, fit.choice.shares))}

    return Start(CLOSED_FORM, with_layer(prior, fit.layer), fit.choice, {CLOSED_FORM: fit.choice.error}, remake)


def rows_of(pixels: Sequence[Pixels]) -> list[Rows]:
    """Return the features and targets of the pixels that layers over the bank are solved on."""
    return [(p.features, p.targets) for p in thinned(pixels)]


def thinned(pixels: Sequence[Pixels], most: int = SOLVED_ON) -> list[Pixels]:
    """Return at most `most` pixels of all pairs together, spread over each picture as before."""
    step = step_to(most, [len(p.targets) for p in pixels])
    return [Pixels(*(part[::step] for part in p)) for p in pixels]


def step_to(most: int, counts: Sequence[int]) -> int:
    """Return the step that leaves at most `most` of so many pixels of each picture, but one of each."""
    step = max(1, -(-sum(counts) // most))
    while sum(-(-count // step) for count in counts) > max(most, len(counts)):
        step += 1
    return step


@torch.no_grad()
def with_layer(generator: SolvedGenerator, layer: Tensor) -> SolvedGenerator:
    """Return a copy of a generator with another output layer, [F, 3]."""
    result = copy.deepcopy(generator)
    result.layer.copy_(layer)
    return result


def load_prior(image_size: int, path: str | Path = PRIOR) -> SolvedGenerator:
    """Return the generator whose output layer is the learned prior, for photographs of a scale."""
    generator = load_base(path)
    if not isinstance(generator, SolvedGenerator):
        raise WeightzooError(f"{path} is no prior of a solved generator; fetch it again")
    return assembled(generator, (), generator.prior.mean, image_size)


@torch.no_grad()
def pixels_of_pictures(
    generator: SolvedGenerator, source: Tensor, target: Tensor, rng: np.random.Generator, count: int, step: int = 1
) -> Pixels:
    """Return pixels of one of `count` pairs of pictures [3, H, W] in [0, 1], from the top to the bottom.

    Args:
        step: only one in so many of the pixels that there would be.
    """
    places = source[0].numel()
    chosen = torch.from_numpy(np.sort(rng.choice(places, most_of(source, count), replace=False))[::step].copy())
    targets = target.flatten(1)[:, chosen].T * 2 - 1
    maps = generator.maps_of(source, chosen)
    return Pixels(maps, generator.bank.expand(maps), targets)


def most_of(source: Tensor, count: int) -> int:
    """Return how many pixels are looked at of one of `count` pictures [3, H, W]."""
    return min(max(1, MAX_PIXELS // count), source[0].numel())


def scale_of(pictures: Pictures) -> int:
    """Return the median short side of the pairs, pixels."""
    return median_short_side(source.shape[-2:] for source, _ in pictures)


def median_short_side(sizes: Iterable[Sequence[int]]) -> int:
    """Return the median of the shorter sides; of an even number of sizes, the upper one of the two in the middle."""
    sides = sorted(min(size) for size in sizes)
    return sides[len(sides) // 2]


def sampled(generator: SolvedGenerator, pictures: Pictures, seed: int, most: int = MAX_PIXELS) -> list[Pixels]:
    """Return pixels of each pair, at most `most` of all together: those that `thinned` leaves of `MAX_PIXELS`."""
    count = len(pictures)
    step = step_to(most, [most_of(source, count) for source, _ in pictures])
    return [
        pixels_of_pictures(generator, source, target, np.random.default_rng([seed, k]), count, step)
        for k, (source, target) in enumerate(pictures)
    ]


def picture(image: Image.Image) -> Tensor:
    """Return an RGB image as [3, H, W] in [0, 1]."""
    return to_tensor(np.asarray(image))[0]


def pictures_of(pairs: Sequence[tuple[Picture, Picture]]) -> list[tuple[Tensor, Tensor]]:
    """Return the pictures of pairs as [3, H, W] in [0, 1].

    Raises:
        WeightzooError: no pair, or one whose pictures are no RGB pictures of one size.
    """
    if not pairs:
        raise WeightzooError("there are no pairs; give at least one")
    found = []
    for number, pair in enumerate(pairs, start=1):
        before, after = (picture(half.convert("RGB")) if isinstance(half, Image.Image) else half for half in pair)
        if before.dim() != 3 or len(before) != 3 or before.shape != after.shape or not before.numel():
            raise WeightzooError(
                f"the two of pair {number} are {list(before.shape)} and {list(after.shape)}; give pictures [3, H, W]"
            )
        found.append((before.float(), after.float()))
    return found
