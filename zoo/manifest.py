"""The manifest of a zoo: every file with its hash, and what all shards have in common.

`manifest.json` is written last: a run folder that has one is complete. :func:`verify_run` checks a folder
against it.
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
from zoo.words import plural

MANIFEST_FILE = "manifest.json"
BASE_FILE = "base/generator.safetensors"
COMMON_KEYS = ("layout_id", "base_sha256", "gan", "teacher", "licence", "feature_network")
MAX_ABSOLUTE_WEIGHT = 100.0
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
    if not name.isprintable() or set(name) & set("\\:"):
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


def verify_run(run_dir: PathLike) -> list[str]:
    """Return every problem of a run folder (hashes, layout, base, finiteness, counts); empty when sound."""
    run_dir = Path(run_dir)
    try:
        manifest = load_manifest(run_dir)
    except WeightzooError as error:
        return [str(error)]
    problems, sizes = own_problems(manifest), manifest.all_sizes()
    for name, expected in sorted(manifest.files.items()):
        problems += _file_problem(run_dir / name, name, expected, sizes.get(name))
    seen: Counter[str] = Counter()
    for entry in manifest.shards:
        found = _file_problem(run_dir / entry.name, entry.name, entry.sha256, entry.bytes)
        problems += found or verify_shard(run_dir / entry.name, manifest, entry.records, seen)
    listed = {entry.name for entry in manifest.shards}
    unlisted = [str(p.relative_to(run_dir)) for p in shard_paths(run_dir)]
    extra = [name for name in unlisted if name not in listed]
    problems += [f"{name} is not in the manifest; delete it or build again" for name in extra]
    problems += [f"concept {name!r} is stored {count} times" for name, count in seen.items() if count > 1]
    return problems


def own_problems(manifest: ZooManifest) -> list[str]:
    """Return where a manifest contradicts itself; no file is read."""
    problems, counts = [], manifest.counts
    if manifest.shards and manifest.files.get(BASE_FILE) != manifest.base_sha256:
        problems.append(f"{BASE_FILE} is not the base of the records (base_sha256); do not use this zoo")
    if manifest.shards and manifest.statistics not in manifest.files:
        problems.append(f"{manifest.statistics} is not in the manifest's files; do not use this zoo")
    if counts.get("concepts", 0) != sum(counts.get(key, 0) for key in ("ok", "rejected", "failed")):
        problems.append("the manifest's counts do not add up; build again")
    return problems


def verify_shard(
    path: PathLike,
    manifest: ZooManifest | None = None,
    num_records: int | None = None,
    seen: Counter[str] | None = None,
) -> list[str]:
    """Return the problems of one shard; with a `manifest` also where it disagrees with it."""
    problems = []
    ids: list[str] = []
    try:
        records, metadata, layout = read_shard(path)
        for key in COMMON_KEYS if manifest else ():
            own, expected = metadata.get(PREFIX + key), getattr(manifest, key)
            if own != expected:
                problems.append(f"{path}: {key} is {own}, the manifest says {expected}; download it again")
        for record in records:
            check_record(record, layout)
            if float(np.abs(record.blocks).max(initial=0)) > MAX_ABSOLUTE_WEIGHT:
                limit = f"+-{MAX_ABSOLUTE_WEIGHT:g}"
                problems.append(f"{path}: {record.concept_id} has a weight beyond {limit}; do not use it")
            problems += _metric_problem(path, record)
            ids.append(record.concept_id)
    except WeightzooError as error:
        return problems + [str(error) if str(path) in str(error) else f"{path}: {error}"]
    if num_records is not None and len(ids) != num_records:
        problems.append(f"{path} holds {plural(len(ids), 'record')}, the manifest says {num_records}")
    if seen is not None:
        seen.update(ids)
    return problems


def _metric_problem(path: PathLike, record: WeightRecord) -> list[str]:
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
        if problem := _metric_problem(path, record):
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


def _file_problem(path: Path, name: str, expected: str, size: int | None) -> list[str]:
    again = "download it again or build again"
    if not path.is_file():
        return [f"{name} is missing; {again}"]
    if size not in (None, path.stat().st_size):
        return [f"{name} is corrupt (its size is not the manifest's {size} bytes); {again}"]
    if sha256_file(path) != expected:
        return [f"{name} is corrupt (its sha256 differs from the manifest's); {again}"]
    return []
