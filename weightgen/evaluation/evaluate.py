"""Evaluation: every start beside every baseline, at zero steps and while it is fine-tuned; resumable by cell.

    config = EvaluateConfig(zoo_dir, (heldout_dir, external_dir), models, GRIDS["reduced"]())
    results = evaluate(config, "out/")

Leaves `OUT/evaluation.json` (also returned) beside the files that `weightgen.evaluation.context` lists. The same call
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

from weightgen.evaluation.cells import Task, is_done, run_cell
from weightgen.evaluation.context import (
    EvaluateConfig,
    EvaluationContext,
    load_context,
    own_path,
    read_config,
    start_path,
    write_blocks,
)
from weightgen.evaluation.grid import NETWORK_INITS, UNTRAINED, FinetuneRow
from weightgen.evaluation.held_out_pairs import wordings
from weightgen.evaluation.novelty import diversity, novelty
from weightgen.evaluation.plan import PROMPT_COUNTS, finetune_tasks, own_tasks, usable_rows, zero_tasks
from weightgen.evaluation.results import summarise_cells
from weightgen.evaluation.timing import fleet_throughput, measure_timing
from weightgen.evaluation.zero_step_methods import (
    WITHOUT_WEIGHTS,
    check_models,
    generated_blocks,
    is_available,
    start_blocks,
)
from weightgen.finetuning.loop import shared_training
from weightgen.finetuning.origins import Origins
from weightgen.model_folder import denoiser_sha256
from zoo.concepts import Concept
from zoo.config import config_diff, save_config, to_dict
from zoo.errors import WeightzooError
from zoo.files import PathLike, finite, read_json, write_json
from zoo.pictures.metrics import FIGURES
from zoo.progress import say, track
from zoo.results import EVALUATION, check_kind
from zoo.words import plural

SAMPLED_PROMPTS, SAMPLES = 8, 4  # for the diversity of samples


@dataclass(frozen=True)
class CellOutcome:
    """What became of a cell: "done", "kept" or "skipped" as `result`, or one line in `error`."""

    task: Task
    result: str | None = None
    error: str | None = None


Splits = dict[str, list[Concept]]
RunCells = Callable[..., Iterator[Any]]  # (tasks, function, workers) -> outcomes with task, result, error


def run_here(tasks: Iterable[Task], function: Callable[[Task], str], workers: int = 1) -> Iterator[CellOutcome]:
    """Run cells one after the other in this process."""
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
    """Run a grid and return the content of `evaluation.json`.

    Args:
        seconds: wall-clock budget; fine-tuning that would not end in time is left out, and the results say
        so.

    Raises:
        WeightzooError: the folder holds another evaluation, or zoo, models and pairs do not belong together.
    """
    started = time.time()
    out_dir = Path(out_dir)
    context = open_evaluation(config, out_dir)
    inits = [init for init in all_inits(config) if is_available(context.origins, init)]
    rows = usable_rows(context)
    splits = held_out_concepts(context)
    groups = {**splits, "validation": context.held_out.concepts("validation", config.grid.validation_concepts)}
    say(f"evaluating {plural(sum(map(len, splits.values())), 'concept')} ({config.grid.name} grid)")
    write_starts(context, sorted({*inits, *(init for row in rows for init in row.inits)}), groups)
    timing = stored_timing(context, rows, splits)

    own = own_tasks(context, splits)
    zero = zero_tasks(context, [init for init in inits if init != "own"], splits)
    failures = run_all(run_cells, workers, [*own, *zero], "zero-step cells")
    if "own" in inits:
        own_zero = zero_tasks(context, ["own"], splits)
        failures += run_all(run_cells, workers, own_zero, "own adapters")
        zero += own_zero
    rates = config.learning_rates
    deadline = None if seconds is None else started + seconds
    tasks = finetune_tasks(context, rows, rates, timing, deadline)
    failures += run_all(run_cells, workers, tasks, "fine-tuning cells")

    results = summarise_cells(context, timing, zero, tasks) | {
        "grid": to_dict(config.grid),
        "models": sorted(config.models),
        "absent": [init for init in all_inits(config) if init not in inits],
        "failures": failures,
        "novelty": distances(context, splits),
        "diversity": spread_of_samples(context, splits),
        "learning_rates": [
            {"init": init, "mode": row.mode, "pairs": row.pairs, "learning_rate": rates.of(init, row.mode, row.pairs)}
            for row in rows
            for init in row.inits
            if init not in UNTRAINED
        ],
        "finetuning": context.config.finetuning,
        "seconds": time.time() - started,
    }
    results = finite(results)
    write_json(out_dir / "evaluation.json", results)
    return results


def held_out_concepts(context: EvaluationContext) -> Splits:
    """Return the grid's splits that have held-out concepts, with these concepts.

    Raises:
        WeightzooError: there is none.
    """
    config, grid = context.config, context.config.grid
    members = ((split, context.held_out.concepts(split, grid.concepts_per_split)) for split in grid.splits)
    found = {split: concepts for split, concepts in members if concepts}
    if not found:
        raise WeightzooError(f"{', '.join(config.pairs_dirs)}: no held-out concept of {', '.join(grid.splits)}")
    return found


def open_evaluation(config: EvaluateConfig, out_dir: Path) -> EvaluationContext:
    """Freeze the config of an evaluation, or check that it is the same as before, and open all that it names.

    Raises:
        WeightzooError: the folder holds another evaluation, or a model belongs to another zoo.
    """
    check_models(Origins(config.zoo_dir, config.models))
    freeze_config(config, out_dir)
    return load_context(str(out_dir.resolve()))


def freeze_config(config: EvaluateConfig, out_dir: Path) -> None:
    """Write `config.json` with the hashes of the models, or check that it is the same as before."""
    check_kind(out_dir, EVALUATION)
    hashes = {name: denoiser_sha256(path) for name, path in config.models.items()}
    config = replace(config, model_sha256=hashes, finetuning=shared_training(), figures=FIGURES)
    path = out_dir / "config.json"
    if not path.exists():
        save_config(path, config)
        return
    try:
        frozen = read_config(path)
    except WeightzooError as error:
        hint = "if another version of weightzoo began this evaluation, choose another folder"
        raise WeightzooError(f"{error}; {hint}") from None
    if frozen.figures != config.figures:
        missing = ", ".join(name for name in config.figures if name not in frozen.figures)
        raise WeightzooError(
            f"{out_dir} was measured by an earlier version of weightzoo, which lacks figures ({missing}); "
            "choose another folder to measure again"
        )
    if frozen.finetuning != config.finetuning:
        raise WeightzooError(
            f"{out_dir} was fine-tuned as another version of weightzoo does it; choose another folder, or write its "
            "report with that version"
        )
    if difference := config_diff(frozen, config):
        raise WeightzooError(
            f"{out_dir} holds an evaluation with another setting ({'; '.join(difference.splitlines())}); "
            "choose another folder, or delete it to start again"
        )


def all_inits(config: EvaluateConfig) -> list[str]:
    """Return the grid's zero-step methods and the extra models under their own names."""
    return [*config.grid.inits, *(name for name in config.models if name not in NETWORK_INITS)]


