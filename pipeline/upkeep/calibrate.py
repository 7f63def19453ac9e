"""What a build will cost, from a calibration fleet of a few steps: `weightzoo build --dry-run`."""

import math
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch

from pipeline.build_config import BuildConfig
from pipeline.executors.local import run_local
from pipeline.executors.process import peak_memory, prepare_process, present_memory
from pipeline.fleets.fleet import crops_at_once, train_and_measure
from pipeline.fleets.rendering import render
from pipeline.fleets.shared import load_training_context
from pipeline.run_folder.freeze import freeze
from pipeline.run_folder.shard_plan import FleetTask, plan_run, record_bytes
from zoo.adapters.lora import save_base
from zoo.concepts import Concept
from zoo.errors import WeightzooError
from zoo.gans.solved import SolvedConfig
from zoo.tensors import save_discriminator

CALIBRATION_STEPS = 6
PIXELS_ON_A_CPU = 16 * 64 * 64  # concepts x side^2 that a CPU trains in seconds a step
CROPS_ON_A_CPU = 16


@dataclass(frozen=True)
class Measured:
    """What a calibration fleet takes: seconds a step, for its pictures and for measuring; bytes beyond the pictures."""

    per_step: float
    rendering: float
    measuring: float
    bytes: int


def calibrate(
    config: BuildConfig,
    concepts: Sequence[Concept] | None = None,
    workers: int = 2,
    device: str = "cpu",
    base_is_given: bool = False,
    gpus_per_fleet: float = 0.0,
    steps: int = CALIBRATION_STEPS,
) -> dict[str, float]:
    """Train one fleet for `steps` steps in a temporary folder and scale its seconds to the whole build.

    As many calibration fleets run side by side as one machine of the build will run, so that they slow each other
    down as the real ones will. On a CPU a part of a fleet that would take minutes a step is measured, and scaled.

    Args:
        gpus_per_fleet: what a fleet will occupy of a GPU; default on a GPU: the share of one worker.

    Returns:
        concepts, fleets, shards, bytes (of all weight shards), workers, measured_concepts (of the calibration fleet),
        fleet_gigabytes (pictures and training), base_minutes and fleet_minutes (one process each), minutes (of the
        whole build), concepts_per_minute and gpu_hours (of all fleets).
    """
    with tempfile.TemporaryDirectory(prefix="weightzoo-plan-") as folder:
        run_dir = Path(folder)
        few = fewer_crops(config, device)
        concepts = freeze(run_dir, few, concepts)
        write_untrained_base(run_dir, config)
        tasks = plan_run(run_dir, device)
        fleet = max(tasks, key=lambda task: len(task.concepts))
        part = replace(fleet, concepts=fleet.concepts[: most_concepts(config, device)])
        measured = time_fleets(part, steps, side_by_side(workers, device, gpus_per_fleet))
        row_bytes = record_bytes(run_dir)
    size, times = len(fleet.concepts), len(fleet.concepts) / len(part.concepts)
    per_step = times * measured.per_step
    fleet_seconds = per_step * config.training.steps + times * (
        measured.rendering * num_crops(config) / num_crops(few)
        + measured.measuring * config.num_test_crops / few.num_test_crops
    )
    picture_bytes = size * num_crops(config) * 3 * config.image_size**2 * 4
    base_seconds = 0.0 if base_is_given else per_step * config.base.steps * base_share(config, size)
    rounds = math.ceil(len(tasks) / workers)
    gpus = gpus_per_fleet or (0.0 if device == "cpu" else 1 / workers)
    return {
        "concepts": len(concepts),
        "fleets": len(tasks),
        "shards": len(tasks),
        "bytes": len(concepts) * row_bytes,
        "workers": workers,
        "measured_concepts": len(part.concepts),
        "fleet_gigabytes": three((picture_bytes + times * measured.bytes) / 1e9),
        "base_minutes": three(base_seconds / 60),
        "fleet_minutes": three(fleet_seconds / 60),
        "minutes": three((base_seconds + rounds * fleet_seconds) / 60),
        "concepts_per_minute": three(60 * workers * size / fleet_seconds),
        "gpu_hours": three(len(tasks) * fleet_seconds * gpus / 3600),
    }


