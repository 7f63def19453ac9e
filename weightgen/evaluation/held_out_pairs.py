"""Held-out concepts and their pairs, read from folders: all that evaluation knows of pictures and teachers.

DIR/concepts.jsonl
DIR/<concept_id>/{train,test}/{source,target}/*.png

held_out = HeldOut.open([heldout_dir, external_dir])
concepts = held_out.concepts("combination")
sources, targets = held_out.pairs(concepts[0], "test", size=64, count=32)     # [32, 3, 64, 64] each
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from zoo.concepts import Concept, evaluation_order, read_concepts
from zoo.errors import WeightzooError
from zoo.files import PathLike, read_json
from zoo.pictures.pair_layouts import find_pairs
from zoo.pictures.pair_squares import pairs_to_tensors
from zoo.pictures.pairs import decode_pair
from zoo.words import plural

KEPT_BYTES = 1 << 29  # of decoded pairs in a process


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Concepts by id with the folder that holds their pairs."""

    folders: dict[str, Path]
    all_concepts: tuple[Concept, ...]
    kept: OrderedDict[tuple[str, str, int, int], Tensor] = field(default_factory=OrderedDict)  # of `stacked`

    @classmethod
    def open(cls, roots: Iterable[PathLike]) -> HeldOut:
        """Read `concepts.jsonl` of every root.

        Raises:
            WeightzooError: a root without concepts, a concept in two roots, or one without pairs or wordings.
        """
        folders: dict[str, Path] = {}
        concepts: list[Concept] = []
        for root in map(Path, roots):
            for concept in read_concepts(root / "concepts.jsonl"):
                if concept.id in folders:
                    where = f"{folders[concept.id].parent} and {root}"
                    raise WeightzooError(f"concept {concept.id!r} is in both {where}; rename one")
                if not concept.paraphrases:
                    raise WeightzooError(f"{root}: concept {concept.id!r} has no paraphrase; add one to prompt it with")
                if not (root / concept.id / "test").is_dir():
                    raise WeightzooError(f"{root / concept.id / 'test'} does not exist; materialise the pairs again")
                folders[concept.id] = root / concept.id
                concepts.append(concept)
        return cls(folders, tuple(concepts))

    def concepts(self, split: str, count: int | None = None) -> list[Concept]:
        """Return the concepts of `split`, or the first `count` of them, in the order of a hash of the id."""
        members = sorted((c for c in self.all_concepts if c.split == split), key=lambda c: evaluation_order(c.id))
        return members if count is None else members[:count]

    def concept(self, concept_id: str) -> Concept:
        """Return the concept of an id."""
        return next(concept for concept in self.all_concepts if concept.id == concept_id)

    def pairs(self, concept_id: str, part: str, size: int, count: int | None = None) -> tuple[Tensor, Tensor]:
        """Return sources and targets of one concept, [N, 3, size, size] each, in the order of their names.

        Args:
            part: "train" or "test".
            count: how many; None takes all.

        Raises:
            WeightzooError: there are fewer pairs than `count`.
        """
        folder = self.folders[concept_id] / part
        files = find_pairs(folder).files
        if count is not None and len(files) < count:
            raise WeightzooError(
                f"{folder} holds {plural(len(files), 'pair')}, and {count} are needed; materialise the pairs again"
            )
        return pairs_to_tensors([decode_pair(pair) for pair in files[:count]], size)

    def count(self, concept_id: str, part: str) -> int:
        """Count the pairs of a concept without reading them."""
        folder = self.folders[concept_id] / part
        return len(find_pairs(folder).files) if (folder / "source").is_dir() else 0

    def stacked(self, ids: Sequence[str], part: str, size: int, count: int) -> tuple[Tensor, Tensor]:
        """Return the first `count` pairs of each of several concepts, [K, count, 3, size, size] each."""
        both = torch.stack([_cached_pairs(self, concept_id, part, size, count) for concept_id in ids])
        sources, targets = (both.float() / 255).unbind(1)
        return sources, targets

    def smallest(self, ids: Sequence[str], part: str, count: int) -> int:
        """Return `count`, or the number of pairs of the concept that has fewest, if that is less."""
        return min(count, *(self.count(concept_id, part) for concept_id in ids))


def _cached_pairs(held_out: HeldOut, concept_id: str, part: str, size: int, count: int) -> Tensor:
    """Decode the pairs of a concept, uint8 [2, count, 3, size, size]; what is read again soon is kept."""
    key = (concept_id, part, size, count)
    if key in held_out.kept:
        held_out.kept.move_to_end(key)
        return held_out.kept[key]
    decoded = (torch.stack(held_out.pairs(concept_id, part, size, count)) * 255).round().byte()
    held_out.kept[key] = decoded
    while sum(pairs.numel() for pairs in held_out.kept.values()) > KEPT_BYTES:
        held_out.kept.popitem(last=False)
    return decoded


def wordings(concept: Concept, prompts: int) -> list[str]:
    """Return what a concept is prompted with: its first `prompts` paraphrases, never its own prompt."""
    return list(concept.paraphrases[:prompts])


def shuffled(concepts: Sequence[Concept]) -> list[Concept]:
    """Return the same concepts, each in the place of another one (half a turn in the order of the hash)."""
    order = sorted(range(len(concepts)), key=lambda i: evaluation_order(concepts[i].id))
    shift = len(order) // 2
    result = list(concepts)
    for position, i in enumerate(order):
        result[i] = concepts[order[(position + shift) % len(order)]]
    return result


def read_ids(path: PathLike | None) -> frozenset[str]:
    """Return the concept ids of a JSON list (or the keys of a JSON object); none without a path."""
    return frozenset() if path is None else frozenset(read_json(path))
