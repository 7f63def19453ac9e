"""Building a zoo: the stages in order, from concepts and photographs to a verified, published form.

manifest = build("runs/small", small())          # the same call again goes on where it stopped

freeze      config, concepts and layout of the run folder; another config is refused
base        the shared base generator, trained once (or taken from another run)
plan        which concept is in which shard, decided before anything runs
fleets      one task = one fleet = one shard, for the shards that are missing
finish      statistics, data card, and the manifest last
"""

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from pipeline.base_gan import train_base
from pipeline.build_config import BuildConfig
from pipeline.catalogue import zoo_concepts
from pipeline.executors import EXECUTORS, Outcome, run_local
from pipeline.fleet import (
    PHOTOGRAPHS_FILE,
    FleetSummary,
    FleetTask,
    check_photographs,
    make_teacher,
    photograph_hashes,
    prepare_process,
    run_fleet,
    source_crops,
)
from pipeline.publish import data_card
from zoo.concepts import SPLITS, Concept, check_concepts, read_concepts, write_concepts
from zoo.config import config_diff, load_config, save_config, to_dict
from zoo.errors import Interrupted, WeightzooError
from zoo.files import (
    PathLike,
    remove_stale_temporaries,
    sha256_file,
    write_bytes,
    write_json,
    write_text,
)
from zoo.layout import WeightLayout
from zoo.lora import load_base, save_base
from zoo.manifest import (
    MANIFEST_FILE,
    ZooManifest,
    build_manifest,
    collect_manifest,
    load_manifest,
    shard_paths,
)
from zoo.progress import bar, console
from zoo.shards import FORMATS, read_shard
from zoo.statistics import STATISTICS_FILE, block_statistics, save_statistics
from zoo.tensors import save_discriminator

MAX_FAILED_FLEETS = 3


def build(
    run_dir: PathLike,
    config: BuildConfig,
    concepts: Sequence[Concept] | None = None,
    base_from: PathLike | None = None,
    executor: str = "local",
    workers: int = 2,
    device: str = "cpu",
    **executor_options: Any,
) -> ZooManifest:
    """Build a zoo in ``run_dir``, or go on building it.

    Args:
        concepts: what to train, in the order that decides the shards; default: the catalogue's zoo concepts.
        base_from: a ``base`` folder of another run to take the base generator and discriminator from.
        executor: a key of ``EXECUTORS``; ``executor_options`` go to it.

    Raises:
        WeightzooError: the folder is frozen with another config, or fleets failed; what is finished is kept.
    """
    run_dir = Path(run_dir).resolve()
    concepts = freeze(run_dir, config, concepts)
    tasks = plan_fleets(run_dir, config, concepts, device)
    if (run_dir / MANIFEST_FILE).exists() and all(task.shard_path.exists() for task in tasks):
        return load_manifest(run_dir)
    try:
        make_base(run_dir, config, base_from)
        missing = [task for task in tasks if not task.shard_path.exists()]
        run_fleets(run_dir, missing, EXECUTORS[executor], workers, **executor_options)
    except KeyboardInterrupt:
        done = sum(task.shard_path.exists() for task in tasks)
        raise Interrupted(
            f"interrupted: {done} of {len(tasks)} fleets are finished and kept in {run_dir}; "
            "run the same command again to go on"
        ) from None
    return finish(run_dir)


def freeze(run_dir: Path, config: BuildConfig, concepts: Sequence[Concept] | None = None) -> list[Concept]:
    """Write config, concepts and layout of a new run folder, or check them against a frozen one.

    Raises:
        WeightzooError: naming every difference.
    """
    remove_stale_temporaries(run_dir)
    concepts = list(zoo_concepts(config.num_concepts) if concepts is None else concepts)
    check_concepts(concepts)
    if not concepts:
        raise WeightzooError("no concepts to train; give at least one")
    fix = "build into another folder, or use the config that the folder was started with"
    if (run_dir / "config.json").exists():
        # read as a config: keys that a later version has added have their defaults
        frozen = load_config(BuildConfig, run_dir / "config.json")
        if difference := config_diff(frozen, config):
            raise WeightzooError(f"{run_dir} is frozen with another config ({_one_line(difference)}); {fix}")
    else:
        save_config(run_dir / "config.json", config)
    _freeze_concepts(run_dir / "concepts.jsonl", concepts, fix)
    if not (run_dir / PHOTOGRAPHS_FILE).exists():
        write_json(run_dir / PHOTOGRAPHS_FILE, photograph_hashes(config))
    check_photographs(run_dir, config)
    layout = WeightLayout.for_generator(config.generator_config().build(), config.block_size, config.grouping)
    path = run_dir / "layout.json"
    if path.exists() and WeightLayout.load(path).id != layout.id:
        raise WeightzooError(f"{path} is frozen with another layout than this version makes; {fix}")
    if not path.exists():
        layout.save(path)
    return concepts


def plan_fleets(
    run_dir: Path, config: BuildConfig, concepts: Sequence[Concept], device: str = "cpu"
) -> list[FleetTask]:
    """Cut the concepts of every split into fleets, in order; shards never mix splits."""
    suffix = FORMATS[config.shard_format].SUFFIX
    tasks = []
    for split in SPLITS:
        own = [concept for concept in concepts if concept.split == split]
        fleets = [tuple(own[i : i + config.fleet_size]) for i in range(0, len(own), config.fleet_size)]
        tasks += [
            FleetTask(str(run_dir), split, index, len(fleets), fleet, suffix, device)
            for index, fleet in enumerate(fleets)
        ]
    return tasks