def write_starts(context: EvaluationContext, inits: Sequence[str], groups: Splits) -> None:
    """Store the weights that every method gives every concept, once; `shuffled` trades places within a split."""
    concepts = [concept for members in groups.values() for concept in members]
    wanted = [
        (init, prompts)
        for init in inits
        if init not in WITHOUT_WEIGHTS
        for prompts in PROMPT_COUNTS
        if prompts == 1 or init in context.config.grid.four_prompts
    ]
    todo = [pair for pair in wanted if not start_path(context.out_dir, *pair).exists()]
    for init, prompts in track(todo, "generating the starts", "starts"):
        blocks = torch.cat(
            [start_blocks(context.origins, init, members, prompts) for members in groups.values() if members]
        )
        write_blocks(start_path(context.out_dir, init, prompts), [c.id for c in concepts], blocks)


def stored_timing(context: EvaluationContext, rows: Sequence[FinetuneRow], splits: Splits) -> dict[str, Any]:
    """Return the seconds of steps, initialisations and fleets, measured once, before any worker starts."""
    path = context.out_dir / "timing.json"
    if not path.exists():
        say("timing one network at a time")
        inits = sorted({"base", *(init for row in rows for init in row.inits)})
        modes = sorted({row.mode for row in rows} | {"adapter", "full"})
        concepts = next(iter(splits.values()))
        timing = measure_timing(context, inits, modes, concepts[0])
        grid = context.config.grid
        ids = [concept.id for concept in concepts]
        timing["fleet"] = fleet_throughput(context, ids, grid.fleet_sizes, grid.timed_steps)
        write_json(path, finite(timing))
    return read_json(path)


def run_all(run_cells: RunCells, workers: int, tasks: Sequence[Task], description: str) -> list[dict[str, str]]:
    """Run what is not done yet and return the failures as rows."""
    todo = [task for task in tasks if not is_done(task)]
    failures = []
    for outcome in track(run_cells(todo, run_cell, workers), description, "cells", total=len(todo)):
        if outcome.error is not None:
            failures.append({"cell": outcome.task.name, "reason": outcome.error})
            say(f"{outcome.task.name}: {outcome.error}")
    return failures


def spread_of_samples(context: EvaluationContext, splits: Splits) -> dict[str, float] | None:
    """Return how far apart networks for the same prompt are; None where nothing is sampled in few steps."""
    if not start_path(context.out_dir, "generated_few_steps", 1).exists():
        return None
    path = context.out_dir / "diversity.json"
    if not path.exists():
        concepts = next(iter(splits.values()))[:SAMPLED_PROMPTS]
        words = [wordings(concept, 1) for concept in concepts]
        samples = generated_blocks(context.origins, "generated_few_steps", words, SAMPLES).unflatten(0, (-1, SAMPLES))
        zoo = context.origins.train
        write_json(path, finite(diversity(samples, zoo.blocks, zoo.statistics())))
    return read_json(path)


def distances(context: EvaluationContext, splits: Splits) -> list[dict[str, Any]]:
    """Return the rows of "novelty", for all held-out concepts together."""
    ids = [concept.id for concepts in splits.values() for concept in concepts]
    layout, zoo = context.origins.zoo.layout, context.origins.train
    networks = {
        name: layout.to_blocks(context.start(name, ids))
        for name in ("nearest", "kernel_ridge", "generated", "generated_few_steps", "polished")
        if start_path(context.out_dir, name, 1).exists()
    }
    owned = [i for i in ids if own_path(context.out_dir, i).exists()]
    if owned:
        networks["own"] = layout.to_blocks(context.start("own", owned))
    return novelty(zoo.blocks, networks, zoo.statistics())
