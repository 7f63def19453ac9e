"""Building a zoo: the stages in order, from concepts and photographs to a verified, published form.

    manifest = build("runs/small", small())          # the same call again goes on where it stopped
    manifest = extend("runs/small", more_concepts)   # a further generation; no byte of the old shards changes

freeze      config, concepts and layout of the run folder; another config is refused
plan        which concept is in which shard, decided before anything runs
pairs       what an expensive teacher renders, stored once
base        the shared base generator, trained once (or taken from another run)
fleets      one task = one fleet = one shard, for the shards that are missing
finish      statistics, data card, and the manifest last
"""

import json
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from pipeline.build_config import BuildConfig
from pipeline.cards.zoo_card import data_card
from pipeline.executors.attempts import Outcome
from pipeline.executors.local import run_local
from pipeline.executors.ray import Run, check_shared, open_executor
from pipeline.fleets.fleet import run_fleet, run_teacher
from pipeline.fleets.progress import FleetProgress
from pipeline.fleets.shared import make_teacher, source_crops
from pipeline.fleets.train_base import train_base_of
from pipeline.run_folder.fleet_files import FleetSummary, record_failure
from pipeline.run_folder.freeze import freeze, freeze_extension, one_line, refuse_part
from pipeline.run_folder.object_store import Store, Stored, local_copy
from pipeline.run_folder.pair_shards import sources_path, targets_path, write_sources
from pipeline.run_folder.private_paths import read_config
from pipeline.run_folder.shard_plan import FleetTask, missing_fleets, plan_run
from pipeline.teachers import Teacher
from zoo.adapters.lora import load_base
from zoo.concepts import Concept
from zoo.config import config_diff, to_dict
from zoo.errors import Interrupted, WeightzooError
from zoo.files import PathLike, remove_stale_temporaries, sha256_file, write_bytes, write_text
from zoo.layout import WeightLayout
from zoo.manifest import MANIFEST_FILE, ZooManifest, collect_manifest, load_manifest, shard_paths, write_manifest
from zoo.progress import say
from zoo.shards import read_shard
from zoo.statistics import STATISTICS_FILE, block_statistics, save_statistics
from zoo.words import plural

MAX_FAILED_FLEETS = 3
MAX_FAILED_SHARE = 0.01
EVENTS_FILE = "logs/events.jsonl"
Fleet = Callable[[FleetTask], FleetSummary]


def build(
    run_dir: PathLike, config: BuildConfig, concepts: Sequence[Concept] | None = None, **options: Any
) -> ZooManifest:
    """Build a zoo in `run_dir`, or go on building it.

    Args:
        run_dir: a folder, or a URI of :mod:`pipeline.run_folder.object_store`.
        concepts: what to train, in the order that decides the shards; default: the catalogue's zoo concepts.
        options: of :func:`complete`.

    Raises:
        WeightzooError: the folder is frozen with another config, or fleets failed; what is finished is kept.
    """
    with local_copy(run_dir, without=("pairs",)) as (folder, store):
        freeze(folder, config, concepts)
        return complete(folder, store, **options)


def extend(run_dir: PathLike, more: Sequence[Concept], **options: Any) -> ZooManifest:
    """Add concepts to a finished zoo: same base, same config, shards of the next generation.

    Raises:
        WeightzooError: the run is unfinished, has one of the concepts already, or fleets failed.
    """
    with local_copy(run_dir, without=("pairs",)) as (folder, store):
        freeze_extension(folder, more)
        return complete(folder, store, **options)


