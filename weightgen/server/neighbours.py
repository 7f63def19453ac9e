"""The zoo's concepts nearest to a prompt, and a warning when even these are far away.

    neighbours = Neighbours(engine)
    neighbours.read()                       # once, in the background: the zoo's prompts
    found = neighbours.nearest("a charcoal drawing", count=4)

Nearness is the cosine between sentence vectors. A warning needs a low cosine and, of a model that has it, a high
out-of-distribution score (`weightgen.familiar`): that score alone takes short names of known looks for strangers.
"""

from __future__ import annotations

import threading

import torch
from torch import Tensor

from weightgen.server.engine import Engine
from weightgen.server.members import Member

FAR = 0.45  # requests for edits have .5 or more, other sentences and other languages .2 to .4 (embedded zoo)
CHUNK = 16  # texts; between two chunks a visitor's prompt gets its turn


class Neighbours:
    """Sentence vectors of the zoo's prompts."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.members = engine.members.all
        self.vectors = torch.empty(0)
        self.ready = threading.Event()
        self.stopped = False

    def read(self) -> None:
        """Encodes the prompts of all concepts."""
        parts = []
        for start in range(0, len(self.members), CHUNK):
            if self.stopped:
                return
            parts.append(self.engine.embed([m.prompt for m in self.members[start : start + CHUNK]]))
        self.vectors = torch.cat(parts)
        self.ready.set()

    def nearest(self, prompt: str, count: int) -> list[tuple[Member, float]]:
        """The `count` nearest members with their cosines, best first; the prompts must have been read."""
        cosines: Tensor = self.vectors @ self.engine.embed([prompt])[0]
        best = cosines.topk(min(count, len(self.members)))
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [(self.members[index], round(value, 4)) for index, value in pairs]


def warning_for(similarity: float, ood: float | None) -> str | None:
    """What to tell a visitor; None when all is well.

    Args:
        similarity: cosine of the prompt to the nearest concept.
        ood: the prompt's out-of-distribution score, above 1 where it is unlike what was learned.
    """
    if similarity >= FAR or (ood is not None and ood <= 1):
        return None
    return "This is far from everything in the zoo. The network was made all the same, but it may do something else."
