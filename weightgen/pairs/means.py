"""Means of networks on one bank.

    network = mean_network(generator, [(layers_of(generator), 0.8), (layers_of(other), 0.2)])

A mean is one network, because its output layer is linear in the bank's features and in the branches' ReLUs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from zoo.gans.branches import Branch
from zoo.gans.solved import SolvedGenerator, assembled

DIGITS = 4  # of the weights


class Layers(NamedTuple):
    """An output layer over the bank, [F, 3], and over each of a network's branches, [hidden, 3]."""

    bank: Tensor
    branches: Sequence[tuple[Branch, Tensor]] = ()


def layers_of(generator: SolvedGenerator) -> Layers:
    """Return the output layer of a network."""
    bank, *rest = generator.layer_parts
    return Layers(bank, list(zip(generator.branches, rest, strict=True)))


@torch.no_grad()
def mean_network(like: SolvedGenerator, parts: Sequence[tuple[Layers, float]]) -> SolvedGenerator:
    """Return one generator whose output is the weighted mean of several.

    Args:
        like: has the bank of all of them.
        parts: their output layers, and weights of sum 1. A branch that several have is kept once.
    """
    bank = torch.zeros(like.bank.num_features, 3)
    heads: dict[Branch, Tensor] = {}
    for layers, weight in parts:
        bank += weight * layers.bank
        for branch, head in layers.branches:
            share = weight * head
            heads[branch] = heads[branch] + share if branch in heads else share
    return assembled(like, [(branch.name, branch.state_dict()) for branch in heads], torch.cat([bank, *heads.values()]))