def complete(
    run_dir: Path,
    store: Store | None = None,
    base_from: PathLike | None = None,
    executor: str = "local",
    workers: int = 2,
    device: str = "cpu",
    fleet: Fleet = run_fleet,
    **executor_options: Any,
) -> ZooManifest:
    """Make whatever a frozen run folder lacks.

    Args:
        store: where the folder is a copy of; what is made goes there.
        base_from: a `base` folder of another run to take the base generator and discriminator from.
        executor: a key of `EXECUTORS`; `executor_options` go to it.
        fleet: what trains and writes one fleet; tests and benchmarks have a faster one.
    """
    refuse_part(run_dir)
    tasks = plan_run(run_dir, device)
    missing = missing_fleets(tasks)
    if not missing and (run_dir / MANIFEST_FILE).exists():
        return load_manifest(run_dir)
    keep, where = (store.push, store.uri) if store else (lambda folder: None, str(run_dir))
    keep(run_dir)
    try:
        with open_executor(executor, workers, **executor_options) as run:
            if executor == "ray":
                check_shared(where, executor_options.get("address", "local"), workers)
            make_pairs(run_dir, store, tasks, run, actors=executor == "ray")
            # trained where it can be kept: a worker elsewhere does not see a copy
            make_base(run_dir, base_from, run if executor == "ray" and not store else None, device)
            keep(run_dir)
            run_fleets(run_dir, tasks, missing, run, Stored(store.uri, fleet) if store else fleet, where)
    except KeyboardInterrupt:
        present = _names(run_dir, store, "weights")
        done = sum(_name(run_dir, task.shard_path) in present for task in tasks)
        raise Interrupted(
            f"interrupted; {done} of {plural(len(tasks), 'fleet')} finished and kept in {where}; "
            "run the same command again to continue"
        ) from None
    finally:
        if store and (run_dir / EVENTS_FILE).exists():
            with suppress(WeightzooError):  # what stopped the build is what is to be heard
                store.push_file(run_dir / EVENTS_FILE, EVENTS_FILE)
    del tasks, missing  # what describes the whole zoo needs the memory for its own view of the concepts
    if store:
        store.pull(run_dir, without=("pairs",))
    manifest = finish(run_dir)
    keep(run_dir)
    return manifest


def make_pairs(run_dir: Path, store: Store | None, tasks: Sequence[FleetTask], run: Run, actors: bool = False) -> None:
    """Let an expensive teacher render the targets that are missing, beside the sources; nothing for the others.

    Args:
        actors: whether long-lived processes of a cluster hold the teacher; a local worker is one anyway.

    Raises:
        WeightzooError: they could not be rendered.
    """
    config = read_config(run_dir)
    teacher: Teacher = make_teacher(config.teacher, config.teacher_options)
    if not teacher.expensive:
        return
    present, sources = _names(run_dir, store, "pairs"), sources_path(run_dir)
    if _name(run_dir, sources) not in present:
        write_sources(run_dir, *source_crops(config))
        if store:
            store.push_file(sources, _name(run_dir, sources))
    missing = [task for task in tasks if _name(run_dir, targets_path(task)) not in present]
    if not missing:
        return
    work = Stored(store.uri, run_teacher) if store else run_teacher
    options = {"actors": True} if actors else {}
    with FleetProgress(missing, "pairs") as progress, closing(run(progress.draw(missing), work, **options)) as outcomes:
        for outcome in outcomes:
            progress.settle(outcome)
            log_event(run_dir, _event("pairs", outcome) | {"seconds": outcome.result})
            if outcome.error:
                raise WeightzooError(f"the pairs of {outcome.task.stem} were not rendered: {outcome.error}")


def make_base(run_dir: Path, base_from: PathLike | None = None, run: Run | None = None, device: str = "cpu") -> None:
    """Train the base in its own one-thread process, or copy the one of `base_from`; nothing if it is there.

    Args:
        run: where to train it; default: a process of this machine.
        device: what it is trained on, where that process has it.

    Raises:
        WeightzooError: the given base is of another architecture, or is not the one that the run already has.
    """
    path = run_dir / "base" / "generator.safetensors"
    if base_from is not None:
        config = read_config(run_dir)
        return _copy_base(Path(base_from), path.parent, config)
    if not path.exists():
        jobs = [(str(run_dir), device)]
        with closing(run(jobs, train_base_of) if run else run_local(jobs, train_base_of, 1)) as outcomes:
            for outcome in outcomes:
                if outcome.error:
                    raise WeightzooError(f"the base generator was not trained: {outcome.error}")
                log_event(run_dir, {"event": "base", "seconds": outcome.result})
    return None


