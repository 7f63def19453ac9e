"""Edit many photographs with one network, in several processes.

    todo = find_photographs(["photos/", "more/a.jpg"], "out/")
    result = edit_photographs(Edit("charcoal/"), todo, "out/", workers=4)
    result.failed                           # [Failed(photo, reason)]

Every process loads the network once and computes with one thread, so that the pictures do not depend on how many there
are. A photograph that cannot be edited is named at the end and holds up no other one. A result that is there already is
kept, so the same command goes on where it was stopped; `RECORD` in the folder says how its pictures were made.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import nn

from zoo.config import to_dict
from zoo.editing.edit import Edit
from zoo.errors import Interrupted, WeightzooError
from zoo.files import PathLike, json_text, read_json_object, remove_stale_temporaries, write_json
from zoo.pictures.apply import check_other_file, check_scale, edit_file, load_network
from zoo.pictures.mixing import check_strength
from zoo.pictures.photo_file import picture_suffixes
from zoo.pictures.photo_output import FORMATS
from zoo.pictures.picture_files import PictureFile, left_out_lines, list_files, list_folders, sort_files
from zoo.progress import track
from zoo.results import check_folder

RECORD = "weightzoo-apply.json"
WORKER_BYTES = 2 * 2**30  # of memory: what a photograph of twelve megapixels takes
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
Outcome = tuple[list[str], str | None]  # notes on a photograph, and why it failed


@dataclass(frozen=True)
class Todo:
    """Photographs and where their edits go.

    Attributes:
        pictures: (photograph, result), in the order of the photographs.
        left_out: one line for every reason why files of the folders are no photographs.
    """

    pictures: list[tuple[Path, Path]]
    left_out: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Failed:
    """A photograph that could not be edited, and why."""

    photo: str
    reason: str


@dataclass(frozen=True)
class Edited:
    """What a run has done.

    Attributes:
        done: results that were written, sorted.
        skipped: how many were there already.
        failed: sorted by photograph.
        notes: what a person should know of single photographs.
    """

    done: list[Path]
    skipped: int
    failed: list[Failed]
    notes: list[str]


def find_photographs(sources: Sequence[PathLike], out: PathLike) -> Todo:
    """List photographs and all those in folders and the folders in these, and the names of their results in `out`.

    Names and folders are kept; what is in a format that is not written here becomes a PNG. `out` itself may lie in one
    of the folders and is left out.

    Raises:
        WeightzooError: nothing there, no photograph in a folder, or two photographs with one result.
    """
    pictures: dict[Path, Path] = {}
    left_out: list[tuple[PictureFile, str]] = []
    out, real_out = Path(out), Path(os.path.realpath(out))
    for source in map(Path, sources):
        if not source.exists():
            raise WeightzooError(f"no such file: {source}")
        listed = sort_files(_walk(source, real_out)) if source.is_dir() else None
        if listed is not None and not listed.pictures:
            lines = "".join(f"; {line}" for line in left_out_lines(listed.left_out))
            raise WeightzooError(f"{source} holds no photograph; give another folder{lines}")
        left_out += listed.left_out if listed else []
        found = (
            [(Path(file.folder), Path(str(file.data))) for file in listed.pictures] if listed else [(Path(), source)]
        )
        for folder, photo in found:
            result = out / folder / result_name(photo)
            if pictures.setdefault(result, photo) != photo:
                raise WeightzooError(f"{pictures[result]} and {photo} would both become {result}; rename one")
    return Todo([(photo, result) for result, photo in pictures.items()], left_out_lines(left_out))


def result_name(photo: Path) -> str:
    """Return the name of a photograph's edit: its own one, with another suffix where that format is not written."""
    suffix = photo.suffix.lower()
    if suffix in FORMATS or suffix not in picture_suffixes():
        return photo.name
    return f"{photo.stem}{'.jpg' if picture_suffixes()[suffix] == 'JPEG' else '.png'}"


