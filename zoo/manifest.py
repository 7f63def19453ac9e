"""The manifest of a zoo: every file with its hash, and what all shards have in common.

`manifest.json` is written last: a run folder that has one is complete. `zoo.verify` checks a folder against it.
"""

import json
import math
from collections import Counter
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from zoo.concepts import SPLITS, Concept, read_concepts
from zoo.config import from_dict, save_config
from zoo.errors import WeightzooError
from zoo.files import PathLike, json_lines, read_json, read_json_object, sha256_file
from zoo.records import FORMAT_VERSION, METRICS, PREFIX, WeightRecord, check_format_version, check_record
from zoo.shards import FORMATS, read_shard

MANIFEST_FILE = "manifest.json"
BASE_FILE = "base/generator.safetensors"
COMMON_KEYS = ("layout_id", "base_sha256", "gan", "teacher", "licence", "feature_network")
PLACES_FILE = "places.json"  # of the machine that built a zoo; says whose programs may be run
MAX_MANIFEST_BYTES = 1 << 26  # the Hub's 100,000 files of a repository take half of it


@dataclass(frozen=True)
class ShardEntry:
    """One shard: its path relative to the run folder, split, sha256, size and number of records."""

    name: str
    split: str
    sha256: str
    bytes: int
    records: int


@dataclass(frozen=True)
class ZooManifest:
    """What a complete zoo consists of.

    Attributes:
        name: the zoo's name, from its config.
        shards: the weight shards in name order.
        files: sha256 of every other file, by its path relative to the run folder.
        sizes: bytes of these files (absent in the first zoos).
        counts: `concepts`, `ok`, `rejected`, `failed`, and `ok/<split>` for each split.
        quality: the median of each metric over all records.
        subset: empty for a whole zoo; of a part of a published one `repo`, `revision` (commit), `shards`
            (here of how many) and the `manifest_sha256` of the whole.
    """

    format_version: int
    name: str
    layout_id: str
    base_sha256: str
    gan: str
    teacher: str
    licence: str
    feature_network: str
    statistics: str
    counts: dict[str, int]
    shards: tuple[ShardEntry, ...]
    quality: dict[str, float] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    subset: dict[str, str] = field(default_factory=dict)

    @property
    def shard_bytes(self) -> int:
        """The size of all shards."""
        return sum(entry.bytes for entry in self.shards)

    def hashes(self) -> dict[str, str]:
        """Return the sha256 of every file and shard by name."""
        return self.files | {entry.name: entry.sha256 for entry in self.shards}

    def all_sizes(self) -> dict[str, int]:
        """Return the size in bytes of every file and shard by name, where the manifest has it."""
        return self.sizes | {entry.name: entry.bytes for entry in self.shards}


def write_manifest(run_dir: PathLike, manifest: ZooManifest) -> None:
    """Write `manifest.json`, the last file of a zoo: a folder that has one is complete."""
    save_config(Path(run_dir) / MANIFEST_FILE, manifest)


def collect_manifest(run_dir: PathLike) -> ZooManifest:
    """Hash a run folder and check that no concept is lost; nothing is written.

    Raises:
        WeightzooError: shards that disagree, or `concepts != ok + rejected + failed`.
    """
    run_dir = Path(run_dir)
    concepts = read_concepts(run_dir / "concepts.jsonl")
    entries: list[ShardEntry] = []
    stored: dict[str, list[dict[str, float]]] = {}
    common: dict[str, str] | None = None
    for path in shard_paths(run_dir):
        entry, metadata, metrics = _shard_entry(run_dir, path)
        shared = {key: metadata.get(PREFIX + key, "") for key in COMMON_KEYS}
        if common not in (None, shared):
            raise WeightzooError(f"{path} differs from the other shards in layout, base or teacher; rebuild it")
        common = shared
        entries.append(entry)
        for name, values in metrics:
            stored.setdefault(name, []).append(values)
    if common is None:
        raise WeightzooError(f"{run_dir} has no weight shard; run `weightzoo build` first")
    others = _other_files(run_dir)
    return ZooManifest(
        format_version=FORMAT_VERSION,
        name=str(read_json_object(run_dir / "config.json").get("name", run_dir.name)),
        statistics="statistics.safetensors",
        counts=_counts(concepts, {k: len(rows) for k, rows in stored.items()}, read_rejected(run_dir)),
        shards=tuple(entries),
        files={name: sha256_file(run_dir / name) for name in others},
        sizes={name: (run_dir / name).stat().st_size for name in others},
        quality=_quality([rows[0] for rows in stored.values()]),
        subset={},
        **common,
    )


def load_manifest(run_dir: PathLike) -> ZooManifest:
    """Read `manifest.json`.

    Raises:
        WeightzooError: absent (the run is unfinished), invalid, of another format version, or naming files
            outside the folder, or splits and sizes that no shard has.
    """
    path = Path(run_dir) / MANIFEST_FILE
    if not path.exists():
        raise WeightzooError(
            f"{run_dir} has no {MANIFEST_FILE}: it is not a zoo, or not a finished one; build it again"
        )
    return read_manifest(path)


