"""The members of a tar that is not trusted, in order: plain files with plain names, or an error.

    for member in tar_members(file): file.seek(member.start); content = file.read(member.size)

Headers are parsed by :mod:`tarfile`; whatever else it can do (links, devices, sparse files, long names in members
of any size, paths) is refused here. Nothing is ever extracted, and nothing is allocated for a size that the file
does not have.
"""

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

BLOCK = tarfile.BLOCKSIZE
_MAX_PAX_BYTES = 4096  # one long name


@dataclass(frozen=True)
class Member:
    """One plain file of a tar: its name and where its content stands."""

    name: str
    size: int
    start: int


def tar_members(file: BinaryIO) -> Iterator[Member]:
    """Yield the members of the tar `file`, which may be read and moved in between.

    Raises:
        ValueError: a member that is not a plain file with a plain name, or that ends after the file does.
        tarfile.TarError: a header that is none.
    """
    end = file.seek(0, os.SEEK_END)
    position, long_name = 0, None
    while True:
        file.seek(position)
        header = file.read(BLOCK)
        if header == bytes(BLOCK):
            return
        info = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
        start = position + BLOCK
        if info.size < 0 or start + info.size > end:
            raise ValueError(f"member {info.name!r:.150} ends after the file")
        position = start + -(-info.size // BLOCK) * BLOCK
        if info.type == tarfile.XHDTYPE and long_name is None:
            if info.size > _MAX_PAX_BYTES:
                raise ValueError("an extended header is too long")
            long_name = _pax_path(file.read(info.size))
            continue
        name = long_name if long_name is not None else info.name
        if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise ValueError(f"member {name!r:.150} is not a plain file")
        if not name or set(name) & set("/\\:\0") or name.startswith("."):
            raise ValueError(f"unexpected member {name!r:.150}")
        yield Member(name, info.size, start)
        long_name = None


def _pax_path(data: bytes) -> str:
    """Read the extended header `LENGTH path=NAME` and nothing else."""
    length, _, rest = data.partition(b" ")
    if not length.isdigit() or int(length) != len(data) or not data.endswith(b"\n"):
        raise ValueError("an extended header of a form that no shard has")
    key, _, value = rest[:-1].partition(b"=")
    if key != b"path":
        raise ValueError(f"an extended header for {key!r:.50}, which no shard has")
    return value.decode()
