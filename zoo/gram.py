"""Ridge regression from sums over pixels, which are added up and left out set by set.

    gram = added([gram_of(features, targets) for features, targets in sets])    # [n, F] and [n, 3] each
    layer = centre + solve(gram, penalty, centre)                               # [F, 3], pulled to `centre`

All sums are of float64, so the order of the rows changes a layer by less than a float32 holds. Penalties go down to
1e-9 where features are about 1, and with these a matrix of float32 sums is not positive definite.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

ROWS_AT_ONCE = 1 << 9  # as float64 they stay in the processor's cache
STRIPS = 4  # of a symmetric product

Rows = tuple[Tensor, Tensor]  # features [n, F] and targets [n, 3] in [-1, 1]


class Gram(NamedTuple):
    """Sums over pixels, float64: X'WX [F, F], X'WY [F, 3], and the weights'."""

    features: Tensor
    targets: Tensor
    weight: Tensor

    def plus(self, other: Gram, sign: int = 1) -> Gram:
        """Return the sums over both sets of pixels, or over those of this one that are not in the other."""
        return Gram(*(torch.add(mine, theirs, alpha=sign) for mine, theirs in zip(self, other, strict=True)))

    def first(self, width: int) -> Gram:
        """Return the sums of the first `width` features alone."""
        return Gram(self.features[:width, :width], self.targets[:width], self.weight)


def gram_of(features: Tensor, targets: Tensor, weights: Tensor | None = None) -> Gram:
    """Return the sums of one set of pixels.

    Args:
        features: [n, F].
        targets: [n, 3].
        weights: [n, 1]; None counts every pixel once.
    """
    width = features.shape[1]
    edges = [width * k // STRIPS for k in range(STRIPS)]
    # X'WX is symmetric: of each strip of its rows, what is right of the diagonal
    shapes = [(end - start, width - start) for start, end in pairwise([*edges, width])]
    strips = [features.new_zeros(shape, dtype=torch.float64) for shape in shapes]
    beside = features.new_zeros(width, 3, dtype=torch.float64)
    count = features.new_zeros((), dtype=torch.float64)
    for first in range(0, len(features), ROWS_AT_ONCE):
        part = slice(first, first + ROWS_AT_ONCE)
        rows = features[part].double()
        weight = rows.new_ones(len(rows), 1) if weights is None else weights[part].double()
        weighted = (rows if weights is None else rows * weight).T
        for start, strip in zip(edges, strips, strict=True):
            strip.addmm_(weighted[start : start + len(strip)], rows[:, start:])
        beside.addmm_(weighted, targets[part].double())
        count += weight.sum()
    upper = torch.cat([F.pad(strip, (start, 0)) for start, strip in zip(edges, strips, strict=True)]).triu()
    return Gram(upper + upper.triu(1).T, beside, count)


def solve(gram: Gram, penalty: Tensor, centre: Tensor) -> Tensor:
    """Return the deviation from the layer `centre` that pixels are pulled to, float64 [F, 3]; differentiable.

    A penalty above zero makes the system positive definite whatever the pixels are.

    Args:
        gram: sums over at least one pixel.
        penalty: [F], above zero.
        centre: [F, 3].
    """
    matrix = gram.features / gram.weight + torch.diag(penalty.double())
    residual = (gram.targets - gram.features @ centre.double()) / gram.weight
    return torch.cholesky_solve(residual, torch.linalg.cholesky(matrix))


def added(grams: Sequence[Gram]) -> Gram:
    """Return the sums over all sets of pixels."""
    total = grams[0]
    for gram in grams[1:]:
        total = total.plus(gram)
    return total
