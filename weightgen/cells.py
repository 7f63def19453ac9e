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

from weightgen.bench import Bench, bench_of, finite, own_path, write_blocks
from weightgen.finetune_loop import EMA, KERNEL_RATE
from weightgen.grid import RANDOM
from weightgen.inits import Start, classic_unet, full_start, seeded, split
from weightgen.measure import render
from weightgen.zero_step import ZeroStepTask, evaluate_networks, features, quality, scratch_networks
from zoo.errors import WeightzooError
from zoo.files import read_json, write_json
from zoo.lora import merge, save_base
from zoo.tensors import write_tensors
from zoo.train_gan import GanTrainConfig, train_fleet


@dataclass(frozen=True)
class ZeroStepCell:
    """A zero-step cell of the evaluation in `out_dir`."""

    out_dir: str
    task: ZeroStepTask
    concepts: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.task.name

    @property
    def path(self) -> Path:
        return Path(self.out_dir) / "cells" / f"{self.name}.json"

    @property
    def paths(self) -> tuple[Path, ...]:
        return (self.path,)


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
        budget: see `weightgen.grid.FinetuneRow`; only the end is measured.
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

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(self.cell_path(concept_id) for concept_id in self.concepts)


Task = ZeroStepCell | OwnTask | FinetuneTask


def is_done(task: Task) -> bool:
    """Whether all files that the task leaves are there, and for the concepts that it has now."""
    if not all(path.exists() for path in task.paths):
        return False
    # an own adapter that was lost for the machine's reasons may be there by now
    is_own = isinstance(task, ZeroStepCell) and task.task.init == "own"
    return not is_own or read_json(task.paths[0])["concepts"] == list(task.concepts)


