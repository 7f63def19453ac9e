"""The pairs teacher: a team's own before/after pictures, one folder per concept.

    DIR/<concept_id>/source/*.png   DIR/<concept_id>/target/*.png     (or any layout of `zoo.pictures.pair_layouts`)

With `{"teacher_options": {"direction": "target-to-source"}}` in the build's config the inverse of the edits is learned.

Nothing is edited: every concept brings its own photographs. One pair in five is kept to measure on. Pairs are
checked and aligned as those of `weightzoo finetune` are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from zoo.concepts import Concept
from zoo.errors import WeightzooError
from zoo.pictures.pair_layouts import DIRECTIONS, FoundPairs, find_pairs
from zoo.pictures.pair_squares import pairs_to_tensors
from zoo.pictures.pairs import decode_pair, pair_notes, split_pairs
from zoo.progress import track
from zoo.words import plural

MAX_SHORT_SIDE = 1024
LEAST_PAIRS = 2


class PairsTeacher:
    """Reads the pairs that a team has made by hand or by another tool."""

    name = "pairs"
    licence = "the pictures' own"
    expensive = False

    def __init__(self, folder: str = "pairs", direction: str = DIRECTIONS[0]) -> None:
        self.folder = Path(folder)
        self.direction = direction

    def prepare(self, device: str) -> None:
        """Raise WeightzooError when the folder of all pairs is missing."""
        if not self.folder.is_dir():
            raise WeightzooError(f"no folder of pairs at {self.folder}; give DIR with DIR/<concept_id>/source, target")

    def refusal(self, concept: Concept) -> str | None:
        """Return why there are no usable pairs for `concept`; None when there are."""
        try:
            count = len(self._find(concept).files)
        except WeightzooError as error:
            return str(error).replace(f"{self.folder}/", "")  # the reason is published
        few = f"{concept.id} holds {plural(count, 'pair')}; give at least {LEAST_PAIRS}"
        return few if count < LEAST_PAIRS else None

    def notes(self, concepts: Iterable[Concept]) -> list[str]:
        """Return what the pairs of all concepts that have some are taken for, and what is left out of them."""
        found = {concept.id: self._find(concept) for concept in concepts if self.refusal(concept) is None}
        halves = Counter(pairs.taken_as.partition(": ")[2] for pairs in found.values())
        taken_as = [f"pairs of {plural(number, 'concept')}: {what}" for what, number in halves.items()]
        return taken_as + [f"{name}: {line}" for name, pairs in found.items() for line in pairs.left_out]

    def doubts(self, concepts: Iterable[Concept]) -> list[str]:
        """Read all pairs and return what was aligned or looks wrong, as `weightzoo finetune` tells it.

        Raises:
            WeightzooError: a picture that cannot be read, or pairs that are none.
        """
        told = []
        for concept in track(list(concepts), "reading the pairs", "concepts"):
            if self.refusal(concept) is None:
                lines = pair_notes(self.folder / concept.id, self._find(concept), MAX_SHORT_SIDE)
                told += [f"{concept.id}: {line}" for line in lines]
        return told

    def _find(self, concept: Concept) -> FoundPairs:
        return find_pairs(self.folder / concept.id, self.direction)

    def files(self, concept: Concept) -> dict[str, Path]:
        """Return every file of the concept's folder, by its path in it; none when there is no folder."""
        folder = self.folder / concept.id
        paths = sorted(path for path in folder.rglob("[!.]*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path for path in paths}

    def edit(self, concept: Concept, photos: Tensor) -> Tensor:
        """Raise WeightzooError: this teacher has pairs, it cannot edit other photographs."""
        raise WeightzooError(
            f"the pairs of concept {concept.id!r} are fixed; teacher 'pairs' edits no other photographs"
        )

    def pairs(self, concept: Concept, part: str, count: int, size: int, seed: int) -> tuple[Tensor, Tensor]:
        """Return sources and targets [count, 3, size, size] in [0, 1] of `part`, "train" or "test".

        Every pair gives count/len(pairs) of them, one more or less.

        Raises:
            WeightzooError: no readable pairs.
        """
        files = {pair.name: pair for pair in self._find(concept).files}
        names = split_pairs(list(files))[0 if part == "train" else 1][:count]
        per_pair = -(-count // len(names))
        # one pair at a time is decoded: hundreds at their full size would fill the memory
        cut = [
            pairs_to_tensors([decode_pair(files[name], MAX_SHORT_SIDE, align=True)], size, per_pair, seed)
            for name in names
        ]
        sources, targets = (torch.cat(images) for images in zip(*cut, strict=True))
        # the crops of a pair lie side by side: take the first crop of every pair, then the second, ...
        order = [pair * per_pair + crop for crop in range(per_pair) for pair in range(len(names))][:count]
        return sources[order], targets[order]
