"""Verifying a zoo: a run folder against its manifest, or a shard by itself.

    problems = verify_run("runs/small")              # one line each; empty when sound
    problems = verify_shard("runs/small/weights/train-00000-of-00066.parquet")
"""

from collections import Counter
from pathlib import Path

import numpy as np

from zoo.errors import WeightzooError
from zoo.files import PathLike, sha256_file
from zoo.manifest import BASE_FILE, COMMON_KEYS, ZooManifest, load_manifest, metric_problem, shard_paths
from zoo.records import PREFIX, check_record
from zoo.shards import read_shard
from zoo.words import plural

MAX_ABSOLUTE_WEIGHT = 100.0


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
            problems += metric_problem(path, record)
            ids.append(record.concept_id)
    except WeightzooError as error:
        return problems + [str(error) if str(path) in str(error) else f"{path}: {error}"]
    if num_records is not None and len(ids) != num_records:
        problems.append(f"{path} holds {plural(len(ids), 'record')}, the manifest says {num_records}")
    if seen is not None:
        seen.update(ids)
    return problems


def _file_problem(path: Path, name: str, expected: str, size: int | None) -> list[str]:
    again = "download it again or build again"
    if not path.is_file():
        return [f"{name} is missing; {again}"]
    if size not in (None, path.stat().st_size):
        return [f"{name} is corrupt (its size is not the manifest's {size} bytes); {again}"]
    if sha256_file(path) != expected:
        return [f"{name} is corrupt (its sha256 differs from the manifest's); {again}"]
    return []
