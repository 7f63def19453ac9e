"""Tasks of learning to read pairs: edits of a group on example photographs, and on others.

task = drawn(reading, group, pairs=4, rng=np.random.default_rng(0))
task.examples, task.example_targets       # what is read and solved on
task.queries, task.query_targets          # what is measured on
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from weightgen.pairs.description import Reading
from zoo.gans.solved import Seen
from zoo.pictures.edit_groups import EditGroup

SOLVE_PIXELS = 4096  # of all example pairs together; each has at most as many as a group holds
QUERIES, QUERY_PIXELS = 4, 768  # photographs that no pair is from, and pixels of each


class Task(NamedTuple):
    """E edits of the same photographs: examples to read and to solve on, and queries to measure on.

    Attributes:
        pairs: number of example photographs; 0: the texts are all that is known.
        texts: a wording of each edit; "" for an edit without words.
        told: whether the text may be read, [E].
        examples, example_targets: what is seen of n pixels, and [E, n, 3] in [-1, 1].
        queries, query_targets: the same of other photographs.
        further: targets of M more edits, which are solved on what all edits share alone: at the examples and the
            queries, [M, n, 3] each.
    """

    pairs: int
    texts: list[str]
    told: Tensor
    examples: Seen
    example_targets: Tensor
    queries: Seen
    query_targets: Tensor
    further: tuple[Tensor, Tensor] | None = None

    @property
    def prompts(self) -> list[str]:
        """Return the texts that there are."""
        return [text for text in self.texts if text]


@torch.no_grad()
def drawn(
    reading: Reading,
    group: EditGroup,
    pairs: int,
    rng: np.random.Generator,
    edits: Sequence[int] | None = None,
    told: Tensor | None = None,
    further: Sequence[int] = (),
) -> Task:
    """Return edits of a group on example photographs, and on others.

    Args:
        pairs: how many examples.
        edits: which edits; all by default.
        told: see `Task`; all by default.
        further: which edits are solved without a network of their own.
    """
    device = reading.root.device
    photographs, places = group.maps.shape[:2]
    order = rng.permutation(photographs)
    examples, queries = order[: max(pairs, 1)], order[max(pairs, 1) :][:QUERIES]
    chosen = list(range(len(group.prompts))) if edits is None else list(edits)

    def part(which: np.ndarray, most: int) -> tuple[Seen, Tensor, Tensor]:
        count = min(places, most)
        first = int(rng.integers(places - count + 1))
        rows = slice(first, first + count)
        maps = group.maps[which][:, rows].flatten(0, 1).to(device).float()
        targets = group.targets[[*chosen, *further]][:, which][:, :, rows].flatten(1, 2).to(device).float() / 127.5 - 1
        return reading.base.see(maps), targets[: len(chosen)], targets[len(chosen) :]

    seen, targets, further_targets = part(examples, max(1, SOLVE_PIXELS // max(pairs, 1)))
    asked, query_targets, further_queries = part(queries, QUERY_PIXELS)
    wordings = [group.prompts[k] for k in chosen]
    texts = [texts[int(rng.integers(len(texts)))] if texts else "" for texts in wordings]
    readable = torch.tensor([bool(text) for text in texts])
    told = readable if told is None else readable & told
    rest = (further_targets, further_queries) if len(further) else None
    return Task(pairs, texts, told, seen, targets, asked, query_targets, rest)
