"""Evaluation: every start beside every baseline, at zero steps and while it is fine-tuned; resumable by cell.

    config = EvaluateConfig(zoo_dir, (heldout_dir, external_dir), models, GRIDS["reduced"]())
    results = evaluate(config, "out/")

Leaves `OUT/evaluation.json` (also returned) beside the files that `weightgen.bench` lists. The same call
again does what is missing and nothing else. `run_cells` decides where the cells run: in this process by
default; the command line passes the executor of worker processes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from weightgen.bench import (
    Bench,
    EvaluateConfig,
    bench_of,
    finite,
    own_path,
    start_path,
    write_blocks,
)
from weightgen.cells import Task, is_done, run_cell
from weightgen.grid import FinetuneRow, LearningRates
from weightgen.model_folder import denoiser_sha256
from weightgen.novelty import diversity, novelty
from weightgen.plan import PROMPT_COUNTS, finetune_tasks, own_tasks, usable_rows, zero_tasks
from weightgen.results import summarise_cells
from weightgen.starts import MODEL_NAMES, Starts
from weightgen.timing import fleet_throughput, measure_timing
from zoo.concepts import Concept
from zoo.config import config_diff, load_config, save_config, to_dict
from zoo.errors import WeightzooError
from zoo.files import PathLike, read_json, write_json
from zoo.progress import say, track
from zoo.words import plural

SAMPLED_PROMPTS, SAMPLES = 8, 4  # for the diversity of samples


@dataclass(frozen=True)
class CellOutcome:
    """What became of a cell: "done", "kept" or "skipped" as `result`, or one line in `error`."""

    task: Task
    result: str | None = None
    error: str | None = None


RunCells = Callable[..., Iterator[Any]]  # (tasks, function, workers) -> outcomes with task, result, error


def run_here(
    tasks: Iterable[Task], function: Callable[[Task], str], workers: int = 1
) -> Iterator[CellOutcome]:
    """Runs cells one after the other in this process."""
    del workers
    for task in tasks:
        try:
            yield CellOutcome(task, function(task))
        except WeightzooError as error:
            yield CellOutcome(task, error=str(error))


def evaluate(
    config: EvaluateConfig,
    out_dir: PathLike,
    run_cells: RunCells = run_here,
    workers: int = 1,
    seconds: float | None = None,
) -> dict[str, Any]:
    """Runs a grid and returns the content of `evaluation.json`.

    Args:
        seconds: wall-clock budget; fine-tuning that would not end in time is left out, and the results say
        so.

    Raises:
        WeightzooError: the folder holds another evaluation, or zoo, models and pairs do not belong together.
    """
    started = time.time()
    out_dir = Path(out_dir)
    freeze(config, out_dir)
    bench = bench_of(str(out_dir.resolve()))
    starts = Starts(config.zoo_dir, config.models, config.seed)
    inits = [init for init in all_inits(config) if starts.available(init)]
    rows = usable_rows(bench, starts)
    splits = held_out_concepts(bench)
    groups = {**splits, "validation": bench.held_out.concepts("validation", config.grid.validation_concepts)}
    say(f"evaluating {plural(sum(map(len, splits.values())), 'concept')} ({config.grid.name} grid)")
    make_starts(bench, starts, sorted({*inits, *(init for row in rows for init in row.inits)}), groups)
    timing = timed(bench, starts, rows, splits)

    own = own_tasks(bench, splits)
    zero = zero_tasks(bench, [init for init in inits if init != "own"], splits)
    failures = run_all(run_cells, workers, [*own, *zero], "zero-step cells")
    if "own" in inits:
        own_zero = zero_tasks(bench, ["own"], splits)
        failures += run_all(run_cells, workers, own_zero, "own adapters")
        zero += own_zero
    rates = config.learning_rates
    deadline = None if seconds is None else started + seconds
    tasks = finetune_tasks(bench, rows, rates, timing, deadline)
    failures += run_all(run_cells, workers, tasks, "fine-tuning cells")

    results = summarise_cells(bench, timing, zero, tasks) | {
        "grid": to_dict(config.grid),
        "models": sorted(config.models),
        "absent": [init for init in all_inits(config) if init not in inits],
        "failures": failures,
        "novelty": distances(bench, starts, splits),
        "diversity": spread_of_samples(bench, starts, splits),
        "learning_rates": used_rates(rates, rows),
        "seconds": time.time() - started,
    }
    results = finite(results)
    write_json(out_dir / "evaluation.json", results)
    return results


def used_rates(rates: LearningRates, rows: Sequence[FinetuneRow]) -> list[dict[str, Any]]:
    """The rows of "learning_rates"."""
    keys = [(init, row.mode, row.pairs) for row in rows for init in row.inits]
    return [
        {"init": init, "mode": mode, "pairs": pairs, "learning_rate": rates.of(init, mode, pairs)}
        for init, mode, pairs in keys
    ]


def held_out_concepts(bench: Bench) -> dict[str, list[Concept]]:
    """The grid's splits with their concepts, those that have any.

    Raises:
        WeightzooError: there is none.
    """
    config = bench.config
    found = {
        split: bench.held_out.concepts(split, config.grid.concepts_per_split) for split in config.grid.splits
    }
    found = {split: concepts for split, concepts in found.items() if concepts}
    if not found:
        raise WeightzooError(
            f"{', '.join(config.pairs_dirs)}: no held-out concept of {', '.join(config.grid.splits)}"
        )
    return found


def freeze(config: EvaluateConfig, out_dir: Path) -> None:
    """Writes `config.json` with the hashes of the models, or checks that it is the same as before."""
    hashes = {name: denoiser_sha256(path) for name, path in config.models.items()}
    config = replace(config, model_sha256=hashes)
    path = out_dir / "config.json"
    if not path.exists():
        save_config(path, config)
        return
    try:
        frozen = load_config(EvaluateConfig, path)
    except WeightzooError as error:
        hint = "if another version of weightzoo began this evaluation, choose another folder"
        raise WeightzooError(f"{error}; {hint}") from None
    if difference := config_diff(frozen, config):
        raise WeightzooError(
            f"{out_dir} holds an evaluation with another setting ({'; '.join(difference.splitlines())}); "
            "choose another folder, or delete it to start again"
        )


def all_inits(config: EvaluateConfig) -> list[str]:
    """The grid's zero-step methods and the extra models under their own names."""
    return [*config.grid.inits, *(name for name in config.models if name not in MODEL_NAMES)]


