"""Atomic writes, hashes and JSON files.

Everything that weightzoo leaves on disk goes through :func:`atomic_path`: a file is absent or complete.
"""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, SupportsFloat

from zoo.errors import WeightzooError

PathLike = str | os.PathLike[str]
EMBEDDED_DIR = Path(__file__).resolve().parent / "embedded"  # the zoos that come with the package


@contextmanager
def atomic_path(path: PathLike) -> Iterator[Path]:
    """Yield a temporary sibling of `path`; on success flush it to disk and rename it into place.

    On any error (Ctrl-C too) the temporary file is removed and `path` is as it was. The temporary name
    keeps the suffix of `path` and starts with a dot: nothing of ours takes it for a finished file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise WeightzooError(
            f"cannot write {path}: {error.strerror or error}; free some space or choose another folder, "
            "then run the same command again (finished files are kept)"
        ) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_stale_temporaries(folder: PathLike) -> None:
    """Remove temporary files of :func:`atomic_path` below `folder` whose process no longer lives."""
    for path in Path(folder).rglob(".*.tmp*"):
        parts = path.name.split(".")
        pid = next((before for before, part in zip(parts, parts[1:], strict=False) if part == "tmp"), "")
        if pid.isdigit() and not is_alive(int(pid)):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def is_alive(pid: int) -> bool:
    """Return whether a process of this machine has the number `pid`."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def write_text(path: PathLike, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_bytes(path: PathLike, data: bytes) -> None:
    """Write `data`, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def sha256_file(path: PathLike) -> str:
    """Return the sha256 of a file as 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: PathLike, obj: Any) -> None:
    """Write `obj` as JSON (sorted keys, indent 2, newline at the end), atomically. NaN is refused."""
    write_text(path, json_text(obj))


def json_text(obj: Any) -> str:
    """Return `obj` as :func:`write_json` writes it."""
    return json.dumps(obj, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def finite(value: Any) -> Any:
    """Return the same JSON with NaN and infinity as null: JSON has no word for them."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def rounded(value: SupportsFloat) -> float | None:
    """Return a figure with six digits after the point, or None if it is not finite."""
    return finite(round(float(value), 6))


def read_json(path: PathLike, most_bytes: int | None = None) -> Any:
    """Read a JSON file; with `most_bytes`, as for a stranger's file, a larger one is refused.

    Raises:
        WeightzooError: the file is absent, larger, or not valid JSON.
    """
    try:
        if most_bytes is not None and os.stat(path).st_size > most_bytes:
            raise WeightzooError(f"{path} has more than {most_bytes} bytes; do not use it")
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))  # as Windows' editors begin a file
    except FileNotFoundError:
        raise WeightzooError(f"{path} does not exist; check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise WeightzooError(f"cannot read {path}: {error}; check the path") from None
    except (ValueError, RecursionError) as error:  # also numbers of too many digits, too deep a nesting
        raise WeightzooError(f"{path} is not valid JSON ({error}); restore or remake it") from None


def read_json_object(path: PathLike) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        WeightzooError: the file is absent, is not valid JSON, or holds something else.
    """
    values = read_json(path)
    if not isinstance(values, dict):
        raise WeightzooError(f"{path} holds no JSON object; restore or remake it")
    return values


def is_text(name: str) -> bool:
    """Return whether a name or an argument can be written as UTF-8, which not all bytes of a system can."""
    return name.encode("utf-8", "replace").decode() == name


def json_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the number (from 1) and the content of each line of JSONL that is not blank.

    Only a newline ends one: JSON leaves U+2028, U+2029 and U+0085 as they are, where `str.splitlines` would cut.
    """
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line
