"""Storage formats of weight shards.

A format is one module with `SUFFIX`, `write_shard` and `read_shard`, and one line in :data:`FORMATS`.
Writing is atomic and byte-deterministic; reading gives equal records back.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, cast

from zoo.errors import WeightzooError
from zoo.files import PathLike
from zoo.layout import WeightLayout
from zoo.records import WeightRecord
from zoo.shards import parquet, webdataset

ShardContents = tuple[Iterator[WeightRecord], dict[str, str], WeightLayout]


class ShardFormat(Protocol):
    """What a module of this folder provides."""

    SUFFIX: str

    def write_shard(
        self, path: PathLike, records: Sequence[WeightRecord], layout: WeightLayout, metadata: Mapping[str, str]
    ) -> None:
        """Write one shard, atomically."""

    def read_shard(self, path: PathLike) -> ShardContents:
        """Open one shard: its records (lazily), its metadata, its layout."""


FORMATS: dict[str, ShardFormat] = {"parquet": cast(ShardFormat, parquet), "webdataset": cast(ShardFormat, webdataset)}


def shard_stem(split: str, index: int, count: int, generation: int = 0) -> str:
    """Return the name without suffix: `train-00000-of-00042`, extended `train-g01-00000-of-00008`."""
    extended = f"-g{generation:02d}" if generation else ""
    return f"{split}{extended}-{index:05d}-of-{count:05d}"


def shard_name(split: str, index: int, count: int, suffix: str = parquet.SUFFIX, generation: int = 0) -> str:
    """Return a shard's file name: `train-00000-of-00042.parquet`."""
    return shard_stem(split, index, count, generation) + suffix


def without_suffix(name: str) -> str:
    """Return the name of a shard, or its path, without its format's suffix."""
    suffix = next((f.SUFFIX for f in FORMATS.values() if name.endswith(f.SUFFIX)), "")
    return name.removesuffix(suffix)


def format_of(path: PathLike) -> ShardFormat:
    """Return the format of a shard by its suffix."""
    for shard_format in FORMATS.values():
        if Path(path).name.endswith(shard_format.SUFFIX):
            return shard_format
    known = ", ".join(shard_format.SUFFIX for shard_format in FORMATS.values())
    raise WeightzooError(f"{path} is not a weight shard; known suffixes: {known}")


def read_shard(path: PathLike) -> ShardContents:
    """Open a shard of any format: its records (lazily), its metadata, its layout."""
    return format_of(path).read_shard(path)
