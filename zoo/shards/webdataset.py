"""Weight shards as WebDataset: a tar with ``<concept_id>.json`` and ``.safetensors`` for every record.

The first member, ``__weightzoo__``, is the shard's own metadata as JSON; plain ``webdataset`` and
``datasets`` skip members of such names. Each record's JSON carries the sha256 of the safetensors beside it.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import safetensors
import safetensors.numpy

from zoo.errors import WeightzooError
from zoo.files import PathLike, atomic_path
from zoo.layout import WeightLayout
from zoo.records import (
    BLOCK_DTYPE,
    FORMAT_VERSION,
    RECORDS_KEY,
    WeightRecord,
    check_record,
    layout_from_metadata,
    record_of,
    row_of,
)

SUFFIX = ".tar"
METADATA_MEMBER = "__weightzoo__"
_MAX_JSON_BYTES = 1 << 20
_EXTRA_KEYS = ("format_version", "layout_id", "sha256")


def write_shard(
    path: PathLike, records: Sequence[WeightRecord], layout: WeightLayout, metadata: Mapping[str, str]
) -> None:
    """Write one shard, atomically; equal records give equal bytes."""
    for record in records:
        check_record(record, layout)
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
            own = dict(metadata) | {RECORDS_KEY: str(len(records))}
            _add_member(tar, METADATA_MEMBER, json.dumps(own, sort_keys=True).encode())
            for record in records:
                _add_record(tar, record, layout)


def read_shard(path: PathLike) -> tuple[Iterator[WeightRecord], dict[str, str], WeightLayout]:
    """Open one shard: its records (lazily), its metadata, its layout.

    Raises:
        WeightzooError: absent, truncated, corrupt, of another format version, or not a weight shard.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            metadata = json.loads(_read_member(tar, tar.next(), METADATA_MEMBER, _MAX_JSON_BYTES))
        num_records = int(metadata[RECORDS_KEY])
    except FileNotFoundError:
        raise WeightzooError(f"shard {path} does not exist; check the path") from None
    except (tarfile.TarError, OSError, ValueError, TypeError, KeyError) as error:
        raise _corrupt(path, error) from None
    layout = layout_from_metadata(metadata, str(path))
    return _records(path, layout, num_records), metadata, layout


def _add_record(tar: tarfile.TarFile, record: WeightRecord, layout: WeightLayout) -> None:
    weights = safetensors.numpy.save({"blocks": np.ascontiguousarray(record.blocks)})
    digest = hashlib.sha256(weights).hexdigest()
    row = row_of(record) | {"format_version": FORMAT_VERSION, "layout_id": layout.id, "sha256": digest}
    text = json.dumps(row, sort_keys=True, ensure_ascii=False, allow_nan=False)
    _add_member(tar, f"{record.concept_id}.json", text.encode())
    _add_member(tar, f"{record.concept_id}.safetensors", weights)


def _add_member(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # time, user and group stay 0 and empty
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _records(path: PathLike, layout: WeightLayout, num_records: int) -> Iterator[WeightRecord]:
    try:
        limit = layout.num_blocks * layout.block_size * BLOCK_DTYPE.itemsize + _MAX_JSON_BYTES
        with tarfile.open(path, "r|") as tar:
            tar.next()  # the shard's own metadata
            for _ in range(num_records):
                text = _read_member(tar, tar.next(), ".json", _MAX_JSON_BYTES)
                weights = _read_member(tar, tar.next(), ".safetensors", limit)
                yield _record(text, weights, layout)
    except (tarfile.TarError, safetensors.SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        raise _corrupt(path, error) from None


def _read_member(tar: tarfile.TarFile, member: tarfile.TarInfo | None, suffix: str, limit: int) -> bytes:
    """Read a plain member of a known kind and size; its name is never used as a path."""
    if member is None:
        raise ValueError("records are missing")
    if not member.isreg() or not member.name.endswith(suffix) or "/" in member.name or member.size > limit:
        raise ValueError(f"unexpected member {member.name!r}")
    stream = tar.extractfile(member)
    data = stream.read() if stream else b""
    if len(data) != member.size:
        raise ValueError(f"{member.name} ends early")
    return data


def _record(text: bytes, weights: bytes, layout: WeightLayout) -> WeightRecord:
    row = json.loads(text)
    version, layout_id, digest = (row.pop(key) for key in _EXTRA_KEYS)
    if version != FORMAT_VERSION or layout_id != layout.id:
        raise ValueError(f"{row['concept_id']} is of another format version or layout than its shard")
    if hashlib.sha256(weights).hexdigest() != digest:
        raise ValueError(f"the weights of {row['concept_id']} do not match their sha256")
    blocks = safetensors.numpy.load(weights)["blocks"]
    shape = (layout.num_blocks, layout.block_size)
    return record_of(row, blocks.astype(BLOCK_DTYPE, copy=False).reshape(shape))


def _corrupt(path: PathLike, error: Exception) -> WeightzooError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return WeightzooError(f"shard {path} is truncated or corrupt ({reason}); download or build it again")
