"""Run folders in an object store: `s3://bucket/run`, `gs://...`, `hf://datasets/user/name`.

    with local_copy("s3://bucket/runs/small") as (run_dir, store):
        ...                     # a run folder like any other; `store` is None when it is one
        store.push(run_dir)     # what is new or changed, the manifest last

An object appears complete or not at all, which is what a run folder asks of its files. Therefore pyarrow copies them:
a copy by fsspec that Ctrl-C interrupts is closed, and what was sent until then is taken for the whole object. pyarrow
also brings its own S3, Google and Azure clients, where fsspec needs a package for each; it reads other stores, such as
the Hub, through fsspec. Workers need no folder that the driver sees: each fetches the frozen files once, and stores its
shard itself.
"""

import errno
import functools
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.executors.local import SCRATCH
from pipeline.run_folder.pair_shards import targets_path
from pipeline.run_folder.shard_plan import FleetTask
from zoo.errors import WeightzooError
from zoo.files import PathLike
from zoo.manifest import MANIFEST_FILE

OBJECT_STORES = ("s3", "gs", "gcs", "abfs", "hf", "memory")
IN_PYARROW = ("s3", "gs", "gcs", "abfs")  # the others through fsspec
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NOT_FROZEN = ("weights", "rejected", "pairs", "logs")


class Store:
    """The files of a run folder at a URI."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._files, self._root = _open(uri)
        self._pushed: dict[str, tuple[int, int]] = {}  # name -> size and time of the local file

    def names(self) -> list[str]:
        """Return the names of all files, relative to the run folder."""
        from pyarrow.fs import FileSelector, FileType

        selector = FileSelector(self._root, recursive=True, allow_not_found=True)
        with self._errors("list"):
            found = self._files.get_file_info(selector)
        names = [os.path.relpath(info.path, self._root) for info in found if info.type == FileType.File]
        return sorted(names)

    def pull(self, folder: Path, only: str = "", without: tuple[str, ...] = ()) -> None:
        """Fetch the files that `folder` lacks: those whose name begins with `only`, not those of `without`."""
        for name in self.names():
            wanted = name.startswith(only) and name.split("/")[0] not in without
            if wanted and not (folder / name).exists():
                temporary = folder / f"{name}.part"
                temporary.parent.mkdir(parents=True, exist_ok=True)
                self._copy(f"{self._root}/{name}", self._files, str(temporary), None)
                os.replace(temporary, folder / name)
                self._pushed[name] = _stamp(folder / name)

    def push(self, folder: Path) -> None:
        """Make the store hold what `folder` does: removals first, the manifest last."""
        local = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
        with self._errors("change"):
            for name in [name for name in self._pushed if name not in local]:
                self._files.delete_file(f"{self._root}/{name}")
                del self._pushed[name]
        for name in sorted(local, key=lambda name: (name == MANIFEST_FILE, name)):
            if self._pushed.get(name) != _stamp(local[name]):
                self.push_file(local[name], name)

    def push_file(self, path: Path, name: str) -> None:
        """Store one file."""
        self._copy(str(path), None, f"{self._root}/{name}", self._files)
        self._pushed[name] = _stamp(path)

    def _copy(self, source: str, source_files: Any, target: str, target_files: Any) -> None:
        from pyarrow.fs import LocalFileSystem, copy_files

        local = LocalFileSystem()
        with self._errors("copy"):
            if target_files is not None:
                target_files.create_dir(os.path.dirname(target), recursive=True)
            copy_files(
                source, target, source_filesystem=source_files or local, destination_filesystem=target_files or local
            )

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            fix = "free some space" if error.errno in NO_SPACE else "check the address and credentials"
            raise WeightzooError(f"cannot {what} the files of {self.uri}: {error}; {fix}") from error


@dataclass(frozen=True)
class Stored:
    """A worker's task on a run folder in a store: it fetches the frozen files, calls `work`, and stores the results."""

    uri: str
    work: Callable[[FleetTask], Any]

    def __call__(self, task: FleetTask) -> Any:
        store, scratch = _scratch(self.uri)
        folder = Path(scratch.name)
        own = replace(task, run_dir=str(folder))
        # a shard comes after its rows: it says that the fleet is done
        outputs = [targets_path(own), own.rejected_path, own.shard_path]
        _remove(outputs)  # of an attempt that made them and could not store them
        try:
            store.pull(folder, only=outputs[0].relative_to(folder).as_posix())
            pulled = outputs[0].exists()
            result = self.work(own)
            for path in outputs[1:] if pulled else outputs:
                if path.exists():
                    store.push_file(path, path.relative_to(folder).as_posix())
        finally:
            _remove(outputs)
        return result


def is_uri(where: PathLike) -> bool:
    """Return whether `where` names a store rather than a folder."""
    return "://" in str(where)


def can_see(where: str) -> bool:
    """Return whether this machine sees the run folder, or the store, called `where`."""
    return "config.json" in Store(where).names() if is_uri(where) else os.path.isdir(where)


@contextmanager
def local_copy(where: PathLike, without: tuple[str, ...] = ()) -> Iterator[tuple[Path, Store | None]]:
    """Yield a folder to work in and its store; a local run folder is yielded itself, without a store.

    Args:
        without: folders of the store that the copy need not have.
    """
    if not is_uri(where):
        yield Path(where).resolve(), None
        return
    store = Store(str(where))
    with tempfile.TemporaryDirectory(prefix="weightzoo-run-") as folder:
        store.pull(Path(folder), without=without)
        yield Path(folder), store


def _open(uri: str) -> tuple[Any, str]:
    """Return a pyarrow filesystem and the path in it."""
    from pyarrow import ArrowException
    from pyarrow.fs import FileSystem, FSSpecHandler, PyFileSystem

    protocol = uri.partition("://")[0]
    if protocol not in OBJECT_STORES:
        raise WeightzooError(
            f"{uri}: a run folder is a local path or in one of {', '.join(OBJECT_STORES)}; mount other storage"
        )
    try:
        if protocol in IN_PYARROW:
            files, path = FileSystem.from_uri(uri)
        else:
            import fsspec

            inner, path = fsspec.url_to_fs(uri)
            files = PyFileSystem(FSSpecHandler(inner))
    except (ArrowException, OSError, ValueError, ImportError) as error:
        raise WeightzooError(f"cannot open {uri}: {error}; check the address and credentials") from error
    return files, path.rstrip("/")


@functools.lru_cache(maxsize=1)
def _scratch(uri: str) -> tuple[Store, tempfile.TemporaryDirectory[str]]:
    """Return a worker's own copy of the frozen files; it lives as long as the process."""
    store = Store(uri)
    folder = tempfile.TemporaryDirectory(prefix="weightzoo-fleet-", dir=os.environ.get(SCRATCH))
    store.pull(Path(folder.name), without=NOT_FROZEN)
    return store, folder


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
