"""The results of commands: an earlier one is never lost by accident, a new one is complete or absent.

    check_free("charcoal", overwrite=False)          # before anything is loaded
    with fresh_folder("charcoal") as folder:         # a hidden sibling, which becomes charcoal/ at the end
        save_peft(folder, ...)

Commands that go on where they stopped (build, train, evaluate, download) write into their folder as they go instead.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zoo.errors import Interrupted, WeightzooError
from zoo.files import PathLike, is_alive

# what generate and finetune leave in their folders: --overwrite removes nothing else
OURS = re.compile(
    r"adapter_config\.json|adapter_model\.safetensors|weightzoo\.json|base|"
    r"generator\.safetensors|config\.json|finetune\.json|generate\.json|metrics\.jsonl|training"
)

# what `mix --from-to` leaves in its folder
OURS_OF_A_SERIES = re.compile(r"series\.json|base|\d{2,}")

ZOO, MODEL, EVALUATION = "a zoo", "a weight generator", "an evaluation"
# what a folder of each kind holds, and no folder of another kind
MARKS = {
    "adapter_config.json": "an adapter",
    "generator.safetensors": "a generator",
    "manifest.json": ZOO,
    "photographs.json": ZOO,
    "model_index.json": MODEL,
    "checkpoints": MODEL,
    "cells": EVALUATION,
    "timing.json": EVALUATION,
}


def check_kind(folder: PathLike, kind: str) -> None:
    """Refuse a folder in which a command would go on, but which holds the result of another one.

    Raises:
        WeightzooError: naming what it holds; or it is a file, or cannot be made.
    """
    check_folder(Path(os.path.realpath(folder)), folder)
    for mark, held in MARKS.items():
        if held != kind and (Path(folder) / mark).exists():
            raise WeightzooError(f"{folder} holds {held} ({mark}), where {kind} is to go; choose another folder")


def check_free(folder: PathLike, overwrite: bool, otherwise: str = "", own: re.Pattern[str] = OURS) -> None:
    """Refuse a folder for a new result where an earlier one would be lost.

    Args:
        overwrite: an earlier result may be replaced, but nothing that weightzoo has not written.
        otherwise: what else can be done with an earlier result, for the message.
        own: the names that an earlier result of this kind may have in its folder.

    Raises:
        WeightzooError: the folder holds anything, is a file, or cannot be made.
    """
    real = Path(os.path.realpath(folder))
    check_folder(real, folder)
    there = sorted(path.name for path in real.iterdir()) if real.is_dir() else []
    if there and not overwrite:
        raise WeightzooError(f"{folder} is not empty; add --overwrite to replace it, {otherwise}or choose another -o")
    if strange := [name for name in there if not own.fullmatch(name)]:
        raise WeightzooError(
            f"{folder} holds {strange[0]}, which is no part of a result; move it away or choose another -o"
        )
    if there and os.path.ismount(real):
        raise WeightzooError(f"{folder} is a mount point and cannot be replaced; choose a folder in it")


def check_free_file(path: PathLike, overwrite: bool, example: str) -> None:
    """Refuse a file for a new result where an earlier one would be lost.

    Args:
        example: a file's name, for the message about a folder.

    Raises:
        WeightzooError: the file exists, is a folder, or its folder cannot be made.
    """
    if Path(path).is_dir() or str(path).endswith(os.sep):
        raise WeightzooError(f"{path} is a folder; name the file, for example {Path(path) / example}")
    check_place(Path(path))
    if os.path.lexists(path) and not overwrite:
        raise WeightzooError(f"{path} exists; add --overwrite to replace it, or choose another -o")


def check_folder(real: Path, shown: PathLike) -> None:
    """Refuse a path where there can be no folder.

    Args:
        shown: the path as a person gave it.

    Raises:
        WeightzooError: it is a file; see also :func:`check_place`.
    """
    if real.exists() and not real.is_dir():
        raise WeightzooError(f"{shown} is a file; give the name of a folder")
    check_place(real)


def check_place(path: Path) -> None:
    """Refuse a path that cannot be written because of the folder that it is in.

    Raises:
        WeightzooError: a parent is a file, or the nearest folder above may not be written to.
    """
    above = next(parent for parent in path.absolute().parents if os.path.lexists(parent))
    if not above.is_dir():
        raise WeightzooError(f"{above} is no folder, so {path} cannot be written; choose another place")
    if not os.access(above, os.W_OK | os.X_OK):
        raise WeightzooError(f"{above} may not be written to; choose another place, or change its permissions")


@contextmanager
def fresh_folder(folder: PathLike) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `folder` at the end, as a whole.

    After an error or Ctrl-C `folder` is as it was; a training that ends early with :class:`Interrupted` has a
    result. Errors name `folder`, not the folder that stands in for it. An empty folder is written into as it is:
    it may be a mount point.
    """
    real = Path(os.path.realpath(folder))
    if real.is_dir() and not any(real.iterdir()):
        with _emptied_after_errors(real):
            yield Path(folder)
        return
    _remove_leftovers(real)
    new = real.with_name(f".{real.name}.{os.getpid()}.tmp")
    shutil.rmtree(new, ignore_errors=True)  # of a killed process that had the same number
    new.mkdir(parents=True)
    try:
        yield new
        _replace(real, new)
    except Interrupted as stopped:
        _replace(real, new)
        raise Interrupted(str(stopped).replace(str(new), str(folder))) from stopped
    except WeightzooError as error:
        raise type(error)(str(error).replace(str(new), str(folder))) from error.__cause__
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _remove_leftovers(folder: Path) -> None:
    """Remove what killed processes have left beside `folder`; an earlier result only if there is one in its place."""
    ours = re.compile(rf"\.{re.escape(folder.name)}(\.old)?\.(\d+)\.tmp")
    for path in folder.parent.glob(".*.tmp"):
        found = ours.fullmatch(path.name)
        if found and not is_alive(int(found[2])) and (folder.exists() or not found[1]):
            shutil.rmtree(path, ignore_errors=True)


def _replace(folder: Path, new: Path) -> None:
    """Rename `new` to `folder`; what was there goes once the new one is in its place."""
    old = folder.with_name(f".{folder.name}.old.{os.getpid()}.tmp")
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    try:
        new.rename(folder)
    except BaseException:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _emptied_after_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except Interrupted:
        raise
    except BaseException:
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        raise