def base_share(config: BuildConfig, fleet_size: int) -> float:
    """Return what a step of the base costs, as a share of a fleet's: a step of as many pictures costs about as much."""
    pictures = config.base.concepts_per_step * config.base.batch_size
    return pictures / (fleet_size * config.training.batch_size)


def side_by_side(workers: int, device: str, gpus_per_fleet: float) -> int:
    """Return how many `workers` fit on a machine like this one, with a core or their share of a GPU each."""
    if device == "cpu":
        return min(workers, os.cpu_count() or 1)
    return min(workers, max(1, int(1 / gpus_per_fleet))) if gpus_per_fleet else workers


def three(value: float) -> float:
    """Return rounded to three digits."""
    return float(f"{value:.3g}")


def most_concepts(config: BuildConfig, device: str) -> int:
    """Return how many concepts of a fleet are measured."""
    if device != "cpu" or isinstance(config.generator_config(), SolvedConfig):  # whose steps are as short at any size
        return config.fleet_size
    return max(1, min(config.fleet_size, PIXELS_ON_A_CPU // config.image_size**2))


def fewer_crops(config: BuildConfig, device: str) -> BuildConfig:
    """Return the config with as many crops as are rendered here: all of them, or a few for a part of a fleet."""
    if most_concepts(config, device) == config.fleet_size:
        return config
    # as many test crops as a real fleet measures at once, so that its memory is seen
    train, test = CROPS_ON_A_CPU, max(CROPS_ON_A_CPU, crops_at_once(config))
    return replace(
        config, num_train_crops=min(train, config.num_train_crops), num_test_crops=min(test, config.num_test_crops)
    )


def num_crops(config: BuildConfig) -> int:
    """Return how many crops one concept of a build is taught with."""
    return config.num_train_crops + config.num_test_crops


def time_fleets(task: FleetTask, steps: int, workers: int) -> Measured:
    """Return the worst of `workers` equal fleets side by side.

    Raises:
        WeightzooError: a fleet failed.
    """
    measured: list[Measured] = []
    for outcome in run_local([(task, steps)] * workers, time_fleet, workers=workers):
        if outcome.error:
            raise WeightzooError(f"the calibration fleet failed: {outcome.error}")
        measured.append(outcome.result)
    worst = (max(getattr(own, field.name) for own in measured) for field in fields(Measured))
    return Measured(*worst)


def time_fleet(job: tuple[FleetTask, int]) -> Measured:
    """Train the task's concepts for a few steps. Runs inside a worker."""
    task, steps = job
    context = load_training_context(task.run_dir, task.device)
    prepare_process(context.config.threads)
    started = time.perf_counter()
    images = render(context, task.concepts)
    rendered = time.perf_counter()
    if not images.concepts:
        raise WeightzooError("the teacher refuses every concept of the calibration fleet")
    seconds, before = [], present_bytes(task.device)
    for count in (1, 1 + steps):  # the difference leaves out compilation, measuring and copying
        # nothing can miss this gate, so nothing is trained twice
        config = replace(
            context.config, training=replace(context.config.training, steps=count), median_l1=1.0, gate_factor=1e9
        )
        begin = time.perf_counter()
        train_and_measure(replace(context, config=config), images)
        seconds.append(time.perf_counter() - begin)
    per_step = max(seconds[1] - seconds[0], 1e-6) / steps
    measuring = max(seconds[0] - per_step, 0.0)
    return Measured(per_step, rendered - started, measuring, peak_bytes(task.device) - before)


def present_bytes(device: str) -> int:
    """Return what this process occupies now, of the GPU or of the machine's memory; on a GPU the peak begins anew."""
    if device == "cpu":
        return present_memory()
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def peak_bytes(device: str) -> int:
    """Return the most that this process has occupied so far, of the GPU or of the machine's memory."""
    return peak_memory() if device == "cpu" else torch.cuda.max_memory_allocated(device)


def write_untrained_base(run_dir: Path, config: BuildConfig) -> None:
    """Write a base of random weights, for what needs its shapes and its cost only."""
    torch.manual_seed(0)
    save_base(run_dir / "base" / "generator.safetensors", config.generator_config().build())
    save_discriminator(run_dir / "base" / "discriminator.safetensors", config.discriminator.build())
