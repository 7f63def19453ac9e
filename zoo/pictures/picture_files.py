"""Which files of a folder or tar are pictures, and why the others are left out.

    listed = sort_files(list_files(Path("photos")))
    listed.pictures              # PictureFile(folder, name, label, data), sorted
    left_out_lines(listed.left_out)
    # ["3 files are left out: a.heic, b.heic and c.heic (HEIC is not read here; convert them to JPEG or PNG)"]

Names are compared in Unicode's NFC form: macOS hands out the same name in another one than Linux and Windows do.
"""

from __future__ import annotations

import io
import os
import tarfile
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from zoo.errors import WeightzooError
from zoo.files import is_text
from zoo.pictures.photo_file import picture_suffixes
from zoo.words import plural

SYSTEM_FILES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir"})
SHOWN = 3  # names in a message
CAMERA_RAW = (".3fr", ".arw", ".cr2", ".cr3", ".dng", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".srw")
FILMS = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mts")
REASONS = {
    ".heic": "HEIC is not read here; convert to JPEG or PNG",
    ".heif": "HEIF is not read here; convert to JPEG or PNG",
    ".jxl": "JPEG XL is not read here; convert to JPEG or PNG",
    ".exr": "OpenEXR is not read here; convert to PNG or TIFF",
    ".svg": "SVG is not read here; export as PNG",
    **dict.fromkeys(FILMS, "a film, no picture"),
    **dict.fromkeys(CAMERA_RAW, "camera raw is not read here; export as JPEG or TIFF"),
}
NO_PICTURE = "no picture"
NO_TEXT = "the name is not in UTF-8; rename it"


@dataclass(frozen=True)
class PictureFile:
    """A file that may be a picture.

    Attributes:
        folder: the folder within the listed one, "" for the listed one itself.
        name: the file's name in NFC.
        label: its path in messages.
        data: its path, or its content where it comes from a tar.
    """

    folder: str
    name: str
    label: str
    data: Path | bytes

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """The suffix in small letters."""
        return PurePosixPath(self.name).suffix.lower()


@dataclass(frozen=True)
class SortedFiles:
    """The pictures among some files, and (file, reason) for every other one that is no system file."""

    pictures: list[PictureFile]
    left_out: list[tuple[PictureFile, str]]


def list_files(path: Path, folder: str = "") -> list[PictureFile]:
    """List the files in `path` itself, sorted by name, hidden ones and those of the system left out."""
    files = [
        PictureFile(folder, nfc(child.name), str(child), child)
        for child in path.iterdir()
        if child.is_file() and not is_hidden(child.name)
    ]
    return sorted(files, key=lambda file: (file.name, file.label))


def list_folders(path: Path) -> list[str]:
    """List the names of the folders in `path`, hidden ones left out."""
    return sorted(child.name for child in path.iterdir() if child.is_dir() and not is_hidden(child.name))


def list_tar(path: Path) -> list[PictureFile]:
    """Read the files of a tar, without a folder that holds all of them.

    Raises:
        WeightzooError: it is no tar, or cut off.
    """
    try:
        with open(path, "rb") as stream:
            _check_end(stream)
            members = list(_members(stream))
    except (OSError, tarfile.TarError, ValueError, EOFError) as error:
        reason = str(error) or type(error).__name__
        raise WeightzooError(f"{path} is not a readable tar ({reason}); restore or remake it") from None
    shared = _shared_folder([name for name, _ in members])
    return [
        PictureFile(nfc("/".join(name.parts[shared:-1])), nfc(name.name), f"{path}:{name}", data)
        for name, data in members
    ]


def sort_files(files: Iterable[PictureFile]) -> SortedFiles:
    """Tell pictures from what is left out, by suffix."""
    pictures, left_out = [], []
    for file in files:
        if not is_text(file.name):
            left_out.append((file, NO_TEXT))
        elif file.suffix in picture_suffixes():
            pictures.append(file)
        else:
            left_out.append((file, REASONS.get(file.suffix, NO_PICTURE)))
    return SortedFiles(pictures, left_out)


def left_out_lines(left_out: Sequence[tuple[PictureFile, str]]) -> list[str]:
    """Return one line for every reason, with the number of files and the first names."""
    reasons: dict[str, list[str]] = {}
    for file, reason in left_out:
        name = f"{file.folder}/{file.name}" if file.folder else file.name
        reasons.setdefault(reason, []).append(name.encode("utf-8", "backslashreplace").decode())
    return [
        f"{plural(len(names), 'file')} {'is' if len(names) == 1 else 'are'} left out: {some(names)} ({reason})"
        for reason, names in reasons.items()
    ]


def is_film(path: Path) -> bool:
    """Return whether a file's name is one of a film."""
    return path.suffix.lower() in FILMS


def nfc(name: str) -> str:
    """Return a name in Unicode's composed form."""
    return unicodedata.normalize("NFC", name)


def is_hidden(name: str) -> bool:
    """Say whether a file or folder is hidden, or one that an operating system leaves behind."""
    return name.startswith(".") or name.lower() in SYSTEM_FILES


def some(names: Sequence[str]) -> str:
    """Return the first names of a list, and how many more there are."""
    more = len(names) - SHOWN
    if more > 0:
        return f"{', '.join(names[:SHOWN])} and {more:,} more"
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _check_end(stream: io.BufferedReader) -> None:
    """Raise ValueError for a tar that is cut off: every whole one ends with two empty blocks."""
    stream.seek(-min(1024, stream.seek(0, os.SEEK_END)), os.SEEK_END)
    if stream.read() != bytes(1024):
        raise ValueError("its end is missing")
    stream.seek(0)


def _members(stream: io.BufferedReader) -> Iterator[tuple[PurePosixPath, bytes]]:
    with tarfile.open(fileobj=stream, mode="r:") as tar:
        for member in tar:
            name = PurePosixPath(member.name)
            if not member.isfile() or any(is_hidden(part) for part in name.parts):
                continue
            data = tar.extractfile(member)
            assert data is not None  # of a regular file
            yield name, data.read()


def _shared_folder(names: Sequence[PurePosixPath]) -> int:
    """Return how many leading folders all files have in common."""
    return len(os.path.commonprefix([name.parts[:-1] for name in names]))
