"""Mixtures of solved generators: their output layers add up where they read one bank at one scale.

    check_one_bank([("mine", first), ("film", second)])
    generator = mix_solved([(first, Fraction(1, 2)), (second, Fraction(1, 2))])

A solved generator's output is linear in its features, so the weighted sum of the layers is the weighted sum of the
pictures, before they are clamped. Deviations count from the layer that copies the source. Branches are networks of
their own: those of all parts stand side by side, each with its rows of the output layer times its part's weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import torch
from torch import Tensor

from zoo.adapters.weighted_sum import Parts, hash_of, weighted
from zoo.errors import WeightzooError
from zoo.gans.branches import READS, Branch
from zoo.gans.solved import SolvedGenerator, assembled


def check_one_bank(parts: Sequence[tuple[str, SolvedGenerator]]) -> None:
    """Refuse generators whose layers do not add up.

    Args:
        parts: what each is called in the message, and the generator.

    Raises:
        WeightzooError: naming two that have other features, scales or priors.
    """
    (name, first), *others = parts
    shared = first.shared()
    width = next((g.config.hidden for _, g in parts if g.config.branches), 0)
    for other, generator in others:
        mine, theirs = first.config, generator.config
        if mine.image_size != theirs.image_size:
            raise WeightzooError(
                f"{name} looks at photographs at {mine.image_size} pixels and {other} at {theirs.image_size}; give the "
                "pairs of both one short side, and fine-tune again"
            )
        found = generator.shared()
        if found.keys() != shared.keys() or not all(torch.equal(found[key], shared[key]) for key in shared):
            raise WeightzooError(
                f"{name} and {other} read other features; fine-tune both with one version of weightzoo"
            )
        if theirs.branches and theirs.hidden != width:
            raise WeightzooError(
                f"the branches of {other} have another width; fine-tune both with one version of weightzoo"
            )


@torch.no_grad()
def mix_solved(parts: Sequence[tuple[SolvedGenerator, Fraction]]) -> SolvedGenerator:
    """Return the generator whose layer is that of copying the source plus the weighted deviations of all parts.

    Args:
        parts: generators that :func:`check_one_bank` has passed.
    """
    first = parts[0][0]
    features = first.bank.num_features
    copies = torch.eye(features, 3)
    bank: Parts = [({"layer": generator.layer[:features]}, weight) for generator, weight in parts]
    layer = weighted([*bank, ({"layer": copies}, Fraction(1) - sum((weight for _, weight in parts), Fraction(0)))])[
        "layer"
    ]
    branches, rows = _branches(parts)
    return assembled(first, [(branch.name, branch.state_dict()) for branch in branches], torch.cat([layer, *rows]))


def _branches(parts: Sequence[tuple[SolvedGenerator, Fraction]]) -> tuple[list[Branch], list[Tensor]]:
    """Return all branches that have a share, equal ones once, and the output rows of each."""
    found: dict[tuple[int, str], tuple[Branch, list[tuple[dict[str, Tensor], Fraction]]]] = {}
    for generator, weight in parts:
        _, *shares = generator.layer_parts
        for branch, share in zip(generator.branches, shares, strict=True):
            assert isinstance(branch, Branch)
            key = (list(READS).index(branch.name), hash_of(branch.state_dict()))
            found.setdefault(key, (branch, []))[1].append(({"rows": share}, weight))
    ordered = [found[key] for key in sorted(found)]
    added = [(branch, weighted(shares)["rows"]) for branch, shares in ordered]
    used = [(branch, rows) for branch, rows in added if bool(rows.any())]
    return [branch for branch, _ in used], [rows for _, rows in used]
