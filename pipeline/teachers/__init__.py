"""Teachers: what edits the source photographs into a concept's target images.

Adding one is one file with a class like FiltersTeacher and one line in TEACHERS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol, runtime_checkable

from torch import Tensor

from pipeline.teachers.callable import CallableTeacher
from pipeline.teachers.command import CommandTeacher
from pipeline.teachers.cube import CubeTeacher
from pipeline.teachers.filters import FiltersTeacher
from pipeline.teachers.instruct_pix2pix import InstructPix2PixTeacher
from pipeline.teachers.pairs import PairsTeacher
from zoo.concepts import Concept


class Teacher(Protocol):
    """Edits photographs for a concept, deterministically.

    Attributes:
        expensive: its targets are rendered once, by processes that keep the teacher loaded, and stored as shards of
            pairs; those of other teachers are rendered again whenever they are needed.
    """

    name: str
    licence: str
    expensive: bool

    def prepare(self, device: str) -> None:
        """Load what editing needs. Raises WeightzooError where that cannot be had, whatever the concept."""

    def refusal(self, concept: Concept) -> str | None:
        """Return why the teacher cannot edit for the concept; None when it can."""

    def edit(self, concept: Concept, photos: Tensor) -> Tensor:
        """Return targets for photos [N, 3, H, W] in [0, 1], of the same shape and range."""


@runtime_checkable
class OwnFiles(Protocol):
    """A teacher that works with files of a person's own, and so does no edits but theirs."""

    def prepare(self, device: str) -> None:
        """As that of every teacher: whether there are such files is known before anything is frozen."""

    def files(self, concept: Concept) -> dict[str, Path]:
        """Return the files that decide a concept's pairs, by a name that tells nothing of where they lie."""


@runtime_checkable
class OwnPairs(OwnFiles, Protocol):
    """A teacher that has source photographs of its own for every concept: its files are pairs."""

    def notes(self, concepts: Iterable[Concept]) -> list[str]:
        """Return lines that say what the pairs of concepts are taken for, and what is left out of them."""

    def doubts(self, concepts: Iterable[Concept]) -> list[str]:
        """Return a line for everything that was aligned or looks wrong in the pairs of concepts, which are all read."""

    def pairs(self, concept: Concept, part: str, count: int, size: int, seed: int) -> tuple[Tensor, Tensor]:
        """Return sources and targets [count, 3, size, size] of `part`, "train" or "test"."""


TEACHERS: dict[str, Callable[..., Teacher]] = {
    "filters": FiltersTeacher,
    "instruct_pix2pix": InstructPix2PixTeacher,
    "pairs": PairsTeacher,
    "command": CommandTeacher,
    "callable": CallableTeacher,
    "cube": CubeTeacher,
}