def read_manifest(path: PathLike) -> ZooManifest:
    """Read a manifest file; see :func:`load_manifest`. Keys that a later writer has added are ignored."""
    values = read_json(path, MAX_MANIFEST_BYTES)
    if isinstance(values, dict):
        if "format_version" in values:
            check_format_version(values["format_version"], str(path))
        values = {item.name: values[item.name] for item in fields(ZooManifest) if item.name in values}
    try:
        manifest = from_dict(ZooManifest, values)
    except WeightzooError as error:
        raise WeightzooError(f"{path}: {error}") from None
    if bad := [name for name in (*manifest.hashes(), manifest.statistics) if not is_plain_path(name)]:
        raise WeightzooError(
            f"{path} names the file {bad[0]!r:.200}, which is not a path inside a zoo; do not use this zoo"
        )
    for entry in manifest.shards:
        if entry.split not in SPLITS or not 0 <= entry.records <= entry.bytes < 1 << 53:
            raise WeightzooError(f"{path} says an impossible split or size of {entry.name}; do not use this zoo")
    return manifest


def is_plain_path(name: str) -> bool:
    """Return whether `name` is a relative path of plain names with `/` between them, such that it stays inside."""
    if not name.isprintable() or set(name) & set("\\:") or name.lower() == PLACES_FILE:
        return False
    return all(part and not part.startswith(".") and len(part.encode()) <= 200 for part in name.split("/"))


def shard_paths(run_dir: PathLike) -> list[Path]:
    """Return the finished weight shards of a run folder in name order."""
    suffixes = tuple(shard_format.SUFFIX for shard_format in FORMATS.values())
    folder = Path(run_dir) / "weights"
    return sorted(p for p in folder.glob("*") if p.name.endswith(suffixes) and not p.name.startswith("."))


def read_rejected(run_dir: PathLike) -> list[dict[str, Any]]:
    """Return the rows of `rejected/*.jsonl`: concept_id, status (rejected or failed), reason, ..."""
    paths = sorted((Path(run_dir) / "rejected").glob("[!.]*.jsonl"))
    return [row for path in paths for row in read_rejected_file(path)]


def read_rejected_file(path: Path) -> list[dict[str, Any]]:
    """Return the rows of one fleet's rejected concepts; none when the file is absent.

    Raises:
        WeightzooError: unreadable, or a row without id and status.
    """
    if not path.exists():
        return []
    try:
        found = [json.loads(line) for _, line in json_lines(path.read_text(encoding="utf-8"))]
        rows = [row | {key: str(row[key]) for key in ("concept_id", "status")} for row in found]
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        fix = "download it again, or delete it and its shard and build again"
        raise WeightzooError(f"cannot read {path} ({error!r}); {fix}") from None
    return rows


def metric_problem(path: PathLike, record: WeightRecord) -> list[str]:
    """Say which record of a shard has a metric that is not finite; empty if it has not."""
    finite = all(map(math.isfinite, record.metrics.values()))
    return [] if finite else [f"{path}: {record.concept_id} has a metric that is not finite; do not use it"]


def _quality(metrics: list[dict[str, float]]) -> dict[str, float]:
    """Return the median of every metric, rounded to 6 digits after the point."""
    medians = {key: np.median([row[key] for row in metrics]) for key in METRICS if metrics}
    return {key: round(float(median), 6) for key, median in medians.items()}


def _shard_entry(run_dir: Path, path: Path) -> tuple[ShardEntry, dict[str, str], list[tuple[str, dict[str, float]]]]:
    records, metadata, layout = read_shard(path)
    metrics = []
    for record in records:
        check_record(record, layout)
        if problem := metric_problem(path, record):
            raise WeightzooError(problem[0])
        metrics.append((record.concept_id, record.metrics))
    name, split = path.relative_to(run_dir).as_posix(), metadata.get(f"{PREFIX}split")
    if split is None:
        raise WeightzooError(f"{path} does not say which split it belongs to; download or build it again")
    entry = ShardEntry(name, split, sha256_file(path), path.stat().st_size, len(metrics))
    return entry, metadata, metrics


def _counts(concepts: list[Concept], stored: dict[str, int], rejected: list[dict[str, Any]]) -> dict[str, int]:
    """Count concepts by fate and require that each has exactly one."""
    fates = Counter(stored) + Counter(row["concept_id"] for row in rejected)
    wrong = [c.id for c in concepts if fates[c.id] != 1] + sorted(set(fates) - {c.id for c in concepts})
    if wrong:
        raise WeightzooError(
            f"concept {wrong[0]!r} has {fates[wrong[0]]} outcomes instead of one ({len(wrong)} such); "
            "delete the shard and the rejected file that hold it and build again"
        )
    status = Counter(row["status"] for row in rejected)
    splits = Counter(c.split for c in concepts if c.id in stored)
    counts = {"concepts": len(concepts), "ok": len(stored)}
    counts |= {key: status[key] for key in ("rejected", "failed")}
    return counts | {f"ok/{split}": count for split, count in sorted(splits.items())}


def _other_files(run_dir: Path) -> list[str]:
    """Return every file beside shards, logs, manifest and the card, which quotes the manifest; in a fixed order."""
    names = ["concepts.jsonl", "config.json", "generations.json", "layout.json", "photographs.json"]
    names.append("statistics.safetensors")
    folders = [run_dir / "base", run_dir / "rejected"]
    names += [p.relative_to(run_dir).as_posix() for folder in folders for p in folder.glob("[!.]*")]
    return sorted(name for name in names if (run_dir / name).exists())
