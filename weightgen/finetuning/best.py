"""The best of the networks that a training passes through, so that the last one need not be handed over.

    best = Best("error")
    best.offer(rows, params)           # at each evaluation, the start's first
    best.rows[k]["step"], best.params

A network qualifies if its `train_error` is no worse than the start's. Of those that qualify, the one with the least
`by` wins: `error` on pairs that were held out, or `train_error` where there are too few of them to choose by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from weightgen.finetuning.measure import Row
from zoo.training.train_gan import Params

ENOUGH = 8  # held-out pairs; the best by 3 of them was often a network that had hardly learned anything
CHOSEN_BY = {"error": "held-out pairs", "train_error": "training pairs"}


@dataclass
class Best:
    """The best of K concepts' networks each.

    Attributes:
        by: the key of the rows that is compared, of `CHOSEN_BY`.
        starts: the rows of the starts.
        rows: the rows of the best networks.
        params: their parameters, {name: [K, ...]}.
    """

    by: str
    starts: list[Row] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    params: Params = field(default_factory=dict)

    @torch.no_grad()
    def offer(self, rows: Sequence[Row], params: Mapping[str, Tensor]) -> None:
        """Take the networks {name: [K, ...]} that are better than the best so far; the first ones are the starts."""
        if not self.rows:
            self.starts, self.rows = list(rows), list(rows)
            self.params = {name: value.detach().clone() for name, value in params.items()}
            return
        for k, row in enumerate(rows):
            if self.is_better(k, row):
                self.rows[k] = row
                for name, value in params.items():
                    self.params[name][k] = value[k]

    def is_better(self, k: int, row: Row) -> bool:
        """Return whether a network of concept k qualifies and is better than the best so far."""
        own, start, best = row["train_error"], self.starts[k]["train_error"], self.rows[k][self.by]
        if own is None or row[self.by] is None:
            return False
        return (start is None or own <= start) and (best is None or row[self.by] < best)


def kept_rows(rows: Sequence[Sequence[Row]], by: str) -> list[list[Row]]:
    """Return for each row of each of K concepts that of the network that was the best by then.

    Args:
        rows: the evaluation rows of each concept, K lists of the same length.
        by: as in `Best`.
    """
    best, kept = Best(by), []
    for measured in zip(*rows, strict=True):
        best.offer(measured, {})
        kept.append(list(best.rows))
    return [list(own) for own in zip(*kept, strict=True)]
