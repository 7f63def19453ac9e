"""The cells of an evaluation: each a task that a process can do alone and that leaves its own files behind.

    OUT/cells/zero-<split>-<init>-<prompts>.json
    OUT/cells/fine-<mode>-<pairs>-<init>-<concept>.json (+ .safetensors: features of the final images)
    OUT/cells/fine-in-<steps>-<mode>-...json   what a start is after a short training
    OUT/rates/rate-...json                     the same while learning rates are chosen
    OUT/networks/<same name>.safetensors       fine-tuned generators, of the concepts that the report shows

    run_cell(FinetuneTask(str(out), "combination", 16, "full", "polished", ("some-concept",), 200, 1e-3))

A file that exists is done. Whatever a task needs is read from OUT, so tasks are small and any process can run
them.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from weightgen.evaluation.context import EvaluationContext, load_context, own_path, write_blocks
from weightgen.evaluation.grid import PAIR_METHODS, UNTRAINED
from weightgen.evaluation.pair_methods import network_of_pairs
from weightgen.evaluation.zero_step import ZeroStepCell, edit_all, features, zero_step
from weightgen.finetuning.best import kept_rows
from weightgen.finetuning.loop import FinetuneConfig, Finetuned, finetune_many
from weightgen.finetuning.measure import PairTensors, render
from weightgen.finetuning.starts import RANDOM, Start, random_start, start_from_adapters
from zoo.adapters.lora import merge, save_base
from zoo.errors import WeightzooError
from zoo.files import finite, read_json, write_json
from zoo.pictures.metrics import figures
from zoo.tensors import write_tensors
from zoo.training.batches import material_of
from zoo.training.solved_outputs import with_solved_outputs
from zoo.training.train_gan import initial_params, train_fleet


@dataclass(frozen=True)
class OwnTask:
    """Adapters trained like zoo records, a fleet at once."""

    out_dir: str
    concepts: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"own-{self.concepts[0]}-{len(self.concepts)}"

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(own_path(Path(self.out_dir), concept_id) for concept_id in self.concepts)


@dataclass(frozen=True)
class FinetuneTask:
    """Fine-tuning of some concepts, each on its own pairs, all with one learning rate; or what stands beside it.

    Args:
        rate_trial: the learning rate is being chosen: cells go to `rates/`.
        deadline: seconds since the epoch after which the task is not begun any more.
        keep: concepts whose final network is kept for the report's pictures.
        budget: see `weightgen.evaluation.grid.FinetuneRow`.
    """

    out_dir: str
    split: str
    pairs: int
    mode: str
    init: str
    concepts: tuple[str, ...]
    steps: int
    learning_rate: float
    rate_trial: bool = False
    deadline: float | None = None
    keep: tuple[str, ...] = ()
    budget: bool = False

    @property
    def name(self) -> str:
        return f"{self.mode}-{self.pairs}-{self.init}-{self.concepts[0]}"

    def cell_name(self, concept_id: str) -> str:
        steps = f"-in-{self.steps}" if self.budget else ""
        return f"fine{steps}-{self.mode}-{self.pairs}-{self.init}-{concept_id}"

    def cell_path(self, concept_id: str) -> Path:
        if self.rate_trial:
            trial = f"rate-{self.mode}-{self.pairs}-{self.init}-{self.learning_rate:g}-{concept_id}"
            return Path(self.out_dir) / "rates" / f"{trial}.json"
        return Path(self.out_dir) / "cells" / f"{self.cell_name(concept_id)}.json"

    def network_path(self, concept_id: str) -> Path:
        return Path(self.out_dir) / "networks" / f"{self.cell_name(concept_id)}.safetensors"

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(self.cell_path(concept_id) for concept_id in self.concepts)


Task = ZeroStepCell | OwnTask | FinetuneTask


def is_done(task: Task) -> bool:
    """Return whether all files that the task leaves are there, and for the concepts that it has now."""
    if not all(path.exists() for path in task.paths):
        return False
    # an own adapter that was lost for the machine's reasons may be there by now
    is_own = isinstance(task, ZeroStepCell) and task.init == "own"
    return not is_own or read_json(task.paths[0])["concepts"] == list(task.concepts)


def run_cell(task: Task) -> str:
    """Do one task and return "done", "kept" (its files were there) or "skipped" (past the deadline)."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    if is_done(task):
        return "kept"
    context = load_context(task.out_dir)
    if isinstance(task, OwnTask):
        train_own(context, task)
    elif isinstance(task, ZeroStepCell):
        write_json(task.path, finite(zero_step(context, task)))
    else:
        if task.deadline is not None and time.time() > task.deadline:
            return "skipped"
        (measure_untrained if task.init in UNTRAINED else finetune_concepts)(context, task)
    return "done"


def train_own(context: EvaluationContext, task: OwnTask) -> None:
    """Train adapters as the zoo's were: same base, discriminator, config and pairs (or all there are).

    Raises:
        WeightzooError: some diverged; all others are there.
    """
    count = context.held_out.smallest(task.concepts, "train", context.own_pairs)
    sources, targets = context.held_out.stacked(task.concepts, "train", context.size, count)
    origins = context.origins
    training = context.own_training
    material = material_of(origins.base, sources, targets, training.seed)
    start = initial_params(origins.base, training.mode, len(task.concepts))
    initial = with_solved_outputs(origins.base, start, material, training.seed)
    result = train_fleet(origins.base, origins.discriminator, material, training, initial)
    blocks = origins.zoo.layout.to_blocks(result.params).half().float()
    for k, concept_id in enumerate(task.concepts):
        if not bool(result.diverged[k]):
            write_blocks(own_path(context.out_dir, concept_id), [concept_id], blocks[k : k + 1])
    lost = [f"{concept_id} ({why})" for concept_id, why in zip(task.concepts, result.reasons, strict=True) if why]
    if lost:
        raise WeightzooError(f"own adapters that diverged: {', '.join(lost)}; evaluated without them")


