"""One fleet: K concepts trained at once, measured, gated and written as one shard. Runs inside a worker."""

import functools
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from pipeline.build_config import BuildConfig
from pipeline.executors.process import prepare_process
from pipeline.fleets.rendering import FleetImages, fleet_images, render_concept
from pipeline.fleets.shared import TrainingContext, check_own_files, load_render_context, load_training_context
from pipeline.run_folder.fleet_files import FleetSummary, row, write_fleet
from pipeline.run_folder.pair_shards import Targets, targets_path, write_targets
from pipeline.run_folder.shard_plan import FleetTask
from zoo.concepts import Concept
from zoo.pictures.metrics import decisive, kid, l1, psnr
from zoo.records import WeightRecord
from zoo.training.batches import material_of
from zoo.training.solved_outputs import with_solved_outputs
from zoo.training.train_gan import FleetResult, GanTrainConfig, initial_params, run_generators, train_fleet
from zoo.verify import MAX_ABSOLUTE_WEIGHT

PIXELS_AT_ONCE = 2**22  # one tensor of 64 channels takes a gigabyte


@dataclass(frozen=True)
class Trained:
    """One attempt at one concept: its weights as stored and how good they are."""

    concept: Concept
    blocks: Tensor
    metrics: dict[str, float]
    step: int
    attempt: int
    reason: str | None


def run_fleet(task: FleetTask) -> FleetSummary:
    """Train, measure, gate and write one shard.

    Raises:
        WeightzooError: the run folder is damaged or a file cannot be written.
    """
    clock = _Clock()
    context = _training_context(task.run_dir, task.device)
    prepare_process(context.config.threads)
    clock.lap("load")
    images = fleet_images(context, task)
    clock.lap("teacher")
    done = train_and_measure(context, images) if images.concepts else []
    clock.lap("train")
    records = [_record(item, context.config) for item in done if item.reason is None]
    rejected = [row(item.concept, "rejected", item.reason, item.metrics, item.attempt) for item in done if item.reason]
    summary = write_fleet(task, records, rejected + images.failed)
    clock.lap("write")
    return replace(summary, seconds=clock.laps)


def run_teacher(task: FleetTask) -> float:
    """Let an expensive teacher render the targets of a fleet and store them; returns seconds."""
    started = time.perf_counter()
    context = _render_context(task.run_dir, task.device)
    context.teacher.prepare(task.device)
    check_own_files(Path(task.run_dir), context.teacher, task.concepts)
    prepare_process(context.config.threads)
    targets: dict[str, Targets | str] = {}
    for concept in task.concepts:
        pairs = render_concept(context, concept)
        if isinstance(pairs, str):
            targets[concept.id] = pairs
        elif not all(bool(torch.isfinite(images).all()) for images in pairs):
            targets[concept.id] = "the teacher's pictures are not finite"
        else:
            targets[concept.id] = (pairs[1], pairs[3])
    if not targets_path(task).exists():
        write_targets(task, targets)
    return round(time.perf_counter() - started, 3)


def train_and_measure(context: TrainingContext, images: FleetImages) -> list[Trained]:
    """Train all concepts at once, and those that diverge or miss the gate once more at half the rate."""
    done = _attempt(context, images, context.config.training, attempt=1)
    missed = [i for i, item in enumerate(done) if item.reason is not None]
    if missed:
        second = _attempt(context, images.pick(missed), context.config.retry_training(), attempt=2)
        for i, item in zip(missed, second, strict=True):
            done[i] = item
    return done


@torch.no_grad()
def measure(context: TrainingContext, blocks: Tensor, sources: Tensor, targets: Tensor) -> list[dict[str, float]]:
    """Return the quality of the weights as stored (float16), one dict per concept.

    Args:
        blocks: float16 [K, num_blocks, block_size].
        sources: [N, 3, S, S] or [K, N, 3, S, S];  targets: [K, N, 3, S, S].
    """
    params = context.layout.from_blocks(blocks.float())
    parts = [
        run_generators(context.generator, params, part) for part in sources.split(crops_at_once(context.config), dim=-4)
    ]
    images = torch.cat(parts, 1).clamp(0, 1)
    rows = []
    for own, source, target in zip(images, sources.expand_as(targets), targets, strict=True):
        finite = bool(torch.isfinite(own).all() and torch.isfinite(target).all())
        distance = kid(context.features(own), context.features(target), paired=True) if finite else math.nan
        rows.append(
            {
                "l1": l1(own, target).mean().item(),
                "l1_copy": l1(source, target).mean().item(),
                "psnr": psnr(own, target).mean().item(),
                "kid": float(distance),
            }
        )
    return rows


def crops_at_once(config: BuildConfig) -> int:
    """Return how many test crops of each concept are measured in one call: no more for a part of a fleet."""
    return max(1, PIXELS_AT_ONCE // (config.fleet_size * config.image_size**2))


_training_context = functools.lru_cache(maxsize=1)(load_training_context)
_render_context = functools.lru_cache(maxsize=1)(load_render_context)


def _attempt(context: TrainingContext, images: FleetImages, training: GanTrainConfig, attempt: int) -> list[Trained]:
    sources = images.train_sources if images.train_sources.dim() == 5 else context.seen
    material = material_of(context.generator, sources, images.train_targets, training.seed)
    start = initial_params(context.generator, training.mode, len(images.concepts))
    initial = with_solved_outputs(context.generator, start, material, training.seed)
    result = train_fleet(context.generator, context.discriminator, material, training, initial)
    blocks = context.layout.to_blocks(result.params).half().cpu()
    metrics = measure(context, blocks.to(images.test_targets.device), images.test_sources, images.test_targets)
    reasons = [_gate(context.config, result, blocks[k], metrics[k], k) for k in range(len(images.concepts))]
    return [
        Trained(concept, blocks[k], metrics[k], result.steps, attempt, reasons[k])
        for k, concept in enumerate(images.concepts)
    ]


def _gate(config: BuildConfig, result: FleetResult, blocks: Tensor, metrics: dict[str, float], k: int) -> str | None:
    """Return why concept `k` is not good enough, or `None`."""
    if bool(result.diverged[k]):
        return f"diverged: {result.reasons[k]}"
    if not bool(torch.isfinite(blocks).all()):
        return "weights are not finite in float16"
    if (largest := float(blocks.abs().max())) > MAX_ABSOLUTE_WEIGHT:
        return f"a weight of {largest:g} is beyond +-{MAX_ABSOLUTE_WEIGHT:g}"
    if not all(math.isfinite(value) for value in metrics.values()):
        return "a metric is not finite"
    limit = config.gate_limit(metrics["l1_copy"])
    above = decisive(metrics["l1"]) > decisive(limit)
    return f"l1 {metrics['l1']:.4f} is above the gate {limit:.4f}" if above else None


def _record(item: Trained, config: BuildConfig) -> WeightRecord:
    concept = item.concept
    return WeightRecord(
        concept_id=concept.id,
        prompt=concept.prompt,
        paraphrases=concept.paraphrases,
        attributes=concept.attributes,
        split=concept.split,
        seed=config.training.seed,
        step=item.step,
        attempt=item.attempt,
        blocks=item.blocks.numpy(),
        metrics=item.metrics,
    )


class _Clock:
    """Seconds between laps, by name."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = round(now - self._last, 3)
        self._last = now
