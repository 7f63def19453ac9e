"""The zoo's concepts for a server: what they are called and how good they are in memory, their weights on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from zoo.errors import WeightzooError
from zoo.files import PathLike
from zoo.run import open_zoo
from zoo.shards import read_shard


@dataclass(frozen=True)
class Member:
    """One trained GAN of the zoo.

    Args:
        shard, row: where its weights are.
    """

    id: str
    prompt: str
    wordings: tuple[str, ...]
    split: str
    metrics: dict[str, float]
    shard: str
    row: int


class Members:
    """All concepts of a zoo that have weights, the shortest prompts first."""

    def __init__(self, path: PathLike) -> None:
        self.zoo = open_zoo(path)
        found = [
            Member(r.concept_id, r.prompt, (r.prompt, *r.paraphrases), r.split, r.metrics, entry.name, row)
            for entry in self.zoo.manifest.shards
            for row, r in enumerate(read_shard(self.zoo.path / entry.name)[0])
        ]
        if not found:
            raise WeightzooError(f"the zoo {path} has no trained concepts; build or download another one")
        self.all = sorted(found, key=lambda member: (len(member.prompt), member.prompt))
        self.by_id = {member.id: member for member in self.all}

    def search(self, text: str) -> Sequence[Member]:
        """Return the members whose id or any wording has all the words of `text`."""
        words = text.casefold().split()
        if not words:
            return self.all

        def fits(member: Member) -> bool:
            said = " ".join((member.id, *member.wordings)).casefold()
            return all(word in said for word in words)

        return [member for member in self.all if fits(member)]

    def blocks(self, concept: str) -> Tensor:
        """Return the weights of one concept, float32 [num_blocks, block_size], read from its shard."""
        member = self.by_id[concept]
        for row, record in enumerate(read_shard(self.zoo.path / member.shard)[0]):
            if row == member.row:
                return torch.from_numpy(np.array(record.blocks, dtype=np.float32))
        raise WeightzooError(f"{member.shard} has changed since the server was started; start it again")