def start_of(context: EvaluationContext, init: str, mode: str, concepts: tuple[str, ...]) -> Start:
    """Return what `weightgen.finetuning.starts.make_start` gives, from the weights that the evaluation has stored."""
    if init in RANDOM:
        return random_start(init, len(concepts), context.origins)
    return start_from_adapters(context.start(init, concepts), context.origins, mode)


def finetune_config(context: EvaluationContext, task: FinetuneTask) -> FinetuneConfig:
    """Return the settings of `weightzoo finetune`, with what the task decides; on one processor."""
    return FinetuneConfig(
        mode="full" if task.init in RANDOM else task.mode,
        steps=task.steps,
        learning_rate=task.learning_rate,
        feature_network=None,
        seed=context.config.seed,
        device="cpu",
    )


def finetune_concepts(context: EvaluationContext, task: FinetuneTask) -> None:
    """Fine-tune the concepts of a task as a user's are, and write one cell for each.

    A cell has the quality of the best network by each step: what is handed over if the training ends there.
    """
    count = context.held_out.smallest(task.concepts, "test", context.config.grid.test_images)
    tensors = PairTensors(
        *context.held_out.stacked(task.concepts, "train", context.size, task.pairs),
        *context.held_out.stacked(task.concepts, "test", context.size, count),
    )
    config = finetune_config(context, task)
    done = finetune_many(start_of(context, task.init, config.mode, task.concepts), tensors, config)
    curves = kept_rows(done.rows, "train_error")
    for k, concept_id in enumerate(task.concepts):
        if concept_id in task.keep:
            save_base(task.network_path(concept_id), network_of(done, k))
        final = {}
        if not (task.rate_trial or task.budget):
            own = {name: value[k : k + 1] for name, value in done.params.items()}
            (edited,) = render(done.start.generator, own, tensors.test_sources[k : k + 1])
            final = measure_final(context, task, concept_id, edited, tensors.test_targets[k])
        cell = head_of(context, task, concept_id) | {
            "learning_rate": task.learning_rate,
            "steps": [row["step"] for row in done.rows[k]],
            "l1": [row["l1"] for row in curves[k]],
            "psnr": [row["psnr"] for row in curves[k]],
            "final": final,
            "test_images": count,
            "diverged": bool(done.result.diverged[k]),
            "fleet": len(task.concepts),
            "fleet_seconds": done.result.seconds,
        }
        write_json(task.cell_path(concept_id), finite(cell))


def measure_untrained(context: EvaluationContext, task: FinetuneTask) -> None:
    """Write the cells of what is no start of a fine-tuning but stands beside it, on the same pairs: one figure each."""
    count = context.held_out.smallest(task.concepts, "test", context.config.grid.test_images)
    for concept_id in task.concepts:
        (sources,), (targets,) = context.held_out.stacked((concept_id,), "test", context.size, count)
        edited = sources
        if task.init in PAIR_METHODS:
            (befores,), (afters,) = context.held_out.stacked((concept_id,), "train", context.size, task.pairs)
            generator = network_of_pairs(context, task.init, concept_id, list(zip(befores, afters, strict=True)))
            edited = edit_all(generator, sources)
            if concept_id in task.keep:
                save_base(task.network_path(concept_id), generator)
        final = measure_final(context, task, concept_id, edited, targets)
        cell = head_of(context, task, concept_id) | {
            "learning_rate": None,
            "steps": [0],
            "l1": [final["l1"]],
            "psnr": [final["psnr"]],
            "final": final,
            "test_images": count,
            "diverged": False,
        }
        write_json(task.cell_path(concept_id), finite(cell))


def head_of(context: EvaluationContext, task: FinetuneTask, concept_id: str) -> dict[str, Any]:
    """Return what tells a cell from others."""
    return {
        "concept": concept_id,
        "split": task.split,
        "init": task.init,
        "mode": task.mode,
        "pairs": task.pairs,
        "feature_network": context.feature_network,
    }


def measure_final(
    context: EvaluationContext, task: FinetuneTask, concept_id: str, edited: Tensor, targets: Tensor
) -> dict[str, float]:
    """Return the mean figures of a concept's edited test images [N, 3, S, S], and store their features, for KID."""
    (own,) = features(context.feature_network, edited[None, : context.config.grid.kid_images])
    write_tensors(task.cell_path(concept_id).with_suffix(".safetensors"), {"features": torch.tensor(own)})
    return {name: float(values.mean()) for name, values in figures(edited, targets).items()}


def network_of(done: Finetuned, k: int = 0) -> nn.Module:
    """Return the best network of concept k, merged."""
    generator, params = done.start.generator, {name: value[k] for name, value in done.params.items()}
    if done.start.base is not None:
        return merge(generator, params)
    generator = copy.deepcopy(generator)
    generator.load_state_dict(generator.state_dict() | params)
    return generator