def run_fleets(
    run_dir: Path,
    tasks: Sequence[FleetTask],
    missing: Sequence[FleetTask],
    run: Run,
    fleet: Fleet,
    where: PathLike | None = None,
) -> None:
    """Run the missing fleets and log each.

    A fleet whose training raises is an isolated failure as long as most others succeed: its concepts become rows
    with the reason. After `MAX_FAILED_FLEETS` of them, or 1 % of a large zoo, something is wrong with all: the
    build stops, as it does for fleets that the machines did not let finish.

    Args:
        where: what a person knows the run folder by, if it is a copy.

    Raises:
        WeightzooError: fleets failed, with the reason of the first; nothing is recorded of them.
    """
    failed: list[Outcome] = []
    limit = max(MAX_FAILED_FLEETS, round(MAX_FAILED_SHARE * len(tasks)))
    # closing stops the workers
    with FleetProgress(missing) as progress, closing(run(progress.draw(missing), fleet)) as outcomes:
        for outcome in outcomes:
            if outcome.error:
                failed.append(outcome)
                say(f"fleet {outcome.task.stem} failed: {outcome.error}")
            log_event(run_dir, _event("fleet", outcome))
            progress.settle(outcome)
            if len(failed) >= limit:
                break
    isolated = len(failed) < min(limit, len(tasks)) and all(outcome.application for outcome in failed)
    if not isolated:
        raise WeightzooError(
            f"{len(failed)} of {plural(len(missing), 'fleet')} failed, the first ({failed[0].task.stem}) because: "
            f"{failed[0].error}; fix the cause and run the same command again (see {where or run_dir}/{EVENTS_FILE})"
        )
    for outcome in failed:
        record_failure(outcome.task, f"the fleet's training failed: {outcome.error}")


def finish(run_dir: Path) -> ZooManifest:
    """Write what describes the whole zoo: statistics, data card, and the manifest last.

    Raises:
        WeightzooError: a concept has no outcome, or two: `concepts != ok + rejected + failed`.
    """
    remove_stale_temporaries(run_dir)
    layout = WeightLayout.load(run_dir / "layout.json")
    shards = [path for path in shard_paths(run_dir) if path.name.startswith("train-")] or shard_paths(run_dir)
    statistics = block_statistics((record for path in shards for record in read_shard(path)[0]), layout)
    save_statistics(run_dir / STATISTICS_FILE, statistics)
    manifest = collect_manifest(run_dir)
    write_text(run_dir / "README.md", data_card(run_dir, manifest))
    write_manifest(run_dir, manifest)
    return manifest


def _name(run_dir: Path, path: Path) -> str:
    return path.relative_to(run_dir).as_posix()


def _names(run_dir: Path, store: Store | None, folder: str) -> set[str]:
    """Name of the files in `folder` of the run folder, in the store where there is one."""
    if store:
        return {name for name in store.names() if name.startswith(f"{folder}/")}
    return {_name(run_dir, path) for path in (run_dir / folder).glob("*")}


def log_event(run_dir: Path, event: dict[str, Any]) -> None:
    """Append one line to `logs/events.jsonl`, the only file of a run that may tell seconds."""
    path = run_dir / EVENTS_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(event, sort_keys=True) + "\n")


def _copy_base(source: Path, folder: Path, config: BuildConfig) -> None:
    given = source / "generator.safetensors"
    difference = config_diff(to_dict(config.generator_config()), to_dict(load_base(given).config))
    if difference:
        raise WeightzooError(f"the base {given} is of another architecture ({one_line(difference)})")
    for name in ("discriminator.safetensors", "generator.safetensors"):
        if not (folder / name).exists():
            write_bytes(folder / name, (source / name).read_bytes())
        elif sha256_file(folder / name) != sha256_file(source / name):
            raise WeightzooError(f"{folder / name} is not the base of {source}; build into another folder")


def _event(stage: str, outcome: Outcome) -> dict[str, Any]:
    event = {"event": stage, "fleet": outcome.task.stem, "attempts": outcome.attempts}
    if isinstance(outcome.result, FleetSummary):
        event |= to_dict(outcome.result)
    return event | ({"error": outcome.error, "details": outcome.details} if outcome.error else {})
