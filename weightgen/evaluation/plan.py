"""The plan of an evaluation: which cells a grid consists of, given the starts, concepts and pairs at hand.

tasks = zero_tasks(bench, inits, splits) + finetune_tasks(bench, rows, rates, timing)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from weightgen.evaluation.cells import FinetuneTask, OwnTask, ZeroStepCell
from weightgen.evaluation.context import Bench, own_path, write_blocks
from weightgen.evaluation.grid import PROMPTED, FinetuneRow, LearningRates
from weightgen.evaluation.methods import Starts
from weightgen.evaluation.zero_step import ZeroStepTask
from weightgen.finetuning.starts import RANDOM
from zoo.concepts import Concept

PROMPT_COUNTS = (1, 4)


def usable_rows(bench: Bench, starts: Starts) -> list[FinetuneRow]:
    """The fine-tuning rows with the starts that there are and at least one concept that has enough pairs."""
    rows = []
    for row in bench.config.grid.finetune:
        possible = [init for init in row.inits if row.mode == "full" or init not in RANDOM]
        row = replace(row, inits=tuple(init for init in possible if starts.available(init)))
        if row_concepts(bench, row):
            rows.append(row)
    return rows


def row_concepts(bench: Bench, row: FinetuneRow) -> list[Concept]:
    """The first concepts in the order of the hash that have enough pairs and are no near-duplicates."""
    members = [c for c in bench.held_out.concepts(row.split) if c.id not in bench.near_duplicates]
    return [c for c in members if bench.held_out.count(c.id, "train") >= row.pairs][: row.concepts]


def own_members(bench: Bench, concepts: Sequence[Concept]) -> list[Concept]:
    """The concepts of a split that get their own adapter: all, or the first that are no near-duplicates.

    Validation concepts have them too, for the choice of learning rates.
    """
    grid = bench.config.grid
    concepts = [concept for concept in concepts if concept.split in (*grid.own_splits, "validation")]
    if grid.own_concepts is None:
        return concepts
    return [concept for concept in concepts if concept.id not in bench.near_duplicates][: grid.own_concepts]


def own_tasks(bench: Bench, splits: dict[str, list[Concept]]) -> list[OwnTask]:
    """Fleets that train the concepts' own adapters; what the zoo has stored already is taken from there."""
    grid, tasks = bench.config.grid, []
    for split, concepts in splits.items():
        members = own_members(bench, concepts)
        wanted = {concept.id for concept in members}
        for record in bench.zoo.records(split):
            path = own_path(bench.out_dir, record.concept_id)
            if record.concept_id in wanted and not path.exists():
                write_blocks(path, [record.concept_id], torch.tensor(record.blocks.astype("float32"))[None])
        missing = [c.id for c in members if not own_path(bench.out_dir, c.id).exists()]
        tasks += [OwnTask(str(bench.out_dir), chunk) for chunk in chunks(missing, grid.own_fleet)]
    return tasks


def zero_tasks(bench: Bench, inits: Sequence[str], splits: dict[str, list[Concept]]) -> list[ZeroStepCell]:
    """The zero-step cells; methods that do not read the prompt have one, not one per number of prompts.

    Those of `own` cover the concepts whose own adapter is there: plan them once these are trained.
    """
    grid, tasks = bench.config.grid, []
    for split, concepts in splits.items():
        for init in inits:
            members = own_members(bench, concepts) if init == "own" else concepts
            ids = startable(bench, init, [concept.id for concept in members])
            if not ids:
                continue
            counts = PROMPT_COUNTS if init in PROMPTED and init in grid.four_prompts else (1,)
            tasks += [
                ZeroStepCell(str(bench.out_dir), ZeroStepTask(split, init, count), ids) for count in counts
            ]
    return tasks


def startable(bench: Bench, init: str, ids: Sequence[str]) -> tuple[str, ...]:
    """The concepts that a start has weights for: an own adapter that diverged is not there."""
    return tuple(i for i in ids if init != "own" or own_path(bench.out_dir, i).exists())


def finetune_tasks(
    bench: Bench,
    rows: Sequence[FinetuneRow],
    rates: LearningRates,
    timing: dict[str, Any],
    deadline: float | None = None,
) -> list[FinetuneTask]:
    """All fine-tuning cells, a few concepts at once, all starts of these before the next few."""
    tasks = []
    for row in rows:
        ids = [concept.id for concept in row_concepts(bench, row)]
        shown = tuple(ids[: bench.config.grid.picture_concepts])
        for chunk in chunks(ids, bench.config.grid.finetune_fleet):
            for init in row.inits:
                members = startable(bench, init, chunk)
                if not members:
                    continue
                steps = row.steps_of(init)
                # as long as one after the other: a fleet gains what processes side by side lose
                alone = timing["step_seconds"].get(init, timing["step_seconds"].get(row.mode, 0.1))
                needed = len(members) * steps * alone
                tasks.append(
                    FinetuneTask(
                        str(bench.out_dir),
                        row.split,
                        row.pairs,
                        row.mode,
                        init,
                        members,
                        steps,
                        rates.of(init, row.mode, row.pairs),
                        deadline=None if deadline is None else deadline - needed,
                        keep=() if row.budget else shown,
                        budget=row.budget,
                    )
                )
    return tasks


def chunks(ids: Sequence[str], size: int) -> list[tuple[str, ...]]:
    """The ids in tuples of at most `size`."""
    return [tuple(ids[i : i + size]) for i in range(0, len(ids), size)]
