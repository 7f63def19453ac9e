"""From cells to `evaluation.json`: reads what the cells left behind and summarises it.

    results = summarise_cells(context, timing, zero_cells, finetune_tasks)

Fine-tuning figures use the concepts for which every start of the row is finished, so that starts are compared
on the same concepts; "cut" says where that is fewer than the grid asks for. Own adapters that diverged are the
exception: their start lacks those concepts, and has a smaller "n".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file

from weightgen.evaluation.cells import FinetuneTask
from weightgen.evaluation.context import EvaluationContext
from weightgen.evaluation.goals import goals
from weightgen.evaluation.intervals import pooled_kid
from weightgen.evaluation.speedup import Curve, finals, mean_curves, speedups
from weightgen.evaluation.zero_step import ZeroStepCell, method_name, middle_figures, summarise, target_features
from zoo.files import read_json
from zoo.pictures.metrics import FIGURES

Finished = dict[tuple[str, str, int], list[str]]  # (split, mode, pairs) -> concepts
# since 2 fine-tuned figures are those of the network that is handed over, the best one; since 3 there are figures of
# fine detail, and rows of closed forms
FORMAT_VERSION = 3


def summarise_cells(
    context: EvaluationContext, timing: dict[str, Any], zero: Sequence[ZeroStepCell], tasks: Sequence[FinetuneTask]
) -> dict[str, Any]:
    """Return the measured part of `evaluation.json`."""
    cells = [read_json(cell.path) for cell in zero if cell.path.exists()]
    short = [task for task in tasks if task.budget]
    tasks = [task for task in tasks if not task.budget]
    rows, apart = summarise(cells, context.near_duplicates, context.config.grid.resamples)
    finished, cut = finished_concepts(tasks)
    curves = finished_curves(tasks, finished, timing)
    speedup = speedups(curves)
    single = {(c["split"], method_name(c["init"], c["pairs"])): c for c in cells if c["prompts"] == 1}
    zero_l1 = {
        key: {
            i: v
            for i, v in zip(c["concepts"], c["l1"], strict=True)
            if i not in context.near_duplicates and v is not None
        }
        for key, c in single.items()
    }
    kids = {key: c["kid"] for key, c in single.items() if c["kid"] is not None}
    return {
        "format_version": FORMAT_VERSION,
        "zero_step": rows,
        "near_duplicates": apart,
        "speedup": speedup,
        "final": final_rows(context, tasks, finished, curves),
        "curves": mean_curves(curves),
        "budgets": budget_rows(short, timing),
        "fleet": timing.get("fleet", []),
        "timing": {key: value for key, value in timing.items() if key != "fleet"},
        "goals": goals(zero_l1, kids, speedup, curves),
        "cut": cut,
        "feature_network": context.feature_network,
        "image_size": context.size,
    }


def finished_concepts(tasks: Sequence[FinetuneTask]) -> tuple[Finished, list[dict[str, Any]]]:
    """Return per (split, mode, pairs) the concepts whose every start is done, and a row wherever some are not."""
    wanted: dict[tuple[str, str, int], dict[str, bool]] = defaultdict(dict)
    for task in tasks:
        group = wanted[task.split, task.mode, task.pairs]
        for concept_id in task.concepts:
            group[concept_id] = group.get(concept_id, True) and task.cell_path(concept_id).exists()
    finished = {key: [name for name, done in group.items() if done] for key, group in wanted.items()}
    cut = [
        {"split": split, "mode": mode, "pairs": pairs, "concepts": len(names), "planned": len(planned)}
        for (split, mode, pairs), names in finished.items()
        if len(names) < len(planned := wanted[split, mode, pairs])
    ]
    return finished, cut


def finished_curves(tasks: Sequence[FinetuneTask], finished: Finished, timing: dict[str, Any]) -> list[Curve]:
    """Return the curves of all finished concepts."""
    return [
        curve_of(read_json(task.cell_path(concept_id)), timing)
        for task in tasks
        for concept_id in task.concepts
        if concept_id in finished[task.split, task.mode, task.pairs]
    ]


def curve_of(cell: dict[str, Any], timing: dict[str, Any]) -> Curve:
    """Return a cell's curve with its seconds: those of one network at a time, never those of a fleet."""
    steps = timing["step_seconds"]
    mode = "full" if cell["init"] == "scratch" else cell["mode"]
    return Curve(
        concept=cell["concept"],
        init=cell["init"],
        mode=cell["mode"],
        pairs=cell["pairs"],
        split=cell["split"],
        steps=tuple(cell["steps"]),
        l1=tuple(float("nan") if v is None else v for v in cell["l1"]),
        init_seconds=timing["init_seconds"].get(cell["init"], {}).get("total", 0.0),
        step_seconds=steps.get(cell["init"], steps.get(mode, 0.0)),
    )


def budget_rows(tasks: Sequence[FinetuneTask], timing: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what every start is after a few steps, on the concepts for which all starts of a mode are done."""
    groups: dict[tuple[str, str, int, int], list[FinetuneTask]] = defaultdict(list)
    for task in tasks:
        groups[task.split, task.mode, task.pairs, task.steps].append(task)
    rows = []
    for members in groups.values():
        finished, _ = finished_concepts(members)
        rows += finals(finished_curves(members, finished, timing))
    return rows


def final_rows(
    context: EvaluationContext, tasks: Sequence[FinetuneTask], finished: Finished, curves: Sequence[Curve]
) -> list[dict[str, Any]]:
    """Return `speedup.finals` with the other figures of pictures, KID of all of them pooled, and what diverged."""
    paths: dict[tuple[str, str, int, str], dict[str, Path]] = defaultdict(dict)
    for task in tasks:
        for concept_id in set(task.concepts) & set(finished[task.split, task.mode, task.pairs]):
            paths[task.split, task.mode, task.pairs, task.init][concept_id] = task.cell_path(concept_id)
    rows = finals(curves)
    for row in rows:
        members = sorted(paths[row["split"], row["mode"], row["pairs"], row["init"]].items())
        cells = [read_json(path) for _, path in members]
        stored = [load_file(path.with_suffix(".safetensors"))["features"].numpy() for _, path in members]
        count = min(map(len, stored))  # concepts with fewer test pairs have fewer
        mine = np.stack([own[:count] for own in stored])
        truth = np.stack([target_features(context, (concept_id,), count, count)[0] for concept_id, _ in members])
        kid, interval = pooled_kid(mine, truth, resamples=max(50, context.config.grid.resamples // 10))
        # null, a picture that was not finite, makes the mean null too
        values = {name: np.array([cell["final"][name] for cell in cells], dtype=float) for name in FIGURES}
        row |= middle_figures(values) | {
            "kid": kid,
            "kid_interval": list(interval),
            "feature_network": context.feature_network,
            "diverged": sum(cell["diverged"] for cell in cells),
            "learning_rate": cells[0]["learning_rate"],
        }
    return rows