def make_base(run_dir: Path, config: BuildConfig, base_from: PathLike | None = None) -> None:
    """Train the base in its own one-thread process, or copy the one of ``base_from``; nothing if it is there.

    Raises:
        WeightzooError: the given base is of another architecture, or is not the one that the run already has.
    """
    path = run_dir / "base" / "generator.safetensors"
    if base_from is not None:
        return _copy_base(Path(base_from), path.parent, config)
    if not path.exists():
        for outcome in run_local([str(run_dir)], train_base_of, workers=1):
            if outcome.error:
                raise WeightzooError(f"the base generator was not trained: {outcome.error}")
            log_event(run_dir, {"event": "base", "seconds": outcome.result})
    return None


def train_base_of(run_dir: str) -> float:
    """Train and save the base of a frozen run folder; returns seconds. Runs inside a worker."""
    started = time.perf_counter()
    folder = Path(run_dir)
    config = load_config(BuildConfig, folder / "config.json")
    prepare_process(config.threads)
    teacher = make_teacher(config.teacher)
    sources, _ = source_crops(config)
    zoo = [c for c in read_concepts(folder / "concepts.jsonl") if c.split == "train"]
    able = [concept for concept in zoo if teacher.refusal(concept) is None][: config.base.num_concepts]
    if not able:
        raise WeightzooError("no train concept that the teacher can do; the base needs some")
    targets = torch.stack([teacher.edit(concept, sources) for concept in able])
    gan = config.generator_config()
    generator, discriminator = train_base(gan, config.discriminator, sources, targets, config.base)
    save_discriminator(folder / "base" / "discriminator.safetensors", discriminator)
    save_base(folder / "base" / "generator.safetensors", generator)
    return round(time.perf_counter() - started, 1)


def run_fleets(run_dir: Path, tasks: Sequence[FleetTask], run: Any, workers: int, **options: Any) -> None:
    """Run the fleets of ``tasks``; log each, and stop after ``MAX_FAILED_FLEETS`` failures.

    Raises:
        WeightzooError: fleets failed, with the reason of the first.
    """
    failed: list[Outcome] = []
    with bar() as progress:
        line = progress.add_task("fleets", total=len(tasks))
        outcomes: Iterator[Outcome] = run(tasks, run_fleet, workers, **options)
        for outcome in outcomes:
            if outcome.error:
                failed.append(outcome)
                console.print(
                    f"fleet {outcome.task.stem} failed: {outcome.error}", markup=False, soft_wrap=True
                )
            log_event(run_dir, _fleet_event(outcome))
            progress.advance(line)
            if len(failed) >= MAX_FAILED_FLEETS:
                break
        outcomes.close()  # type: ignore[attr-defined]  # stops the workers
    if failed:
        raise WeightzooError(
            f"{len(failed)} of {len(tasks)} fleets failed, the first ({failed[0].task.stem}) because: "
            f"{failed[0].error}; mend it and run the same command again (see {run_dir}/logs/events.jsonl)"
        )


def finish(run_dir: Path) -> ZooManifest:
    """Write what describes the whole zoo: statistics, data card, and the manifest last."""
    layout = WeightLayout.load(run_dir / "layout.json")
    shards = [path for path in shard_paths(run_dir) if path.name.startswith("train-")] or shard_paths(run_dir)
    statistics = block_statistics((record for path in shards for record in read_shard(path)[0]), layout)
    save_statistics(run_dir / STATISTICS_FILE, statistics)
    write_text(run_dir / "README.md", data_card(run_dir, collect_manifest(run_dir)))
    return build_manifest(run_dir)


def log_event(run_dir: Path, event: dict[str, Any]) -> None:
    """Append one line to ``logs/events.jsonl``, the only file of a run that may tell seconds."""
    path = run_dir / "logs" / "events.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(event, sort_keys=True) + "\n")


def _freeze_concepts(path: Path, concepts: list[Concept], fix: str) -> None:
    if not path.exists():
        return write_concepts(path, concepts)
    frozen = read_concepts(path)
    if frozen != concepts:
        pairs = zip(frozen, concepts, strict=False)
        index = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(frozen), len(concepts)))
        names = [group[index].id if index < len(group) else "(none)" for group in (frozen, concepts)]
        raise WeightzooError(
            f"{path} is frozen with {len(frozen)} concepts, this build has {len(concepts)}; "
            f"the first difference is line {index + 1} ({names[0]} -> {names[1]}); {fix}"
        )
    return None


def _copy_base(source: Path, folder: Path, config: BuildConfig) -> None:
    given = source / "generator.safetensors"
    difference = config_diff(to_dict(config.generator_config()), to_dict(load_base(given).config))
    if difference:
        raise WeightzooError(f"the base {given} is of another architecture ({_one_line(difference)})")
    for name in ("discriminator.safetensors", "generator.safetensors"):
        if not (folder / name).exists():
            write_bytes(folder / name, (source / name).read_bytes())
        elif sha256_file(folder / name) != sha256_file(source / name):
            raise WeightzooError(f"{folder / name} is not the base of {source}; build into another folder")


def _one_line(difference: str) -> str:
    return "; ".join(difference.splitlines())


def _fleet_event(outcome: Outcome) -> dict[str, Any]:
    event = {"event": "fleet", "fleet": outcome.task.stem, "attempts": outcome.attempts}
    if isinstance(outcome.result, FleetSummary):
        event |= to_dict(outcome.result)
    return event | ({"error": outcome.error, "details": outcome.details} if outcome.error else {})
