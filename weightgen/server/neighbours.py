"""The zoo's concepts nearest to a prompt.

    neighbours = Neighbours(engine)
    neighbours.read()                       # once, in the background: the zoo's prompts
    found = neighbours.nearest("a charcoal drawing", count=4)

Nearness is the cosine between sentence vectors.
"""

from __future__ import annotations

import threading

import torch
from torch import Tensor

from weightgen.server.engine import Engine
from weightgen.server.members import Member
from zoo.pictures.metrics import decisive

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
        """Encode the prompts of all concepts."""
        parts = []
        for start in range(0, len(self.members), CHUNK):
            if self.stopped:
                return
            parts.append(self.engine.embed([m.prompt for m in self.members[start : start + CHUNK]]))
        self.vectors = torch.cat(parts)
        self.ready.set()

    def nearest(self, prompt: str, count: int) -> list[tuple[Member, float]]:
        """Return the `count` nearest members with their cosines, best first; the prompts must have been read."""
        cosines: Tensor = self.vectors @ self.engine.embed([prompt])[0]
        pairs = list(zip(self.members, map(decisive, cosines.tolist()), strict=True))
        return sorted(pairs, key=lambda pair: -pair[1])[:count]
