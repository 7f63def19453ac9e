"""Learning rates for fine-tuning, chosen once per (start, mode) on validation concepts, with the grid's fewest pairs.

    choose_learning_rates(config, "runs/rates")          # -> runs/rates/learning_rates.json

Every start has equally many trials (`TRIALS`). The lowest mean test L1 after the last step
decides. The result is what `LearningRates.load` takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from weightgen.evaluation.cells import FinetuneTask
from weightgen.evaluation.context import EvaluateConfig
from weightgen.evaluation.evaluate import RunCells, open_evaluation, run_all, run_here, write_starts
from weightgen.evaluation.grid import UNTRAINED, FinetuneRow
from weightgen.evaluation.plan import own_tasks, usable_rows
from zoo.errors import WeightzooError
from zoo.files import PathLike, finite, read_json, write_json
from zoo.pictures.metrics import decisive

Key = tuple[str, str, int]  # start, mode, pairs
TRIALS = (2e-2, 4e-2)  # what every (start, mode) is tried with on the validation concepts


def choose_learning_rates(
    config: EvaluateConfig, out_dir: PathLike, run_cells: RunCells = run_here, workers: int = 1
) -> dict[str, Any]:
    """Run the trials of every row of the grid and write `OUT/learning_rates.json`; resumable by cell.

    Raises:
        WeightzooError: there is no validation concept, or the folder holds another evaluation.
    """
    out_dir = Path(out_dir)
    context = open_evaluation(config, out_dir)
    grid = config.grid
    members = context.held_out.concepts("validation", grid.validation_concepts)
    if not members:
        raise WeightzooError(f"{', '.join(config.pairs_dirs)}: no validation concept to choose learning rates on")
    rows = validation_rows(usable_rows(context), len(members))
    groups = {split: context.held_out.concepts(split, grid.concepts_per_split) for split in grid.splits}
    inits = sorted({init for row in rows for init in row.inits})
    write_starts(context, inits, {**groups, "validation": members})
    failures = []
    if "own" in inits:
        own = own_tasks(context, {"validation": members})
        failures += run_all(run_cells, workers, own, "own adapters")
    ids = [concept.id for concept in members]
    tasks = {
        (init, row.mode, row.pairs): trial_tasks(str(context.out_dir), row, init, ids)
        for row in rows
        for init in row.inits
    }
    everything = [task for group in tasks.values() for task in group]
    failures += run_all(run_cells, workers, everything, "learning rates")
    chosen = [choose(key, group) for key, group in tasks.items()]
    result = {"chosen": [row for row in chosen if row is not None], "concepts": ids, "failures": failures}
    write_json(out_dir / "learning_rates.json", finite(result))
    return result


def validation_rows(rows: Sequence[FinetuneRow], count: int) -> list[FinetuneRow]:
    """Return one row per mode on the validation concepts: the grid's fewest pairs, the starts of all its rows.

    More pairs take over what was chosen (`LearningRates.of`): their trials alone would take longer than the grid.
    """
    chosen, rows = [], [row for row in rows if not row.budget]
    for mode in dict.fromkeys(row.mode for row in rows):
        fewest = min((row for row in rows if row.mode == mode), key=lambda row: row.pairs)
        of_mode = (init for row in rows if row.mode == mode for init in row.inits)
        inits = dict.fromkeys(init for init in of_mode if init not in UNTRAINED)
        chosen.append(replace(fewest, split="validation", concepts=count, inits=tuple(inits)))
    return chosen


def trial_tasks(out_dir: str, row: FinetuneRow, init: str, ids: Sequence[str]) -> list[FinetuneTask]:
    """Return all trials of one start, each with all validation concepts as one fleet."""
    steps, chunk = row.steps_of(init), tuple(ids)
    return [
        FinetuneTask(out_dir, "validation", row.pairs, row.mode, init, chunk, steps, rate, rate_trial=True)
        for rate in TRIALS
    ]


def choose(key: Key, tasks: Sequence[FinetuneTask]) -> dict[str, Any] | None:
    """Return the best trial of one start, None when nothing was finished; one that diverged anywhere cannot win."""
    tried = []
    for task in tasks:
        cells = [read_json(path) for path in task.paths if path.exists()]
        finals = [cell["l1"][-1] for cell in cells if not cell["diverged"]]
        if len(finals) == len(task.paths) and None not in finals:
            tried.append({"learning_rate": task.learning_rate, "l1": sum(finals) / len(finals)})
    if not tried:
        return None
    best = min(tried, key=lambda trial: decisive(trial["l1"]))  # the first of equally good rates
    return {"init": key[0], "mode": key[1], "pairs": key[2], **best, "trials": tried}
