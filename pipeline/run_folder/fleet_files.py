"""What a fleet leaves behind: the rows of what went wrong, then its shard.

The shard comes last: its existence says that the fleet is done, rows included.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.fleets.shared import make_teacher
from pipeline.run_folder.private_paths import read_config, without_places
from pipeline.run_folder.shard_plan import FleetTask
from zoo.concepts import Concept
from zoo.files import finite, sha256_file, write_text
from zoo.layout import WeightLayout
from zoo.records import WeightRecord, record_metadata
from zoo.shards import FORMATS


@dataclass(frozen=True)
class FleetSummary:
    """What the driver hears of a finished fleet; `seconds` by stage."""

    ok: int
    rejected: int
    failed: int
    l1: tuple[float, ...]
    seconds: dict[str, float]


def write_fleet(task: FleetTask, records: Sequence[WeightRecord], rows: Sequence[dict[str, Any]]) -> FleetSummary:
    """Write `rejected/<shard>.jsonl` if there are rows, then the shard.

    Raises:
        WeightzooError: a file cannot be written, or the run folder is damaged.
    """
    folder = Path(task.run_dir)
    config = read_config(folder)
    if rows:
        lines = [json.dumps(item, sort_keys=True, ensure_ascii=False, allow_nan=False) for item in rows]
        write_text(task.rejected_path, "\n".join(lines) + "\n")
    else:
        task.rejected_path.unlink(missing_ok=True)
    layout = WeightLayout.load(folder / "layout.json")
    teacher = make_teacher(config.teacher, config.teacher_options)
    metadata = record_metadata(
        layout,
        sha256_file(folder / "base" / "generator.safetensors"),
        teacher.name,
        teacher.licence,
        config.gan,
        config.feature_network,
        split=task.split,
    )
    FORMATS[config.shard_format].write_shard(task.shard_path, records, layout, metadata)
    status = [item["status"] for item in rows]
    own = tuple(record.metrics["l1"] for record in records)
    return FleetSummary(len(records), status.count("rejected"), status.count("failed"), own, {})


def record_failure(task: FleetTask, reason: str) -> FleetSummary:
    """Write a fleet that cannot be trained: an empty shard, and every concept as a row with the reason."""
    return write_fleet(task, [], [row(concept, "failed", reason) for concept in task.concepts])


def row(
    concept: Concept, status: str, reason: str, metrics: dict[str, float] | None = None, attempt: int | None = None
) -> dict[str, Any]:
    """Return the row of a concept that has no record; `status` is `rejected` or `failed`."""
    return {
        "concept_id": concept.id,
        "prompt": concept.prompt,
        "split": concept.split,
        "status": status,
        "reason": without_places(reason),
        "strength": concept.attributes.get("strength", 1.0),
        "attempt": attempt,
        "metrics": finite(metrics or {}),
    }
