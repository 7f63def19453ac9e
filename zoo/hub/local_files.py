"""What is to be published: files of a folder, held against its manifest, and within the Hub's limits.

A file is the client's `CommitOperationAdd`, which knows the size and the sha256 of its content.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import CommitOperationAdd
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils.sha import git_hash

from zoo.errors import WeightzooError
from zoo.hub.limits import MAX_FILE_BYTES, MAX_FILES, MAX_FILES_PER_FOLDER


def checked_file(run_dir: Path, name: str, digest: str) -> CommitOperationAdd:
    """Return the file `name` of a folder.

    Raises:
        WeightzooError: it is not there, or has not the sha256 `digest`.
    """
    path = run_dir / name
    file = CommitOperationAdd(name, path) if path.is_file() else None
    if file is None or file.upload_info.sha256.hex() != digest:
        state = "corrupt" if file else "missing"
        raise WeightzooError(f"{path} is {state}; repair it with `weightzoo repair` before publishing")
    return file


def is_at(file: CommitOperationAdd, remote: RepoFile | None) -> bool:
    """Return whether the repository has this content under this name."""
    if remote is None or remote.size != file.upload_info.size:
        return False
    if remote.lfs:
        return remote.lfs.sha256 == file.upload_info.sha256.hex()
    with file.as_file() as content:
        return remote.blob_id == git_hash(content.read())


def check_limits(files: Sequence[CommitOperationAdd]) -> None:
    """Refuse what the Hub would refuse, before anything is sent."""
    if large := [file.path_in_repo for file in files if file.upload_info.size > MAX_FILE_BYTES]:
        raise WeightzooError(f"{large[0]} is larger than {MAX_FILE_BYTES / 1e9:g} GB; build with smaller fleets")
    folders = Counter(file.path_in_repo.rpartition("/")[0] for file in files)
    full = [folder for folder, count in folders.items() if count > MAX_FILES_PER_FOLDER]
    if full or len(files) > MAX_FILES:
        where = (
            f"{full[0]}/ has more than {MAX_FILES_PER_FOLDER}" if full else f"there are more than {MAX_FILES}"
        )
        raise WeightzooError(f"{where} files, which the Hub does not take; build with larger fleets")
