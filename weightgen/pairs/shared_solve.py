"""Output layers of many edits, solved on the same pixels at once; differentiable.

    solve = SharedSolve(features, bank_penalty)                       # [n, F] of the bank, [F]
    layers = solve.bank(targets, mean)                                # [E, F, 3]
    layers = solve.with_hidden(hidden, targets, centre, penalty)      # [E, F + H, 3], for ReLUs [E, n, H] of each edit

The bank's features belong to the pixels alone. Their Gram matrix is factorised once for all edits, and what an edit's
own network adds is a Schur complement of its H columns. The result is that of `zoo.closed_form.solve` on all columns
together (a test).
"""

from __future__ import annotations

import torch
from torch import Tensor


class SharedSolve:
    """The bank's part of the solves.

    Args:
        features: of all edits alike at n pixels, [n, F].
        penalty: of each of these, [F], above zero.
        fixed: how many of the features no gradient goes into; their part of the Gram matrix is the largest.
    """

    def __init__(self, features: Tensor, penalty: Tensor, fixed: int = 0) -> None:
        self.features = features
        exact = features.double()  # float32 sums are not positive definite beside a small penalty
        bank, learned = exact[:, :fixed].detach(), exact[:, fixed:]
        crossed = bank.T @ learned
        rows = torch.cat([bank.T @ bank, crossed], 1), torch.cat([crossed.T, learned.T @ learned], 1)
        gram = torch.cat(rows) / len(features)
        self.factor = torch.linalg.cholesky(gram + torch.diag(penalty.double()))

    def mean_of(self, columns: Tensor) -> Tensor:
        """Return the mean over the pixels of features times columns [E, n, C], float64 [F, E * C]."""
        return (self.features.T @ beside(columns) / len(self.features)).double()

    def bank(self, targets: Tensor, centre: Tensor) -> Tensor:
        """Return layers [E, F, 3] over the bank alone.

        Args:
            targets: [E, n, 3] in [-1, 1].
            centre: what the layers are pulled to, [F, 3].
        """
        means = self.mean_of(targets - self.features @ centre)
        return centre + apart(torch.cholesky_solve(means, self.factor).to(centre.dtype), len(targets))

    def with_hidden(self, hidden: Tensor, targets: Tensor, centre: Tensor, penalty: Tensor) -> Tensor:
        """Return layers [E, F + H, 3] over the bank and each edit's own ReLUs.

        Args:
            hidden: the ReLUs, [E, n, H].
            targets: [E, n, 3] in [-1, 1].
            centre: what the layers are pulled to, [E, F + H, 3].
            penalty: of the ReLUs, [E, H], above zero.
        """
        edits, (width, count) = len(hidden), (self.features.shape[1], hidden.shape[1])
        rest = targets - product(self.features, centre[:, :width]) - hidden @ centre[:, width:]
        crossed = self.mean_of(torch.cat([hidden, rest], -1))
        own = (hidden.mT @ torch.cat([hidden, rest], -1) / count).double()
        reduced = apart(torch.linalg.solve_triangular(self.factor, crossed, upper=False), edits)
        columns, residual = reduced.split([hidden.shape[-1], 3], -1)
        gram, right = own.split([hidden.shape[-1], 3], -1)
        schur = gram + torch.diag_embed(penalty.double()) - columns.mT @ columns
        steps = torch.cholesky_solve(right - columns.mT @ residual, torch.linalg.cholesky(schur))
        bank = torch.linalg.solve_triangular(self.factor.mT, beside(residual - columns @ steps), upper=True)
        return centre + torch.cat([apart(bank, edits), steps], -2).to(centre.dtype)


def product(features: Tensor, layers: Tensor) -> Tensor:
    """Return features [n, F] times the layers of E edits [E, F, C], [E, n, C]."""
    return apart(features @ beside(layers), len(layers))


def beside(columns: Tensor) -> Tensor:
    """Return columns [E, n, C] as one matrix [n, E * C]: one large product is much faster than E small ones."""
    return columns.movedim(0, 1).flatten(1)


def apart(matrix: Tensor, edits: int) -> Tensor:
    """Return a matrix [n, E * C] as [E, n, C]."""
    return matrix.unflatten(1, (edits, -1)).movedim(1, 0)
