"""The plan of an evaluation: which cells a grid consists of, given the starts, concepts and pairs at hand.

tasks = zero_tasks(context, inits, splits) + finetune_tasks(context, rows, rates, timing)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from weightgen.evaluation.cells import FinetuneTask, OwnTask
from weightgen.evaluation.context import EvaluationContext, own_path, write_blocks
from weightgen.evaluation.grid import PAIR_METHODS, PROMPTED, FinetuneRow, LearningRates
from weightgen.evaluation.zero_step import ZeroStepCell
from weightgen.evaluation.zero_step_methods import is_available
from weightgen.finetuning.starts import RANDOM
from zoo.concepts import Concept
from zoo.gans.solved import SolvedGenerator
from zoo.training.batches import PIXELS_OF_A_STEP

PROMPT_COUNTS = (1, 4)
STORED_PIXELS = 1 << 25  # of the pairs of a fleet: 24 bytes each
STEP_PIXELS = 1 << 16  # of all networks of a fleet: of 16 for pictures of 64 x 64 pixels, of one for 256 x 256


def usable_rows(context: EvaluationContext) -> list[FinetuneRow]:
    """Return the fine-tuning rows with the starts at hand and at least one concept that has enough pairs."""
    rows = []
    for row in context.config.grid.finetune:
        possible = [init for init in row.inits if row.mode == "full" or init not in RANDOM]
        row = replace(row, inits=tuple(init for init in possible if is_available(context.origins, init)))
        if row_concepts(context, row):
            rows.append(row)
    return rows


def row_concepts(context: EvaluationContext, row: FinetuneRow) -> list[Concept]:
    """Return the first concepts in the order of the hash that have enough pairs and are no near-duplicates."""
    members = [c for c in context.held_out.concepts(row.split) if c.id not in context.near_duplicates]
    return [c for c in members if context.held_out.count(c.id, "train") >= row.pairs][: row.concepts]


def own_members(context: EvaluationContext, concepts: Sequence[Concept]) -> list[Concept]:
    """Return the concepts of a split that get their own adapter: all, or the first that are no near-duplicates.

    Validation concepts have them too, for the choice of learning rates.
    """
    grid = context.config.grid
    concepts = [concept for concept in concepts if concept.split in (*grid.own_splits, "validation")]
    return first_members(context, concepts, grid.own_concepts)


def first_members(context: EvaluationContext, concepts: Sequence[Concept], count: int | None) -> list[Concept]:
    """Return all concepts without a count, or the first so many of them that are no near-duplicates."""
    if count is None:
        return list(concepts)
    return [concept for concept in concepts if concept.id not in context.near_duplicates][:count]


def own_tasks(context: EvaluationContext, splits: dict[str, list[Concept]]) -> list[OwnTask]:
    """Return fleets that train the concepts' own adapters; what the zoo has stored already is taken from there."""
    grid, tasks = context.config.grid, []
    for split, concepts in splits.items():
        members = own_members(context, concepts)
        wanted = {concept.id for concept in members}
        for record in context.origins.zoo.records(split):
            path = own_path(context.out_dir, record.concept_id)
            if record.concept_id in wanted and not path.exists():
                write_blocks(path, [record.concept_id], torch.tensor(record.blocks.astype("float32"))[None])
        missing = [c.id for c in members if not own_path(context.out_dir, c.id).exists()]
        size = fleet_size(context, grid.own_fleet, context.own_pairs)
        tasks += [OwnTask(str(context.out_dir), chunk) for chunk in chunks(missing, size)]
    return tasks


def zero_tasks(
    context: EvaluationContext, inits: Sequence[str], splits: dict[str, list[Concept]]
) -> list[ZeroStepCell]:
    """Return the zero-step cells; methods that do not read the prompt have one, not one per number of prompts.

    Those of `own` cover the concepts whose own adapter is there: plan them once these are trained.
    """
    grid, tasks = context.config.grid, []
    for split, concepts in splits.items():
        for init in inits:
            if init in PAIR_METHODS:
                tasks += closed_form_tasks(context, split, init, concepts)
                continue
            members = own_members(context, concepts) if init == "own" else concepts
            ids = startable(context, init, [concept.id for concept in members])
            if not ids:
                continue
            counts = PROMPT_COUNTS if init in PROMPTED and init in grid.four_prompts else (1,)
            tasks += [ZeroStepCell(str(context.out_dir), split, init, count, ids) for count in counts]
    return tasks


def closed_form_tasks(
    context: EvaluationContext, split: str, init: str, concepts: Sequence[Concept]
) -> list[ZeroStepCell]:
    """Return the zero-step cells of a closed form: one for each number of pairs, on concepts that have them."""
    tasks = []
    for pairs in context.config.grid.closed_form_pairs:
        members = [c for c in concepts if context.held_out.count(c.id, "train") >= pairs]
        ids = [c.id for c in first_members(context, members, context.config.grid.closed_form_concepts)]
        if ids:
            tasks.append(ZeroStepCell(str(context.out_dir), split, init, 1, tuple(ids), pairs))
    return tasks


def startable(context: EvaluationContext, init: str, ids: Sequence[str]) -> tuple[str, ...]:
    """Return the concepts that a start has weights for: an own adapter that diverged is not there."""
    return tuple(i for i in ids if init != "own" or own_path(context.out_dir, i).exists())


def finetune_tasks(
    context: EvaluationContext,
    rows: Sequence[FinetuneRow],
    rates: LearningRates,
    timing: dict[str, Any],
    deadline: float | None = None,
) -> list[FinetuneTask]:
    """Return all fine-tuning cells, a few concepts at once, all starts of these before the next few."""
    tasks = []
    for row in rows:
        ids = [concept.id for concept in row_concepts(context, row)]
        shown = tuple(ids[: context.config.grid.picture_concepts])
        for chunk in chunks(ids, fleet_size(context, context.config.grid.finetune_fleet, row.pairs)):
            for init in row.inits:
                members = startable(context, init, chunk)
                if not members:
                    continue
                steps = row.steps_of(init)
                # as long as one after the other: a fleet gains what processes side by side lose
                alone = timing["step_seconds"].get(init, timing["step_seconds"].get(row.mode, 0.1))
                needed = len(members) * steps * alone
                tasks.append(
                    FinetuneTask(
                        str(context.out_dir),
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


def fleet_size(context: EvaluationContext, most: int, pairs: int) -> int:
    """Return how many concepts are trained at once: `most`, fewer where their pairs or a step would fill the memory.

    Args:
        pairs: training pairs of each concept.
    """
    area = context.size**2
    images = pairs + context.config.grid.test_images
    step = PIXELS_OF_A_STEP if isinstance(context.origins.base, SolvedGenerator) else area
    return max(1, min(most, STORED_PIXELS // (images * area), STEP_PIXELS // step))


def chunks(ids: Sequence[str], size: int) -> list[tuple[str, ...]]:
    """Split the ids into tuples of at most `size`."""
    return [tuple(ids[i : i + size]) for i in range(0, len(ids), size)]