def edit_photographs(edit: Edit, todo: Todo, out: PathLike, workers: int = 1, overwrite: bool = False) -> Edited:
    """Edit photographs and write the results into the folder `out`.

    Args:
        workers: processes; the results do not depend on it.
        overwrite: do again what is there already, and replace the results of other settings.

    Raises:
        WeightzooError: weights that cannot be used, `out` holds other results, the disk is full, a process died.
        Interrupted: after Ctrl-C; what was finished is kept.
    """
    check_strength(edit.strength)
    check_folder(Path(os.path.realpath(out)), out)
    network = load_network(edit.weights, edit.base)
    if edit.scale is not None:
        check_scale(network, edit.scale)
    for photo, result in todo.pictures:
        check_other_file(photo, result)
    settings = {"network_sha256": fingerprint(network), "scale": edit.scale, "strength": edit.strength}
    began = _check_record(Path(out), settings, todo, overwrite)
    remove_stale_temporaries(out)
    left = [(photo, result) for photo, result in todo.pictures if not _is_done(photo, result, began)]
    done: list[Path] = []
    failed: list[Failed] = []
    notes: list[str] = []
    outcomes = _run(network, edit, left, min(workers, len(left)))
    try:
        for (photo, result), (lines, reason) in track(outcomes, "editing", "photographs", len(left)):
            notes += lines
            if reason is None:
                done.append(result)
            else:
                failed.append(Failed(str(photo), reason))
    except KeyboardInterrupt:
        outcomes.close()
        raise Interrupted(f"stopped; the pictures in {out} are kept: run the same command again for the rest") from None
    failed.sort(key=lambda row: row.photo)
    return Edited(sorted(done), len(todo.pictures) - len(left), failed, sorted(notes))


def most_workers() -> int:
    """Return how many processes the memory of this machine has room for."""
    try:
        return max(1, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // WORKER_BYTES)
    except (AttributeError, ValueError, OSError):  # not on Windows
        return 1


def fingerprint(network: nn.Module) -> str:
    """Return the sha256 of a network's config and weights."""
    digest = sha256(json_text(to_dict(network.config)).encode())
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()


def _walk(folder: Path, out: Path, name: str = "") -> Iterator[PictureFile]:
    """Yield the files of a folder and of the folders in it, without those of `out`."""
    yield from list_files(folder, name)
    for child in list_folders(folder):
        below = folder / child
        if Path(os.path.realpath(below)) != out and not below.is_symlink():
            yield from _walk(below, out, f"{name}/{child}" if name else child)


def _check_record(out: Path, settings: dict[str, Any], todo: Todo, overwrite: bool) -> float:
    """Return when the pictures of these settings were begun; write the record where that is now.

    Raises:
        WeightzooError: an earlier result would be lost.
    """
    path = out / RECORD
    if path.exists() and not overwrite:
        earlier = read_json_object(path)
        if differing := [name for name, value in settings.items() if earlier.get(name) != value]:
            what = {"network_sha256": "network"}.get(differing[0], differing[0])
            raise WeightzooError(
                f"the pictures in {out} were made with another {what}; choose another -o, or add --overwrite"
            )
        return path.stat().st_mtime
    there = next((result for _, result in todo.pictures if os.path.lexists(result)), None)
    if there is not None and not overwrite:
        raise WeightzooError(f"{there} exists; add --overwrite to replace it, or choose another -o")
    write_json(path, settings)
    return path.stat().st_mtime


def _is_done(photo: Path, result: Path, began: float) -> bool:
    """Return whether a result is of these settings, and of the photograph as it is now."""
    return result.is_file() and result.stat().st_mtime >= max(began, photo.stat().st_mtime)


def _run(
    network: nn.Module, edit: Edit, left: Sequence[tuple[Path, Path]], workers: int
) -> Generator[tuple[tuple[Path, Path], Outcome], None, None]:
    """Yield photographs with their outcomes, in the order in which they end."""
    if workers <= 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for pair in left:
                yield pair, _edit(network, edit, *pair)
        finally:
            torch.set_num_threads(threads)
        return
    context = multiprocessing.get_context("spawn")  # a fork of a process with torch's threads may hang
    pool = ProcessPoolExecutor(workers, context, _begin, (edit,))
    try:
        futures = {pool.submit(_edit_here, *pair): pair for pair in left}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool:
        raise WeightzooError(
            "a process died, perhaps for want of memory; run the same command again with fewer --workers (finished "
            "pictures are kept)"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _edit(network: nn.Module, edit: Edit, photo: Path, result: Path) -> Outcome:
    """Edit one photograph; a full disk is every photograph's failure."""
    try:
        return edit_file(network, photo, result, edit.scale, edit.strength), None
    except WeightzooError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in NO_ROOM:
            raise
        return [], str(error)
    except Exception as error:
        return [], f"{photo}: {type(error).__name__}: {error}"


_loaded: tuple[nn.Module, Edit]  # of a worker process


def _begin(edit: Edit) -> None:
    """Load the network into a worker process."""
    global _loaded
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C
    torch.set_num_threads(1)
    _loaded = load_network(edit.weights, edit.base), edit


def _edit_here(photo: Path, result: Path) -> Outcome:
    return _edit(*_loaded, photo, result)
