"""Groups of edits of the same photographs, for a weight generator that learns to read pairs; rendered once and kept.

    groups = open_edit_groups(Path("runs/small"), Path("paired/edits"), count=160)
    groups.render()                    # what is missing; progress, resumable
    groups[0]                          # a `zoo.pictures.edit_groups.EditGroup`

A generator that has seen one teacher only has learned this teacher's edits, and not to read pairs. So a group has
concepts of the catalogue, edited by the zoo's teacher, edits by other programs (`pipeline.teachers.programs`), both
with words, and random compositions without words (`pipeline.teachers.random_edits`). The photographs of a group are
different ones, so some of them can be examples and the others be measured on. The last `HELD_OUT` groups are validated
on: their photographs are in no other group, and their concepts are the zoo's validation concepts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.fleets.shared import photographs
from pipeline.picture_batches import open_catalogue_edits
from pipeline.run_folder.private_paths import read_config
from pipeline.sources import crops, photo_paths
from pipeline.teachers import Teacher
from pipeline.teachers.programs import LIBRARIES, check_installed, program_edit
from pipeline.teachers.random_edits import Edit, random_edit
from zoo.adapters.lora import load_base
from zoo.concepts import Concept, concepts_text
from zoo.errors import WeightzooError
from zoo.files import sha256_file
from zoo.gans.solved import SolvedGenerator
from zoo.pictures.edit_groups import EditGroup, read_group, write_group
from zoo.pictures.pairs import split_pairs
from zoo.progress import track
from zoo.run import open_zoo
from zoo.training.batches import at

EDITS = 64  # of a group
CONCEPTS, BY_PROGRAMS = 24, 12  # of these; the others are random
PLACES = 2048  # in each photograph
# how many photographs a group has, by their side over the zoo's image size; small ones cost less and show as much
PHOTOGRAPHS = {1.0: 20, 2.0: 10}
SHARE_OF_SMALL = 0.7
READING = "reading"  # embedded photographs for learning to read pairs, beside those of the zoo
HELD_OUT = 4
HELD_OUT_PHOTOGRAPHS = 0.125  # share of the photographs
FIRST_SEED = 10_000_000  # of the drawn edits: no other part of the project draws these
KINDS = ("concept", "program", "random")  # in the order of a group's edits


@dataclass(frozen=True, eq=False)
class GroupEdit:
    """One edit of a group.

    Attributes:
        kind: of KINDS.
        wordings: how people may ask for it; none of a random one.
        edit: photos [N, 3, H, W] in [0, 1] -> the same shape.
    """

    kind: str
    wordings: tuple[str, ...]
    edit: Edit


@dataclass(frozen=True, eq=False)
class EditGroups:
    """All groups of one training, by number.

    Attributes:
        folder: where rendered groups are kept.
        count: groups to train on; `HELD_OUT` more follow.
        image_size: the zoo's, pixels.
        photographs, held_out_photographs: files that crops are cut from, in groups to train on and in others.
        concepts, validation: of the catalogue, in groups to train on and in others.
        programs: names of those whose edits take part (`pipeline.teachers.programs`).
        made_from: a digest of all of this.
    """

    folder: Path
    count: int
    generator: SolvedGenerator
    image_size: int
    photographs: list[Path]
    held_out_photographs: list[Path]
    teacher: Teacher
    concepts: list[Concept]
    validation: list[Concept]
    programs: tuple[str, ...]
    seed: int
    made_from: str

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> EditGroup:
        """Return a group to train on; it is rendered if it is not there."""
        if not 0 <= number < self.count:
            raise IndexError(number)
        return self._group(number)

    def held_out(self) -> list[EditGroup]:
        """Return the groups to validate on."""
        return [self._group(self.count + k) for k in range(HELD_OUT)]

    def edits(self, number: int) -> list[GroupEdit]:
        """Return the edits of a group in its order; the numbers of the held-out groups follow `count`."""
        stream = self._stream(number)
        concepts = [
            GroupEdit("concept", (concept.prompt, *concept.paraphrases), partial(self.teacher.edit, concept))
            for concept in self._concepts_of(stream)
        ]
        first = FIRST_SEED * (1 + int(stream < 0)) + abs(stream) * EDITS
        drawn = [program_edit(first + k, self.programs) for k in range(BY_PROGRAMS)]
        programs = [GroupEdit("program", edit.wordings, edit) for edit in drawn]
        others = EDITS - len(concepts) - len(programs)
        return [*concepts, *programs, *(GroupEdit("random", (), random_edit(first + k)) for k in range(others))]

    def render(self) -> None:
        """Render the groups that are not there yet."""
        numbers = range(self.count + HELD_OUT)
        missing = [number for number in numbers if not self._path(number).is_file()]
        for number in track(missing, "rendering edits to read pairs from", "groups") if missing else ():
            write_group(self._path(number), self._render(number), self.made_from)

    def _path(self, number: int) -> Path:
        name = f"group-{number:05d}" if number < self.count else f"held-out-{number - self.count}"
        return self.folder / f"{name}.safetensors"

    def _group(self, number: int) -> EditGroup:
        if not self._path(number).is_file():
            write_group(self._path(number), self._render(number), self.made_from)
        return read_group(self._path(number), self.made_from)

    @torch.no_grad()
    def _render(self, number: int) -> EditGroup:
        stream = self._stream(number)
        rng = np.random.default_rng([self.seed, int(stream < 0), abs(stream)])
        factor = min(PHOTOGRAPHS) if rng.random() < SHARE_OF_SMALL else max(PHOTOGRAPHS)
        side = round(self.image_size * factor)
        files = self.photographs if stream >= 0 else self.held_out_photographs
        chosen = rng.choice(len(files), min(PHOTOGRAPHS[factor], len(files)), replace=False)
        sources = torch.cat(
            [
                crops([files[i]], 1, side, int(seed))
                for i, seed in zip(chosen, rng.integers(1 << 30, size=len(chosen)), strict=True)
            ]
        )
        count = min(PLACES, side * side)
        places = torch.from_numpy(np.stack([rng.choice(side * side, count, replace=False) for _ in chosen]))
        maps = torch.stack(
            [self.generator.maps_of(source, place) for source, place in zip(sources, places, strict=True)]
        )
        edits = self.edits(number)
        targets = torch.stack([pixels(edit.edit(sources), places) for edit in edits])
        return EditGroup(maps.half(), targets, tuple(edit.wordings for edit in edits))

    def _stream(self, number: int) -> int:
        """Return what decides a group: its number, or one below zero, the same whatever the count is, if held out."""
        return number if number < self.count else -1 - (number - self.count)

    def _concepts_of(self, stream: int) -> list[Concept]:
        """Return the concepts of a group: the next ones of a shuffled catalogue, which begins again when it is over."""
        pool = self.concepts if stream >= 0 else self.validation
        wanted = CONCEPTS if stream >= 0 else min(CONCEPTS, len(pool))
        order = np.random.default_rng([self.seed, 2]).permutation(len(pool))
        first = (stream if stream >= 0 else -1 - stream) * wanted
        return [pool[order[(first + k) % len(pool)]] for k in range(wanted)]


def pixels(edited: Tensor, places: Tensor) -> Tensor:
    """Return colours [n, P, 3] of 8 bits, as files have them, at `places` [n, P] of pictures [n, 3, S, S]."""
    return (at(edited.clamp(0, 1)[None], places)[0] * 255).round().to(torch.uint8)


def distinct(files: Sequence[Path]) -> dict[str, Path]:
    """Return each photograph once, by its name; one whose name is taken has its sha256 in its name.

    A photograph that is there under two names must not be both learned from and held out.
    """
    named: dict[str, Path] = {}
    seen = set()
    for path in files:
        digest = sha256_file(path)
        if digest not in seen:
            named[path.name if path.name not in named else f"{path.name} {digest}"] = path
        seen.add(digest)
    return named


def open_edit_groups(
    zoo: Path,
    folder: Path,
    count: int,
    seed: int = 0,
    more_concepts: int = 0,
    programs: Sequence[str] = tuple(LIBRARIES),
) -> EditGroups:
    """Return the groups of a zoo's teacher and photographs, and of what the package brings beside them.

    Args:
        folder: where rendered groups are kept.
        count: groups to train on.
        more_concepts: train concepts beyond the catalogue.
        programs: see `EditGroups`.

    Raises:
        WeightzooError: the zoo's networks have no layer to solve, its teacher edits no other photographs, or a program
            is not installed.
    """
    check_installed(programs)
    generator = load_base(open_zoo(zoo).base_path)
    if not isinstance(generator, SolvedGenerator):
        raise WeightzooError(
            f"the networks of {zoo} have no output layer that could be solved on pairs; reading pairs needs a zoo "
            "whose build config says gan = solved"
        )
    edits = open_catalogue_edits(zoo, seed, more_concepts)
    config = read_config(zoo)
    files = distinct([*photo_paths(READING), *photographs(config, "train")])
    learned, held_out = split_pairs(list(files), HELD_OUT_PHOTOGRAPHS)
    decided = (edits.fingerprint, learned, held_out, PHOTOGRAPHS, EDITS, CONCEPTS, BY_PROGRAMS, list(programs), seed)
    digest = hashlib.sha256(repr(decided).encode())
    digest.update(concepts_text(edits.validation).encode())
    for value in generator.bank.state_dict().values():
        digest.update(value.numpy().tobytes())
    return EditGroups(
        folder, count, generator, config.image_size, [files[name] for name in learned],
        [files[name] for name in held_out], edits.teacher, edits.concepts, edits.validation or edits.concepts,
        tuple(programs), seed, digest.hexdigest(),
    )  # fmt: skip
