"""Weighted sums of adapters, and the weights that people write.

    read_part("charcoal:0.7")                               # (Path("charcoal"), Fraction(7, 10))
    weighted([(a, Fraction(1, 2)), (b, Fraction(1, 2))])    # the mean of two adapters

Weights are exact fractions, equal parts are joined, and the others are added in float64 in the order of their hashes:
the halves of one part give its bits, and the order of the parts does not change the bits of a sum.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.adapters.lora import Adapter
from zoo.errors import WeightzooError
from zoo.tensors import tensor_bytes

MOST_WEIGHT = 10
MOST_DIGITS = 40
FEWEST_STEPS, MOST_STEPS = 2, 1000  # of a series

Parts = Sequence[tuple[Mapping[str, Tensor], Fraction]]


def read_part(text: str) -> tuple[Path, Fraction]:
    """Return the path and the weight of `PATH:WEIGHT`; a weight is a decimal number or a fraction.

    Raises:
        WeightzooError: no weight, no number, or one that is out of range.
    """
    path, _, number = text.rpartition(":")
    if not path:
        raise WeightzooError(f"{text} has no weight; write {text}:0.5")
    try:
        weight = Fraction(number) if len(number) <= MOST_DIGITS else None
    except (ValueError, ZeroDivisionError):
        weight = None
    if weight is None:
        raise WeightzooError(f"{number!r:.60} in {text:.200} is no weight; write {path:.200}:0.5")
    return Path(path), check_weight(weight, text)


def check_weight(weight: Fraction, shown: str) -> Fraction:
    """Return a weight; raise `WeightzooError` where it is out of range."""
    if abs(weight) > MOST_WEIGHT:
        raise WeightzooError(f"the weight of {shown:.200} is out of range; give -{MOST_WEIGHT} to {MOST_WEIGHT}")
    return weight


def check_steps(steps: int) -> None:
    """Raise `WeightzooError` for a number of steps that no series has."""
    if not FEWEST_STEPS <= steps <= MOST_STEPS:
        raise WeightzooError(f"a series has {FEWEST_STEPS} to {MOST_STEPS} steps, both ends included; change --steps")


def series(steps: int) -> list[tuple[Fraction, Fraction]]:
    """Return the weights of two parts in `steps` mixtures from the first part to the second, both ends included.

    Raises:
        WeightzooError: too few or too many steps.
    """
    check_steps(steps)
    shares = [Fraction(k, steps - 1) for k in range(steps)]
    return [(1 - share, share) for share in shares]


def weighted(parts: Parts) -> Adapter:
    """Return the weighted sum of sets of tensors, float32.

    Args:
        parts: at least one; all with the same names and shapes.
    """
    joined: dict[str, tuple[Adapter, Fraction]] = {}
    for tensors, weight in parts:
        plain = {name: value.detach().float() for name, value in tensors.items()}
        key = hash_of(plain)
        joined[key] = (plain, weight + joined[key][1] if key in joined else weight)
    terms = [joined[key] for key in sorted(joined) if joined[key][1]]
    if not terms:
        return {name: torch.zeros_like(value, dtype=torch.float32) for name, value in parts[0][0].items()}
    return {name: _sum([(tensors[name], float(weight)) for tensors, weight in terms]) for name in terms[0][0]}


def _sum(terms: Sequence[tuple[Tensor, float]]) -> Tensor:
    total = terms[0][0].double() * terms[0][1]
    for value, weight in terms[1:]:
        total += value.double() * weight
    return total.float()


def hash_of(tensors: Mapping[str, Tensor]) -> str:
    """Return a hash of names, shapes and bits."""
    return hashlib.sha256(tensor_bytes(tensors)).hexdigest()


def account(names: Sequence[str], weights: Sequence[Fraction]) -> dict[str, Any]:
    """Return what a mixture says of itself; the order of its parts does not change it."""
    shares: dict[str, Fraction] = {}
    for name, weight in zip(names, weights, strict=True):
        shares[name] = shares.get(name, Fraction(0)) + weight
    rows = [{"name": name, "weight": float(weight)} for name, weight in sorted(shares.items()) if weight]
    words = [str(row["name"]) if row["weight"] == 1 else f"{row['weight']:.3g} x {row['name']}" for row in rows]
    return {"mix": rows, "prompt": " + ".join(words)}
