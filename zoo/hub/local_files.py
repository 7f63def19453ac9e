"""What is to be published: files of a folder, held against its manifest, and within the Hub's limits."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub.hf_api import RepoFile

from zoo.errors import WeightzooError
from zoo.files import sha256_file
from zoo.hub.limits import MAX_FILE_BYTES, MAX_FILES, MAX_FILES_PER_FOLDER


@dataclass(frozen=True)
class LocalFile:
    """One file to be published: its name in the repository, its content, and the content's sha256 and size."""

    name: str
    source: Path | bytes
    sha256: str
    size: int

    def is_at(self, remote: RepoFile | None) -> bool:
        """Return whether the repository has this content under this name."""
        if remote is None or remote.size != self.size:
            return False
        return remote.lfs.sha256 == self.sha256 if remote.lfs else remote.blob_id == git_blob_id(self.source)


def git_blob_id(source: Path | bytes) -> str:
    """Return what git calls a file of this content."""
    if isinstance(source, bytes):
        return hashlib.sha1(b"blob %d\0" % len(source) + source).hexdigest()
    digest = hashlib.sha1(b"blob %d\0" % source.stat().st_size)
    with open(source, "rb") as file:
        return hashlib.file_digest(file, lambda: digest).hexdigest()


def checked_file(run_dir: Path, name: str, digest: str) -> LocalFile:
    """Return the file `name` of a folder.

    Raises:
        WeightzooError: it is not there, or has not the sha256 `digest`.
    """
    path = run_dir / name
    if not path.is_file() or sha256_file(path) != digest:
        state = "corrupt" if path.is_file() else "missing"
        raise WeightzooError(
            f"{path} is {state}; repair it with `weightzoo build --repair` before publishing"
        )
    return LocalFile(name, path, digest, path.stat().st_size)


def file_of_bytes(name: str, data: bytes) -> LocalFile:
    """Return a file that has no place on disk."""
    return LocalFile(name, data, hashlib.sha256(data).hexdigest(), len(data))


def check_limits(files: Sequence[LocalFile]) -> None:
    """Refuse what the Hub would refuse, before anything is sent."""
    if large := [file for file in files if file.size > MAX_FILE_BYTES]:
        raise WeightzooError(
            f"{large[0].name} is larger than {MAX_FILE_BYTES / 1e9:g} GB; build with smaller fleets"
        )
    folders: dict[str, int] = {}
    for file in files:
        folder = file.name.rpartition("/")[0]
        folders[folder] = folders.get(folder, 0) + 1
    full = [folder for folder, count in folders.items() if count > MAX_FILES_PER_FOLDER]
    if full or len(files) > MAX_FILES:
        where = (
            f"{full[0]}/ has more than {MAX_FILES_PER_FOLDER}" if full else f"there are more than {MAX_FILES}"
        )
        raise WeightzooError(f"{where} files, which the Hub does not take; build with larger fleets")
