"""Pixels of pairs, which networks are solved and trained on, and what networks make of them.

for left_out, rest in trials_of(pixels):       # of each pair
    network = solve(rest)
    error_of(edited(network, joined(left_out)), joined(left_out).targets)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from zoo.gans.layers import leaky_clamp
from zoo.gans.solved import Seen, SolvedGenerator

QUARTERS = 4  # in so many turns each picture is left out once
MANY = 12  # pairs of which one quarter says enough


class Pixels(NamedTuple):
    """Pixels of one pair: the bank's maps [n, channels], its features [n, F] and the targets [n, 3] in [-1, 1]."""

    maps: Tensor
    features: Tensor
    targets: Tensor


def joined(pixels: Sequence[Pixels]) -> Pixels:
    """Return the pixels of several pairs as those of one."""
    return Pixels(*(torch.cat(parts) for parts in zip(*pixels, strict=True)))


def trials_of(pixels: Sequence[Pixels]) -> list[tuple[list[Pixels], list[Pixels]]]:
    """Return pairs to leave out and the others: a quarter of many, of few each quarter in turn, or each pair."""
    turns = range(min(QUARTERS, len(pixels)))
    parts = [
        (list(pixels[turn::QUARTERS]), [p for k, p in enumerate(pixels) if k % QUARTERS != turn]) for turn in turns
    ]
    return parts[-1:] if len(pixels) >= MANY else parts


@torch.no_grad()
def edited(network: SolvedGenerator, pixels: Pixels) -> Tensor:
    """Return what a network makes of pixels, [n, 3] about [-1, 1]."""
    return network.pixels(Seen(pixels.maps, pixels.features)) * 2 - 1


def error_of(edited: Tensor, targets: Tensor) -> Tensor:
    """Return the mean absolute error of pixels [n, 3] in [-1, 1], as of pictures in [0, 1]."""
    return (leaky_clamp(edited / 2 + 0.5) - (targets / 2 + 0.5)).abs().mean()
