"""The command teacher: any program that reads a picture and writes one.

    CommandTeacher("magick {source} -modulate {light} {target}", folder="/home/anna/work").edit(concept, photos)

Each launch has a temporary folder of its own as its working folder, with copies of the photographs (PNG, 8 bits),
and a limit in seconds. Files of `folder` that the command names are found by their absolute paths. A program that
ends badly, or whose pictures are missing or of another size, makes its concept a row with the reason. This keeps
programs apart from each other; it does not protect from them.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from pipeline.executors.local import SCRATCH
from pipeline.teachers.command_line import (
    command_words,
    files_of,
    find_program,
    located,
    with_pictures,
    works_on_all,
)
from pipeline.teachers.own_code import check_own, to_image, to_tensor
from zoo.concepts import Concept
from zoo.errors import WeightzooError
from zoo.pictures.photo_file import PILLOW_ERRORS, load_photo, reason_of
from zoo.words import plural

FREE_BYTES = 1 << 20  # less on the disk says that a program failed for want of room


@dataclass(eq=False)
class CommandTeacher:
    """Edits photographs by running a program.

    Args:
        run: the command line, see :mod:`pipeline.teachers.command_line`; a concept's attribute `run` replaces it.
        time_limit: seconds that a launch may take.
        folder: where the build was started, see :mod:`pipeline.teachers.own_code`.
    """

    run: str = ""
    time_limit: float = 60.0
    folder: str = ""

    name = "command"
    licence = "the program's own"
    expensive = True

    def prepare(self, device: str) -> None:
        """Raise WeightzooError: the programs are not one's own."""
        check_own(self.name, self.folder)

    def refusal(self, concept: Concept) -> str | None:
        """Return why there is no command for `concept` that can be run; None when there is."""
        try:
            words = command_words(self.run, concept)
        except WeightzooError as error:
            return str(error)
        if find_program(words, Path(self.folder)) is None:
            return f"there is no program {Path(words[0]).name!r} to run; install it, or check the command"
        return None

    def files(self, concept: Concept) -> dict[str, Path]:
        """Return the program and every file that the concept's command names."""
        if self.refusal(concept):
            return {}
        return files_of(command_words(self.run, concept), Path(self.folder))

    @torch.no_grad()
    def edit(self, concept: Concept, photos: Tensor) -> Tensor:
        """Return what the program makes of photos [N, 3, H, W] in [0, 1], of the same shape and range.

        Raises:
            WeightzooError: no command, or it failed: its exit status and last words.
            OSError: there is no room on the disk, or the program cannot be started.
        """
        check_own(self.name, self.folder)
        if reason := self.refusal(concept):
            raise WeightzooError(reason)
        words = located(command_words(self.run, concept), Path(self.folder))
        if works_on_all(words):
            return self._launch(words, photos, "sources", "targets")
        return torch.cat([self._launch(words, photo, "source.png", "target.png") for photo in photos.split(1)])

    def _launch(self, words: list[str], photos: Tensor, source: str, target: str) -> Tensor:
        """Return the targets of one launch; without a suffix `source` and `target` are folders."""
        with tempfile.TemporaryDirectory(
            prefix="weightzoo-command-", dir=os.environ.get(SCRATCH), ignore_cleanup_errors=True
        ) as scratch:
            room = Path(scratch)
            before, after = room / source, room / target
            pairs = [(before, after)]
            if not before.suffix:
                before.mkdir()
                after.mkdir()
                pairs = [(before / f"{i:04d}.png", after / f"{i:04d}.png") for i in range(len(photos))]
            for photo, (path, _) in zip(photos, pairs, strict=True):
                to_image(photo).save(path)
            self._run(with_pictures(words, {before.stem: before, after.stem: after}), room)
            program = Path(words[0]).name
            return torch.stack([_read(path, photo, program) for photo, (_, path) in zip(photos, pairs, strict=True)])

    def _run(self, words: list[str], room: Path) -> None:
        """Run a program in the folder `room`.

        Raises:
            WeightzooError: it takes longer than the limit, or does not end with 0.
        """
        said = room / "said.txt"  # a pipe would stay open with whatever the program leaves behind
        environment = os.environ | {"TMPDIR": str(room)}
        program = Path(words[0]).name
        with said.open("wb") as output:
            process = subprocess.Popen(
                words,
                cwd=room,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                status = process.wait(self.time_limit)
            except subprocess.TimeoutExpired:
                limit = plural(1, "second") if self.time_limit == 1 else f"{self.time_limit:g} seconds"
                raise WeightzooError(f"{program} took longer than {limit}; raise --time-limit") from None
            finally:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)  # with whatever it has started
                process.wait()
        if status:
            if shutil.disk_usage(room).free < FREE_BYTES:
                raise OSError(errno.ENOSPC, f"no room for the pictures of {program}", str(room))
            how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
            raise WeightzooError(f"{program} {how}{_last_words(said, room)}")


def _last_words(said: Path, room: Path) -> str:
    """Return the last line that a program printed, or nothing."""
    lines = said.read_text(encoding="utf-8", errors="replace")[-4000:].replace(f"{room}/", "").split("\n")
    last = next((line for line in reversed(lines) if line.strip()), "")
    text = "".join(letter for letter in last.strip() if letter.isprintable())[:200]
    return f": {text}" if text else " and said nothing"


def _read(path: Path, photo: Tensor, program: str) -> Tensor:
    """Return a program's picture, [3, H, W] in [0, 1]."""
    try:
        picture = load_photo(path, path.name)
    except FileNotFoundError:
        raise WeightzooError(f"{program} wrote no {path.name}; it must write one picture for each source") from None
    except (*PILLOW_ERRORS, Image.DecompressionBombError) as error:
        raise WeightzooError(f"{program} wrote a {path.name} that is no picture ({reason_of(error)})") from None
    if picture.notes:
        raise WeightzooError(f"{program} wrote a {path.name} that is unclear ({picture.notes[0]}); write 8 bits")
    return to_tensor(picture.on_white(), photo, program)
