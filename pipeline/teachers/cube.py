"""The cube teacher: a person's own look-up tables, one `.cube` file for each concept.

DIR/film.cube   DIR/Cold Morning.cube        concepts `film` and `cold-morning`

concepts, notes = cube_concepts("looks")     # prompts from the files' titles, or from their names
CubeTeacher("looks").edit(concepts[0], photos)
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import lru_cache
from pathlib import Path

from torch import Tensor

from zoo.concepts import Concept
from zoo.errors import WeightzooError
from zoo.pictures.cube import CubeTable, cube_title, read_cube
from zoo.words import plural

SUFFIX = ".cube"


class CubeTeacher:
    """Edits photographs by look-up tables of colours."""

    name = "cube"
    licence = "the look-up tables' own"
    expensive = False

    def __init__(self, folder: str = "looks") -> None:
        self.folder = Path(folder)

    def prepare(self, device: str) -> None:
        """Raise WeightzooError when the folder of tables is missing."""
        cube_files(self.folder)

    def files(self, concept: Concept) -> dict[str, Path]:
        """Return the concept's table by its name; none where there is no such file."""
        path = cube_files(self.folder).get(concept.id)
        return {} if path is None else {path.name: path}

    def refusal(self, concept: Concept) -> str | None:
        """Return why there is no usable table for `concept`; None when there is."""
        if not self.folder.is_dir() or not self.files(concept):
            return f"there is no file {concept.id}{SUFFIX} in the folder of look-up tables"
        try:
            self._table(concept)
        except WeightzooError as error:
            return str(error).replace(f"{self.folder}/", "")  # the reason is published
        return None

    def edit(self, concept: Concept, photos: Tensor) -> Tensor:
        """Return photos [N, 3, H, W] in [0, 1] after the concept's table, of the same shape and range.

        Raises:
            WeightzooError: no table, or one that cannot be read.
        """
        if reason := self.refusal(concept):
            raise WeightzooError(reason)
        return self._table(concept).apply(photos)

    def _table(self, concept: Concept) -> CubeTable:
        (path,) = self.files(concept).values()
        return _read(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _read(path: Path, changed: int) -> CubeTable:
    return read_cube(path)


def cube_files(folder: Path) -> dict[str, Path]:
    """Return the `.cube` files of a folder by the ids of their concepts, in the order of these.

    Raises:
        WeightzooError: no folder, no such files, or two whose names give the same id.
    """
    if not folder.is_dir():
        raise WeightzooError(f"no folder of look-up tables at {folder}; give one with .cube files in it")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() != SUFFIX or path.name.startswith(".") or not path.is_file():
            continue
        if (name := slug(path.stem)) in found:
            raise WeightzooError(
                f"{found[name].name} and {path.name} in {folder} are both concept {name!r}; rename one"
            )
        found[name] = path
    if not found:
        raise WeightzooError(f"{folder} holds no .cube files; export look-up tables into it")
    return dict(sorted(found.items()))


def cube_concepts(folder: Path) -> tuple[list[Concept], list[str]]:
    """Return a concept for each `.cube` file of a folder, and lines that say what they were taken for.

    The prompt is the file's title. Where there is none, or several files have the same, it is the name.

    Raises:
        WeightzooError: as :func:`cube_files`.
    """
    files = cube_files(folder)
    titles = {name: cube_title(path) for name, path in files.items()}
    often = Counter(titles.values())
    named = {name for name, title in titles.items() if not title.isprintable() or not title or often[title] > 1}
    prompts = {name: in_words(path.stem) if name in named else titles[name] for name, path in files.items()}
    notes = [f"{plural(len(files), 'concept')} from the .cube files in {folder}"]
    if shared := [title for title, count in often.items() if title and count > 1]:
        notes.append(
            f"the title {shared[0]!r} is that of {plural(often[shared[0]], 'file')}; their names are the prompts"
        )
    return [Concept(name, prompts[name]) for name in files], notes


def slug(name: str) -> str:
    """Return a name as a concept's id: lower-case letters, digits and hyphens."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:120].strip("-") or "look"


def in_words(name: str) -> str:
    """Return a file's name as words: `Kodak_Portra-400` -> `Kodak Portra 400`."""
    return " ".join(re.split(r"[\W_]+", name)).strip() or name