def make_starts(bench: Bench, starts: Starts, inits: Sequence[str], groups: dict[str, list[Concept]]) -> None:
    """Computes every start for every concept, once; `shuffled` trades places within a split."""
    concepts = [concept for members in groups.values() for concept in members]
    wanted = [
        (init, prompts)
        for init in inits
        if init not in ("copy", "scratch", "own", "pix2pix_unet")
        for prompts in PROMPT_COUNTS
        if prompts == 1 or init in bench.config.grid.four_prompts
    ]
    todo = [pair for pair in wanted if not start_path(bench.out_dir, *pair).exists()]
    for init, prompts in track(todo, "generating the starts", "starts"):
        blocks = torch.cat([starts.blocks(init, members, prompts) for members in groups.values() if members])
        write_blocks(start_path(bench.out_dir, init, prompts), [c.id for c in concepts], blocks)


def timed(
    bench: Bench, starts: Starts, rows: Sequence[FinetuneRow], splits: dict[str, list[Concept]]
) -> dict[str, Any]:
    """Seconds of steps, initialisations and fleets, measured once, before any worker starts."""
    path = bench.out_dir / "timing.json"
    if not path.exists():
        say("timing one network at a time")
        inits = sorted({"base", *(init for row in rows for init in row.inits)})
        modes = sorted({row.mode for row in rows} | {"adapter", "full"})
        concepts = next(iter(splits.values()))
        timing = measure_timing(bench, starts, inits, modes, concepts[0])
        grid = bench.config.grid
        ids = [concept.id for concept in concepts]
        timing["fleet"] = fleet_throughput(bench, ids, grid.fleet_sizes, grid.timed_steps)
        write_json(path, finite(timing))
    return read_json(path)


def run_all(
    run_cells: RunCells, workers: int, tasks: Sequence[Task], description: str
) -> list[dict[str, str]]:
    """Runs what is not done yet; returns the failures as rows."""
    todo = [task for task in tasks if not is_done(task)]
    failures = []
    for outcome in track(run_cells(todo, run_cell, workers), description, "cells", total=len(todo)):
        if outcome.error is not None:
            failures.append({"cell": outcome.task.name, "reason": outcome.error})
            say(f"{outcome.task.name}: {outcome.error}")
    return failures


def spread_of_samples(
    bench: Bench, starts: Starts, splits: dict[str, list[Concept]]
) -> dict[str, float] | None:
    """How far networks sampled for the same prompt are apart; None where nothing is sampled in few steps."""
    if not start_path(bench.out_dir, "generated_few_steps", 1).exists():
        return None
    path = bench.out_dir / "diversity.json"
    if not path.exists():
        concepts = next(iter(splits.values()))[:SAMPLED_PROMPTS]
        samples = starts.samples(concepts, SAMPLES)
        write_json(path, finite(diversity(samples, starts.train.blocks, starts.block_statistics)))
    return read_json(path)


def distances(bench: Bench, starts: Starts, splits: dict[str, list[Concept]]) -> list[dict[str, Any]]:
    """The rows of "novelty", for all held-out concepts together."""
    ids = [concept.id for concepts in splits.values() for concept in concepts]
    statistics = starts.block_statistics
    names = [
        n
        for n in ("nearest", "kernel_ridge", "generated", "generated_few_steps", "polished")
        if starts.available(n)
    ]
    networks = {}
    for name in names:
        if start_path(bench.out_dir, name, 1).exists():
            networks[name] = bench.zoo.layout.to_blocks(bench.start(name, ids))
    owned = [i for i in ids if own_path(bench.out_dir, i).exists()]
    if owned:
        networks["own"] = bench.zoo.layout.to_blocks(bench.start("own", owned))
    return novelty(starts.train.blocks, networks, statistics)
