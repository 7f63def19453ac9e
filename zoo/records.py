"""One trained GAN of the zoo as a row: who it is, its weights as blocks, and how good it is.

:class:`WeightRecord` is what every storage format writes and reads; :func:`arrow_schema` is its Parquet form
and :func:`record_metadata` the metadata by which a shard describes itself (see `docs/FORMAT.md`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from zoo.errors import WeightzooError
from zoo.layout import WeightLayout

FORMAT_VERSION = 1
METRICS = ("l1", "l1_copy", "psnr", "kid")
BLOCK_DTYPE = np.dtype("<f2")
PREFIX = "weightzoo."
RECORDS_KEY = f"{PREFIX}records"  # added by every format: how many records the shard holds


@dataclass(frozen=True, eq=False)
class WeightRecord:
    """One trained GAN.

    Attributes:
        concept_id, prompt, paraphrases, attributes, split: the concept, as in `concepts.jsonl`.
        seed: the seed of its initialisation and batch order.
        step: training steps taken.
        attempt: 1, or 2 when it was trained again at half the learning rate.
        blocks: float16 [num_blocks, block_size].
        metrics: `l1`, `l1_copy`, `psnr` (dB), `kid` on held-out photographs, of the float16 weights.
    """

    concept_id: str
    prompt: str
    paraphrases: tuple[str, ...]
    attributes: dict[str, Any]
    split: str
    seed: int
    step: int
    attempt: int
    blocks: np.ndarray
    metrics: dict[str, float]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, WeightRecord):
            return NotImplemented
        names = [item.name for item in fields(self) if item.name != "blocks"]
        same = all(getattr(self, name) == getattr(other, name) for name in names)
        return same and _bits(self.blocks) == _bits(other.blocks)

    __hash__ = None  # type: ignore[assignment]


def _bits(blocks: np.ndarray) -> tuple[Any, ...]:
    return blocks.shape, blocks.dtype, blocks.tobytes()


def check_record(record: WeightRecord, layout: WeightLayout) -> None:
    """Raise `WeightzooError` unless `record` fits `layout` and is finite."""
    shape = (layout.num_blocks, layout.block_size)
    if record.blocks.dtype != BLOCK_DTYPE or record.blocks.shape != shape:
        raise WeightzooError(
            f"record {record.concept_id!r} has blocks {record.blocks.dtype} {record.blocks.shape}, "
            f"layout {layout.id} needs float16 {shape}; use the layout that the weights were made with"
        )
    if not np.isfinite(record.blocks).all():
        raise WeightzooError(f"record {record.concept_id!r} has NaN or infinite weights; train it again")
    if set(record.metrics) != set(METRICS):
        raise WeightzooError(
            f"record {record.concept_id!r} has metrics {sorted(record.metrics)}; give {', '.join(METRICS)}"
        )


def row_of(record: WeightRecord) -> dict[str, Any]:
    """Return every field but the blocks as JSON-able values.

    `attributes` is JSON text: they differ from record to record, and readers such as `datasets` want one type.
    """
    row = {item.name: getattr(record, item.name) for item in fields(record) if item.name != "blocks"}
    metrics = {key: record.metrics[key] for key in METRICS}
    attributes = json.dumps(record.attributes, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return row | {"attributes": attributes, "paraphrases": list(record.paraphrases), "metrics": metrics}


def record_of(row: Mapping[str, Any], blocks: np.ndarray) -> WeightRecord:
    """Build the record of a row of :func:`row_of`. Raises `ValueError`, `TypeError` or `KeyError` for another row."""
    own = {"attributes": json.loads(row["attributes"]), "paraphrases": tuple(row["paraphrases"])}
    values = dict(row) | own
    return WeightRecord(**values, blocks=blocks)


def arrow_schema(layout: WeightLayout, metadata: Mapping[str, str] | None = None) -> pa.Schema:
    """Return the Parquet columns of a record for `layout`."""
    num_bytes = layout.num_blocks * layout.block_size * BLOCK_DTYPE.itemsize
    columns = [
        pa.field("concept_id", pa.string(), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("paraphrases", pa.list_(pa.string()), nullable=False),
        pa.field("attributes", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("step", pa.int32(), nullable=False),
        pa.field("attempt", pa.int32(), nullable=False),
        pa.field("blocks", pa.binary(num_bytes), nullable=False),
        pa.field("metrics", pa.struct([(name, pa.float64()) for name in METRICS]), nullable=False),
    ]
    return pa.schema(columns, metadata=dict(metadata) if metadata else None)


def record_metadata(
    layout: WeightLayout, base_sha256: str, teacher: str, licence: str, gan: str, feature_network: str, **more: str
) -> dict[str, str]:
    """Return the metadata by which a shard describes itself: `weightzoo.*` keys, string values."""
    values = {
        "format_version": str(FORMAT_VERSION),
        "layout_id": layout.id,
        "layout": json.dumps(layout.to_json(), sort_keys=True, separators=(",", ":")),
        "base_sha256": base_sha256,
        "gan": gan,
        "teacher": teacher,
        "licence": licence,
        "feature_network": feature_network,
        "blocks": f"little-endian float16 [{layout.num_blocks}, {layout.block_size}]",
        **more,
    }
    return {PREFIX + key: value for key, value in values.items()}


def layout_from_metadata(metadata: Mapping[str, str], where: str) -> WeightLayout:
    """Check the format version of a shard's metadata and return the layout that it carries.

    Raises:
        WeightzooError: not a weightzoo shard, another format version, no layout that a record can have, or one that
            contradicts its id.
    """
    version = metadata.get(f"{PREFIX}format_version")
    if version is None:
        raise WeightzooError(f"{where} is not a weightzoo shard (no format version); give another file")
    check_format_version(version, where)
    try:
        layout = _layout_of(metadata[f"{PREFIX}layout"])
    except WeightzooError as error:
        raise WeightzooError(f"{where} carries no readable layout: {error}") from None
    except (KeyError, ValueError, RecursionError) as error:
        raise WeightzooError(f"{where} carries no readable layout ({error!r}); fetch or build it again") from None
    if layout.id != metadata.get(f"{PREFIX}layout_id"):
        raise WeightzooError(f"{where}: layout and layout_id disagree; download or build it again")
    return layout


@lru_cache(maxsize=2)  # the shards of a zoo carry the same text; few are kept, for a stranger's may be large
def _layout_of(text: str) -> WeightLayout:
    return WeightLayout.from_json(json.loads(text))


def check_format_version(version: str | int, where: str) -> None:
    """Raise `WeightzooError` unless this package reads format `version`."""
    if str(version) == str(FORMAT_VERSION):
        return
    known = str(version).isdigit()
    fix = f"install weightzoo {version}.x, which reads it" if known else "download or build it again"
    ours = FORMAT_VERSION
    raise WeightzooError(f"{where} has format version {version}, this weightzoo reads {ours}; {fix}")