def run_cell(task: Task) -> str:
    """Does one task; returns "done", "kept" (its files were there) or "skipped" (past the deadline)."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    if is_done(task):
        return "kept"
    bench = bench_of(task.out_dir)
    if isinstance(task, OwnTask):
        train_own(bench, task)
    elif isinstance(task, ZeroStepCell):
        write_json(task.path, finite(zero_step(bench, task)))
    else:
        if task.deadline is not None and time.time() > task.deadline:
            return "skipped"
        finetune_concepts(bench, task)
    return "done"


def zero_step(bench: Bench, cell: ZeroStepCell) -> dict[str, Any]:
    """Per-concept quality of a method without training."""
    task = cell.task

    def outputs(ids: Sequence[str], sources: Tensor) -> Tensor:
        if task.init == "copy":
            return sources
        if task.init == "scratch":
            random = full_start(scratch_networks(bench.base, ids, bench.config.seed), bench.discriminator)
            return render(random.generator, random.params, sources)
        return render(bench.base, bench.start(task.init, ids, task.prompts), sources)

    return evaluate_networks(
        task,
        cell.concepts,
        bench.near_duplicates,
        outputs,
        bench.held_out,
        bench.config.grid,
        bench.size,
        bench.feature_network,
    )


def train_own(bench: Bench, task: OwnTask) -> None:
    """Trains adapters as the zoo's were: same base, discriminator, config and pairs (or all there are).

    Raises:
        WeightzooError: some diverged; all others are there.
    """
    count = bench.held_out.smallest(task.concepts, "train", bench.own_pairs)
    sources, targets = bench.held_out.stacked(task.concepts, "train", bench.size, count)
    result = train_fleet(bench.base, bench.discriminator, sources, targets, bench.own_training)
    blocks = bench.zoo.layout.to_blocks(result.params).half().float()
    for k, concept_id in enumerate(task.concepts):
        if not bool(result.diverged[k]):
            write_blocks(own_path(bench.out_dir, concept_id), [concept_id], blocks[k : k + 1])
    lost = [f"{concept_id} ({why})" for concept_id, why in zip(task.concepts, result.reasons, strict=True) if why]
    if lost:
        raise WeightzooError(f"own adapters that diverged: {', '.join(lost)}; evaluated without them")


def starting_point(bench: Bench, task: FinetuneTask) -> Start:
    """What a fine-tuning begins with; `weightgen.inits` says what full and adapter mode mean.

    Training from scratch knows nothing of the zoo: generator and discriminator are random.
    """
    ids, seed = task.concepts, bench.config.seed
    if task.init in RANDOM:
        judge = seeded(bench.discriminator.config.build, seed)
        if task.init == "scratch":
            return full_start(scratch_networks(bench.base, ids, seed), judge)
        return full_start([seeded(classic_unet(bench.size).build, seed)] * len(ids), judge)
    adapters = bench.start(task.init, ids)
    if task.mode == "adapter":
        return Start(bench.base, adapters, bench.discriminator)
    merged = [merge(bench.base, adapter) for adapter in split(adapters, len(ids))]
    return full_start(merged, bench.discriminator)


def training_of(bench: Bench, task: FinetuneTask) -> GanTrainConfig:
    """How the task is trained: with the zoo's discriminator, batches and beta1, averaged weights and slower kernels.

    `weightzoo finetune` has another beta1 and learning rate since; the rows of an evaluation stay comparable with one
    another and with those that were measured before.
    """
    return GanTrainConfig(
        steps=task.steps,
        learning_rate=task.learning_rate,
        mode="full" if task.init in RANDOM else task.mode,
        batch_size=bench.own_training.batch_size,
        discriminator_learning_rate=bench.own_training.discriminator_learning_rate,
        adversarial_weight=bench.own_training.adversarial_weight,
        seed=bench.config.seed,
        ema=EMA,
        kernel_rate=KERNEL_RATE,
    )


def finetune_concepts(bench: Bench, task: FinetuneTask) -> None:
    """Trains and measures; writes one cell per concept."""
    start = starting_point(bench, task)
    sources, targets = bench.held_out.stacked(task.concepts, "train", bench.size, task.pairs)
    curve = QualityCurve.of(bench, task, start.generator)
    result = train_fleet(
        start.generator, start.discriminator, sources, targets, training_of(bench, task), start.params, on_step=curve
    )
    if not (task.rate_trial or task.budget):
        final = features(bench.feature_network, curve.images[:, : bench.config.grid.kid_images])
        for k, concept_id in enumerate(task.concepts):
            path = task.cell_path(concept_id).with_suffix(".safetensors")
            write_tensors(path, {"features": torch.from_numpy(np.array(final[k]))})
            if concept_id in task.keep:
                path = bench.out_dir / "networks" / f"{task.cell_name(concept_id)}.safetensors"
                keep_network(path, bench, task, start.generator, {n: v[k] for n, v in result.params.items()})
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
            "feature_network": bench.feature_network,
        }
        write_json(task.cell_path(concept_id), finite(cell))


class QualityCurve:
    """What `train_fleet` calls at each step: the test quality of all concepts at the grid's points."""

    def __init__(self, generator: nn.Module, sources: Tensor, targets: Tensor, points: Sequence[int]) -> None:
        self.generator, self.sources, self.targets, self.points = generator, sources, targets, points
        self.steps: list[int] = []
        self.l1: list[list[float]] = []
        self.psnr: list[list[float]] = []
        self.images = targets  # the last outputs, [K, N, 3, S, S]

    @classmethod
    def of(cls, bench: Bench, task: FinetuneTask, generator: nn.Module) -> QualityCurve:
        count = bench.held_out.smallest(task.concepts, "test", bench.config.grid.test_images)
        sources, targets = bench.held_out.stacked(task.concepts, "test", bench.size, count)
        points = (task.steps,) if task.rate_trial or task.budget else bench.config.grid.points_of(task.steps)
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
    path: Path, bench: Bench, task: FinetuneTask, generator: nn.Module, params: Mapping[str, Tensor]
) -> None:
    """Stores a fine-tuned generator, merged, so that `zoo.lora.load_generator` reads it."""
    if task.mode == "adapter" and task.init not in RANDOM:
        network = merge(bench.base, params)
    else:
        network = generator.config.build()
        network.load_state_dict(dict(params))
    save_base(path, network)
