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

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from weightgen.evaluation.context import EvaluationContext, finite, load_context, own_path, write_blocks
from weightgen.evaluation.zero_step import ZeroStepCell, features, quality, scratch_networks, zero_step
from weightgen.finetuning.loop import EMA, KERNEL_RATE
from weightgen.finetuning.measure import render
from weightgen.finetuning.starts import RANDOM, Start, classic_unet, full_start, seeded, split
from zoo.adapters.lora import merge, save_base
from zoo.errors import WeightzooError
from zoo.files import read_json, write_json
from zoo.tensors import write_tensors
from zoo.training.train_gan import GanTrainConfig, train_fleet


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
    """Fine-tuning of some concepts, each on its own pairs, all with one learning rate.

    Args:
        rate_trial: the learning rate is being chosen: cells go to `rates/`.
        deadline: seconds since the epoch after which the task is not begun any more.
        keep: concepts whose final network is kept for the report's pictures.
        budget: see `weightgen.evaluation.grid.FinetuneRow`; only the end is measured.
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
        finetune_concepts(context, task)
    return "done"


def train_own(context: EvaluationContext, task: OwnTask) -> None:
    """Train adapters as the zoo's were: same base, discriminator, config and pairs (or all there are).

    Raises:
        WeightzooError: some diverged; all others are there.
    """
    count = context.held_out.smallest(task.concepts, "train", context.own_pairs)
    sources, targets = context.held_out.stacked(task.concepts, "train", context.size, count)
    result = train_fleet(context.base, context.discriminator, sources, targets, context.own_training)
    blocks = context.zoo.layout.to_blocks(result.params).half().float()
    for k, concept_id in enumerate(task.concepts):
        if not bool(result.diverged[k]):
            write_blocks(own_path(context.out_dir, concept_id), [concept_id], blocks[k : k + 1])
    lost = [f"{concept_id} ({why})" for concept_id, why in zip(task.concepts, result.reasons, strict=True) if why]
    if lost:
        raise WeightzooError(f"own adapters that diverged: {', '.join(lost)}; evaluated without them")


def starting_point(context: EvaluationContext, task: FinetuneTask) -> Start:
    """Return what a fine-tuning begins with; `weightgen.finetuning.starts` says what full and adapter mode mean.

    Training from scratch knows nothing of the zoo: generator and discriminator are random.
    """
    ids, seed = task.concepts, context.config.seed
    if task.init in RANDOM:
        discriminator = seeded(context.discriminator.config.build, seed)
        if task.init == "scratch":
            return full_start(scratch_networks(context.base, ids, seed), discriminator)
        return full_start([seeded(classic_unet(context.size).build, seed)] * len(ids), discriminator)
    adapters = context.start(task.init, ids)
    if task.mode == "adapter":
        return Start(context.base, adapters, context.discriminator)
    merged = [merge(context.base, adapter) for adapter in split(adapters, len(ids))]
    return full_start(merged, context.discriminator)


def training_of(context: EvaluationContext, task: FinetuneTask) -> GanTrainConfig:
    """Return the task's training: the zoo's discriminator, batches and beta1, averaged weights and slower kernels.

    Zoos that were built before `weightzoo finetune` had its beta1 and learning rate have others: the rows of their
    evaluations stay comparable with those that were measured before.
    """
    return GanTrainConfig(
        steps=task.steps,
        learning_rate=task.learning_rate,
        mode="full" if task.init in RANDOM else task.mode,
        batch_size=context.own_training.batch_size,
        discriminator_learning_rate=context.own_training.discriminator_learning_rate,
        adversarial_weight=context.own_training.adversarial_weight,
        seed=context.config.seed,
        ema=EMA,
        kernel_rate=KERNEL_RATE,
        beta1=context.own_training.beta1,
    )


def finetune_concepts(context: EvaluationContext, task: FinetuneTask) -> None:
    """Train and measure the concepts of a task, and write one cell for each."""
    start = starting_point(context, task)
    sources, targets = context.held_out.stacked(task.concepts, "train", context.size, task.pairs)
    curve = QualityCurve.of(context, task, start.generator)
    result = train_fleet(
        start.generator, start.discriminator, sources, targets, training_of(context, task), start.params, on_step=curve
    )
    if not (task.rate_trial or task.budget):
        keep_features(context, task, curve.images)
    for k, concept_id in enumerate(task.concepts):
        if concept_id in task.keep:
            params = {name: value[k] for name, value in result.params.items()}
            keep_network(task.network_path(concept_id), context, task, start.generator, params)
    for k, concept_id in enumerate(task.concepts):
        cell = {
            "concept": concept_id,
            "split": task.split,
            "init": task.init,
            "mode": task.mode,
            "pairs": task.pairs,
            "learning_rate": task.learning_rate,
            **curve.of_concept(k),
            "diverged": bool(result.diverged[k]),
            "fleet": len(task.concepts),
            "fleet_seconds": result.seconds,
            "feature_network": context.feature_network,
        }
        write_json(task.cell_path(concept_id), finite(cell))


def keep_features(context: EvaluationContext, task: FinetuneTask, images: Tensor) -> None:
    """Store the features of the final images [K, N, 3, S, S], from which KID is computed in the end."""
    final = features(context.feature_network, images[:, : context.config.grid.kid_images])
    for k, concept_id in enumerate(task.concepts):
        path = task.cell_path(concept_id).with_suffix(".safetensors")
        write_tensors(path, {"features": torch.from_numpy(np.array(final[k]))})


class QualityCurve:
    """The test quality of all concepts at the grid's points; `train_fleet` calls it at each step."""

    def __init__(self, generator: nn.Module, sources: Tensor, targets: Tensor, points: Sequence[int]) -> None:
        self.generator, self.sources, self.targets, self.points = generator, sources, targets, points
        self.steps: list[int] = []
        self.l1: list[list[float]] = []
        self.psnr: list[list[float]] = []
        self.images = targets  # the last outputs, [K, N, 3, S, S]

    @classmethod
    def of(cls, context: EvaluationContext, task: FinetuneTask, generator: nn.Module) -> QualityCurve:
        count = context.held_out.smallest(task.concepts, "test", context.config.grid.test_images)
        sources, targets = context.held_out.stacked(task.concepts, "test", context.size, count)
        points = (task.steps,) if task.rate_trial or task.budget else context.config.grid.points_of(task.steps)
        return cls(generator, sources, targets, points)

    def __call__(self, step: int, _: float, params: Mapping[str, Tensor]) -> None:
        if step not in self.points:
            return
        self.images = render(self.generator, params, self.sources)
        l1, psnr = quality(self.images, self.targets)
        self.steps.append(step)
        self.l1.append(l1)
        self.psnr.append(psnr)

    def of_concept(self, k: int) -> dict[str, Any]:
        return {
            "steps": self.steps,
            "l1": [values[k] for values in self.l1],
            "psnr": [values[k] for values in self.psnr],
            "test_images": self.targets.shape[1],
        }


def keep_network(
    path: Path, context: EvaluationContext, task: FinetuneTask, generator: nn.Module, params: Mapping[str, Tensor]
) -> None:
    """Store a fine-tuned generator, merged, so that `zoo.adapters.lora.load_generator` reads it."""
    if task.mode == "adapter" and task.init not in RANDOM:
        network = merge(context.base, params)
    else:
        network = generator.config.build()
        network.load_state_dict(dict(params))
    save_base(path, network)
