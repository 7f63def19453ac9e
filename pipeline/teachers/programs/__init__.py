"""Edits that other programs and libraries do, drawn from a seed, with words: teachers of a generator that reads pairs.

    edit = program_edit(seed=7, programs=LIBRARIES)      # what needs no installing: Pillow and kornia
    edit.wordings                                        # ("only the edges on black", "edge detection")
    targets = edit(photos)                               # [N, 3, H, W] in [0, 1] -> the same shape

An edit is one or two operations of one program, with drawn parameters; widths are in pixels, as these programs have
them. The operators are none of those that made the external edits (`pipeline/external/edits.json`) or that the
benchmarks of closed forms use, so that these stay a measure of edits which no training has seen.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.teachers.command import CommandTeacher
from pipeline.teachers.programs import ffmpeg, imagemagick
from pipeline.teachers.programs.kornia_operators import KORNIA
from pipeline.teachers.programs.operators import Operator
from pipeline.teachers.programs.pillow_operators import PILLOW
from pipeline.teachers.random_edits.basics import Edit
from zoo.concepts import Concept
from zoo.errors import WeightzooError

LIBRARIES = {"pillow": PILLOW, "kornia": KORNIA}  # functions of a seed; they are always there
COMMANDS = {"imagemagick": imagemagick, "ffmpeg": ffmpeg}  # words of a command line; named as Debian's packages
TWO = 0.35  # share of edits that are two operations
TIME_LIMIT = 600.0  # seconds of a program for all pictures of one edit


@dataclass(frozen=True, eq=False)
class ProgramEdit:
    """What a program does to pictures.

    Attributes:
        wordings: how people may ask for it.
    """

    wordings: tuple[str, ...]
    edit: Edit

    @torch.no_grad()
    def __call__(self, photos: Tensor) -> Tensor:
        """Return photos [N, 3, H, W] in [0, 1] edited."""
        return self.edit(photos).clamp(0, 1)


def check_installed(programs: Sequence[str]) -> None:
    """Raise WeightzooError when a command that `programs` need is not on the PATH."""
    wanted = [name for name in programs if name in COMMANDS]
    missing = [name for name in wanted if shutil.which(COMMANDS[name].EXECUTABLE) is None]
    if missing:
        commands = ", ".join(f"{name} ({COMMANDS[name].EXECUTABLE})" for name in missing)
        raise WeightzooError(f"not installed: {commands}; install them (apt-get install {' '.join(missing)})")


def program_edit(seed: int, programs: Sequence[str]) -> ProgramEdit:
    """Return the edit of a seed, by one of `programs` (names in LIBRARIES and COMMANDS)."""
    rng = np.random.default_rng([20261129, seed])
    program = str(rng.choice(list(programs)))
    table = COMMANDS[program].OPERATORS if program in COMMANDS else LIBRARIES[program]
    count = 2 if rng.random() < TWO else 1
    operators = [table[k] for k in rng.choice(len(table), count, replace=False)]
    drawn = [operator.draw(rng) for operator in operators]
    if program in COMMANDS:
        return ProgramEdit(worded(operators), lambda photos: run(COMMANDS[program].command_line(drawn), photos))

    def edit(photos: Tensor) -> Tensor:
        for operation in drawn:
            photos = operation(photos).clamp(0, 1)
        return photos

    return ProgramEdit(worded(operators), edit)


def run(line: str, photos: Tensor) -> Tensor:
    """Return photos [N, 3, H, W] in [0, 1] as a command line edits them, in its own process and in 8 bits.

    Raises:
        WeightzooError: the program is not installed, or refuses.
    """
    concept = Concept("program", "program", attributes={"run": line})
    with tempfile.TemporaryDirectory(prefix="weightzoo-program-") as folder:
        return CommandTeacher(time_limit=TIME_LIMIT, folder=folder).edit(concept, photos)


def worded(operators: Sequence[Operator]) -> tuple[str, ...]:
    """Return one wording after the other, as long as every operator has one: "edges, then blurred"."""
    return tuple(", then ".join(parts) for parts in zip(*(operator.wordings for operator in operators), strict=False))
