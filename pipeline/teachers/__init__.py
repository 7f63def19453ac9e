"""Teachers: what edits the source photographs into a concept's target images.

Adding one is one file with a class like FiltersTeacher and one line in TEACHERS.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from pipeline.teachers.filters import FiltersTeacher
from pipeline.teachers.instruct_pix2pix import InstructPix2PixTeacher
from zoo.concepts import Concept


class Teacher(Protocol):
    """Edits photographs for a concept, deterministically."""

    name: str
    licence: str

    def refusal(self, concept: Concept) -> str | None:
        """Why the teacher cannot edit for the concept; None when it can."""

    def edit(self, concept: Concept, photos: Tensor) -> Tensor:
        """Targets for photos [N, 3, H, W] in [0, 1]; same shape and range."""


TEACHERS = {"filters": FiltersTeacher, "instruct_pix2pix": InstructPix2PixTeacher}
