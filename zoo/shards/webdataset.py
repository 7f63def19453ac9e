"""Weight shards as WebDataset: a tar with `<concept_id>.json` and `.safetensors` for every record.

The first member, `__weightzoo__`, is the shard's own metadata as JSON; plain `webdataset` and
`datasets` skip members of such names. Each record's JSON carries the sha256 of the safetensors beside it.
:data:`DECODERS` is all that is ever decoded: a member of another kind, size or order makes the shard invalid.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

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
from zoo.shards.guard import MAX_METADATA_BYTES, MAX_TEXT_BYTES, check_texts, corrupt, record_bytes
from zoo.shards.tar_members import Member, tar_members

SUFFIX = ".tar"
METADATA_MEMBER = "__weightzoo__"
_MAX_HEADER_BYTES = 1 << 16  # of a safetensors file with one tensor
_EXTRA_KEYS = ("format_version", "layout_id", "sha256")
# whatever the decoders raise for content that is not what it should be
_ERRORS = (
    tarfile.TarError,
    safetensors.SafetensorError,
    OSError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    RecursionError,
)


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
        with open(path, "rb") as file:
            metadata = _decode(file, next(tar_members(file), None), METADATA_MEMBER, MAX_METADATA_BYTES)
        if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
            raise ValueError("its metadata are no texts")
        num_records = int(metadata[RECORDS_KEY])
    except FileNotFoundError:
        raise WeightzooError(f"shard {path} does not exist; check the path") from None
    except _ERRORS as error:
        raise corrupt(path, error) from None
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
        largest = record_bytes(layout) + _MAX_HEADER_BYTES
        with open(path, "rb") as file:
            members = tar_members(file)
            next(members)  # the shard's own metadata
            for _ in range(num_records):
                row = _decode(file, next(members, None), ".json", MAX_TEXT_BYTES)
                digest, tensors = _decode(file, next(members, None), ".safetensors", largest)
                yield _record(row, digest, tensors, layout)
            if next(members, None) is not None:
                raise ValueError("there are more members than its metadata say")
    except _ERRORS as error:
        raise corrupt(path, error) from None


def _decode(file: BinaryIO, member: Member | None, suffix: str, largest: int) -> Any:
    """Decode a member of a known kind and size; its name is never used as a path."""
    if member is None:
        raise ValueError("records are missing")
    if not member.name.endswith(suffix) or member.size > largest:
        raise ValueError(f"unexpected member {member.name!r} of {member.size} bytes")
    file.seek(member.start)
    return DECODERS[suffix](file.read(member.size))


def _tensors(data: bytes) -> tuple[str, dict[str, np.ndarray]]:
    """Return the sha256 of a safetensors file and its tensors."""
    return hashlib.sha256(data).hexdigest(), safetensors.numpy.load(data)


# suffix -> decoder: everything that this reader decodes
DECODERS: dict[str, Callable[[bytes], Any]] = {
    METADATA_MEMBER: json.loads,
    ".json": json.loads,
    ".safetensors": _tensors,
}


def _record(row: dict[str, Any], digest: str, tensors: Mapping[str, np.ndarray], layout: WeightLayout) -> WeightRecord:
    version, layout_id, expected = (row.pop(key) for key in _EXTRA_KEYS)
    if version != FORMAT_VERSION or layout_id != layout.id:
        raise ValueError(f"{row['concept_id']} is of another format version or layout than its shard")
    if digest != expected:
        raise ValueError(f"the weights of {row['concept_id']} do not match their sha256")
    blocks = tensors["blocks"]
    if blocks.dtype != BLOCK_DTYPE or len(tensors) != 1:
        raise ValueError(f"the weights of {row['concept_id']} are {blocks.dtype}, not one float16 tensor")
    return check_texts(record_of(row, blocks.reshape(layout.num_blocks, layout.block_size)))
