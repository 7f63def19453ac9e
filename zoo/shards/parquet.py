"""Weight shards as Parquet: one row per record, `blocks` as fixed-size binary, the layout in the metadata.

Uncompressed, page checksums on, content-defined chunking (a re-upload after an append sends little)::

    rows = pyarrow.parquet.read_table("train-00000-of-00042.parquet").to_pylist()
    blocks = numpy.frombuffer(rows[0]["blocks"], "<f2").reshape(-1, 256)
"""

import os
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from zoo.errors import WeightzooError
from zoo.files import PathLike, atomic_path
from zoo.layout import WeightLayout
from zoo.records import (
    BLOCK_DTYPE,
    PREFIX,
    RECORDS_KEY,
    WeightRecord,
    arrow_schema,
    check_record,
    layout_from_metadata,
    record_of,
    row_of,
)
from zoo.shards.guard import MAX_METADATA_BYTES, check_texts, corrupt, record_bytes
from zoo.words import plural

SUFFIX = ".parquet"
_BATCH_ROWS = 16  # many shards are read side by side when training streams
_READ_BYTES = 1 << 20
_MAX_TEXTS = 16 << 20  # bytes of one column of texts in a row group; a dictionary can repeat them in every row
_MAX_CONTAINER = 100_000  # entries of one list in the footer


def write_shard(
    path: PathLike, records: Sequence[WeightRecord], layout: WeightLayout, metadata: Mapping[str, str]
) -> None:
    """Write one shard, atomically; equal records give equal bytes."""
    for record in records:
        check_record(record, layout)
    schema = arrow_schema(layout, dict(metadata) | {RECORDS_KEY: str(len(records))})
    rows = [row_of(record) | {"blocks": np.ascontiguousarray(record.blocks).tobytes()} for record in records]
    table = pa.Table.from_pylist(rows, schema)
    with atomic_path(path) as temporary:
        pq.write_table(
            table,
            temporary,
            compression="none",
            use_dictionary=False,
            write_page_checksum=True,
            use_content_defined_chunking=True,
        )


def read_shard(path: PathLike) -> tuple[Iterator[WeightRecord], dict[str, str], WeightLayout]:
    """Open one shard: its records (lazily), its metadata, its layout.

    Raises:
        WeightzooError: absent, truncated, corrupt, of another format version, or not a weight shard.
    """
    try:
        file = pq.ParquetFile(
            path,
            page_checksum_verification=True,
            buffer_size=_READ_BYTES,  # else a whole column of a row group is read at once
            thrift_string_size_limit=MAX_METADATA_BYTES,
            thrift_container_size_limit=_MAX_CONTAINER,
        )
        schema = file.schema_arrow
        raw = schema.metadata or {}
        ours = {key: value for key, value in raw.items() if key.startswith(PREFIX.encode())}
        metadata = {key.decode(): value.decode() for key, value in ours.items()}
    except FileNotFoundError:
        raise WeightzooError(f"shard {path} does not exist; check the path") from None
    except pa.ArrowMemoryError:
        raise
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise corrupt(path, error) from None
    layout = layout_from_metadata(metadata, str(path))
    if not schema.equals(arrow_schema(layout), check_metadata=False):
        raise WeightzooError(f"{path}: columns differ from what its layout needs; download or build it again")
    try:
        if metadata.get(RECORDS_KEY) != str(file.metadata.num_rows):
            raise ValueError("records are missing")
        _check_sizes(file.metadata, os.path.getsize(path), record_bytes(layout))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise corrupt(path, error) from None
    return _records(file, path, layout), metadata, layout


def _check_sizes(metadata: pq.FileMetaData, file_bytes: int, record: int) -> None:
    """Raise `ValueError` for sizes in the metadata that the file cannot have. Nothing is read for it."""
    if metadata.num_rows * record > file_bytes:
        raise ValueError(f"{plural(metadata.num_rows, 'record')} do not fit into {file_bytes} bytes")
    for i in range(metadata.num_row_groups):
        for j in range(metadata.num_columns):
            chunk = metadata.row_group(i).column(j)
            sizes = (chunk.total_compressed_size, chunk.total_uncompressed_size)
            if chunk.compression != "UNCOMPRESSED" or not all(0 <= size <= file_bytes for size in sizes):
                raise ValueError(f"a column of {max(sizes)} bytes in {file_bytes} bytes, or a compressed one")
            if chunk.path_in_schema != "blocks" and max(sizes) > _MAX_TEXTS:
                raise ValueError(f"the texts of {chunk.path_in_schema} are larger than {_MAX_TEXTS >> 20} MiB")


def _records(file: pq.ParquetFile, path: PathLike, layout: WeightLayout) -> Iterator[WeightRecord]:
    try:
        # one column has nearly all of the bytes: threads would cost more than they bring
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, use_threads=False):
            rows = batch.drop_columns(["blocks"]).to_pylist()
            for row, blocks in zip(rows, _blocks(batch, layout), strict=True):
                yield check_texts(record_of(row, blocks))
    except pa.ArrowMemoryError:
        raise
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise corrupt(path, error) from None
    finally:
        file.close()


def _blocks(batch: pa.RecordBatch, layout: WeightLayout) -> np.ndarray:
    """Return the weights of a batch, [rows, num_blocks, block_size], without a copy; the column has no nulls."""
    column = batch.column("blocks")
    _, values = column.buffers()
    shape = (len(column), layout.num_blocks, layout.block_size)
    return np.ndarray(shape, BLOCK_DTYPE, values, column.offset * record_bytes(layout))
