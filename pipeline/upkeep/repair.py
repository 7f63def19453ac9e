"""Repairing a run folder: what fails verification is deleted and made again, what is sound stays as it is.

manifest = repair("runs/small")          # on the machine that built it: the same bytes as before
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.build import complete, log_event
from pipeline.fleets.shared import PHOTOGRAPHS_FILE, make_teacher
from pipeline.run_folder.freeze import refuse_part
from pipeline.run_folder.object_store import local_copy
from pipeline.run_folder.pair_shards import check_sources, read_targets, sources_path, targets_path
from pipeline.run_folder.private_paths import read_config
from pipeline.run_folder.shard_plan import GENERATIONS_FILE, FleetTask, plan_run
from zoo.errors import WeightzooError
from zoo.files import PathLike, remove_stale_temporaries, sha256_file
from zoo.manifest import MANIFEST_FILE, ZooManifest, load_manifest, read_rejected_file
from zoo.shards import read_shard
from zoo.statistics import STATISTICS_FILE
from zoo.verify import verify_shard

FROZEN = (
    "base/discriminator.safetensors",
    "base/generator.safetensors",
    "concepts.jsonl",
    "config.json",
    "layout.json",
    GENERATIONS_FILE,
    PHOTOGRAPHS_FILE,
)


def repair(run_dir: PathLike, **options: Any) -> ZooManifest:
    """Delete every shard that fails verification and build what is missing then.

    Args:
        options: of :func:`pipeline.build.complete`.

    Raises:
        WeightzooError: a frozen file is damaged, which no build can make again; or fleets failed.
    """
    with local_copy(run_dir) as (folder, store):
        remove_damaged(folder)
        return complete(folder, store, **options)


def remove_damaged(run_dir: Path) -> None:
    """Delete what fails verification and can be made again.

    Raises:
        WeightzooError: a frozen file is damaged, or the folder is a downloaded part of a zoo.
    """
    refuse_part(run_dir)
    remove_stale_temporaries(run_dir)
    manifest = load_manifest(run_dir) if (run_dir / MANIFEST_FILE).exists() else None
    expected = manifest.hashes() if manifest else {}
    for name in FROZEN:
        if name in expected and not _is_intact(run_dir, name, expected):
            raise WeightzooError(
                f"{run_dir / name} is damaged and decides all shards; restore it from a copy or download the zoo"
            )
    tasks = plan_run(run_dir)
    damaged = {task.stem: (task, problem) for task in tasks if (problem := fleet_problem(task, expected))}
    pairs = _damaged_pairs(run_dir, tasks)
    if damaged or pairs or (manifest and not _is_intact(run_dir, STATISTICS_FILE, expected)):
        (run_dir / MANIFEST_FILE).unlink(missing_ok=True)
    for task, problem in damaged.values():
        log_event(run_dir, {"event": "repair", "fleet": task.stem, "problem": problem})
        task.shard_path.unlink(missing_ok=True)  # first: without it the fleet is not done
        task.rejected_path.unlink(missing_ok=True)
    for path, problem in pairs.items():
        log_event(run_dir, {"event": "repair", "pairs": path.name, "problem": problem})
        path.unlink(missing_ok=True)


def fleet_problem(task: FleetTask, expected: dict[str, str]) -> str | None:
    """Return what is wrong with the files of a finished fleet; `None` when sound or not yet made.

    Args:
        expected: sha256 by name, from the manifest; what it does not list is read through instead.
    """
    if not task.shard_path.exists():
        return None
    run_dir = Path(task.run_dir)
    for path in (task.shard_path, task.rejected_path):
        name = path.relative_to(run_dir).as_posix()
        if name in expected and not _is_intact(run_dir, name, expected):
            return f"{name} differs from the manifest"
    if task.shard_path.relative_to(run_dir).as_posix() not in expected:
        if problems := verify_shard(task.shard_path):
            return problems[0]
    try:
        ids = [record.concept_id for record in read_shard(task.shard_path)[0]]
        ids += [row["concept_id"] for row in read_rejected_file(task.rejected_path)]
    except WeightzooError as error:
        return str(error)
    planned = sorted(concept.id for concept in task.concepts)
    return None if sorted(ids) == planned else "not every concept has one outcome"


def _damaged_pairs(run_dir: Path, tasks: list[FleetTask]) -> dict[Path, str]:
    """Return what is wrong with the stored pairs, by file; absent ones too, unless the zoo has no pairs at all."""
    config = read_config(run_dir)
    if not (run_dir / "pairs").is_dir() or not make_teacher(config.teacher, config.teacher_options).expensive:
        return {}
    problems: dict[Path, str] = {}
    counts = (config.num_train_crops, config.num_test_crops)
    checks: dict[Path, Callable[[], Any]] = {sources_path(run_dir): partial(check_sources, run_dir, counts)}
    checks |= {targets_path(task): partial(read_targets, task) for task in tasks}
    for path, check in checks.items():
        try:
            check()
        except WeightzooError as error:
            problems[path] = str(error)
    return problems


def _is_intact(run_dir: Path, name: str, expected: dict[str, str]) -> bool:
    return (run_dir / name).exists() and sha256_file(run_dir / name) == expected.get(name)
