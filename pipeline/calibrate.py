"""What a build will cost, from a calibration fleet of a few steps: ``weightzoo build --dry-run``."""

import math
import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from pipeline.build_config import BuildConfig
from pipeline.fleet import train_and_measure
from pipeline.freeze import freeze
from pipeline.local_workers import run_local
from pipeline.plan import FleetTask, plan_run, record_bytes
from pipeline.rendering import render
from pipeline.workbench import load_workbench, prepare_process
from zoo.concepts import Concept
from zoo.errors import WeightzooError
from zoo.lora import save_base
from zoo.tensors import save_discriminator

CALIBRATION_STEPS = 6
PIXELS_ON_A_CPU = 16 * 64 * 64  # concepts x side^2 that a CPU trains in seconds a step
CROPS_ON_A_CPU = 16


@dataclass(frozen=True)
class Measured:
    """What a calibration fleet takes: seconds a step, seconds for its pictures and for all else, bytes for training."""

    per_step: float
    rendering: float
    rest: float
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
    """Train one fleet for ``steps`` steps in a temporary folder and scale its seconds to the whole build.

    As many calibration fleets run side by side as there are workers, so that they slow each other down as the
    real ones will. On a CPU a part of a fleet that would take minutes a step is measured, and scaled.

    Args:
        gpus_per_fleet: what a fleet will occupy of a GPU; default on a GPU: the share of one worker.

    Returns:
        concepts, fleets, shards, bytes (of all weight shards), workers, measured_concepts (of the calibration fleet),
        fleet_gigabytes (pictures and training), base_minutes and fleet_minutes (one process each), minutes (of the
        whole build), concepts_per_minute and gpu_hours (of all fleets).
    """
    with tempfile.TemporaryDirectory(prefix="weightzoo-plan-") as folder:
        run_dir = Path(folder)
        most, crops = measured_part(config, device)
        few = replace(
            config,
            num_train_crops=min(crops, config.num_train_crops),
            num_test_crops=min(crops, config.num_test_crops),
        )
        concepts = freeze(run_dir, few, concepts)
        write_untrained_base(run_dir, config)
        tasks = plan_run(run_dir, device)
        fleet = max(tasks, key=lambda task: len(task.concepts))
        part = replace(fleet, concepts=fleet.concepts[:most])
        measured: list[Measured] = []
        for outcome in run_local([(part, steps)] * workers, time_fleet, workers=workers):
            if outcome.error:
                raise WeightzooError(f"the calibration fleet failed: {outcome.error}")
            measured.append(outcome.result)
        row_bytes = record_bytes(run_dir)
    times = len(fleet.concepts) / len(part.concepts)
    pictures = config.num_train_crops + config.num_test_crops
    times_pictures = times * pictures / (few.num_train_crops + few.num_test_crops)
    per_step = times * max(own.per_step for own in measured)
    fixed = max(times_pictures * own.rendering + times * own.rest for own in measured)
    fleet_seconds = fixed + per_step * config.training.steps
    picture_bytes = len(fleet.concepts) * pictures * 3 * config.image_size**2 * 4
    fleet_bytes = picture_bytes + times * max(own.bytes for own in measured)
    # a base step costs about what a fleet step of as many concepts does
    share = (
        config.base.concepts_per_step
        * config.base.batch_size
        / (len(fleet.concepts) * config.training.batch_size)
    )
    base_seconds = 0.0 if base_is_given else per_step * config.base.steps * share
    rounds = math.ceil(len(tasks) / workers)
    gpus = gpus_per_fleet or (0.0 if device == "cpu" else 1 / workers)
    return {
        "concepts": len(concepts),
        "fleets": len(tasks),
        "shards": len(tasks),
        "bytes": len(concepts) * row_bytes,
        "workers": workers,
        "measured_concepts": len(part.concepts),
        "fleet_gigabytes": three(fleet_bytes / 1e9),
        "base_minutes": three(base_seconds / 60),
        "fleet_minutes": three(fleet_seconds / 60),
        "minutes": three((base_seconds + rounds * fleet_seconds) / 60),
        "concepts_per_minute": three(60 * workers * len(fleet.concepts) / fleet_seconds),
        "gpu_hours": three(len(tasks) * fleet_seconds * gpus / 3600),
    }


def three(value: float) -> float:
    """Rounded to three digits."""
    return float(f"{value:.3g}")


def measured_part(config: BuildConfig, device: str) -> tuple[int, int]:
    """How many concepts of a fleet, and how many crops, are measured."""
    most = PIXELS_ON_A_CPU // config.image_size**2
    if device != "cpu" or config.fleet_size <= most:
        return config.fleet_size, config.num_train_crops + config.num_test_crops
    return max(1, most), CROPS_ON_A_CPU


def time_fleet(job: tuple[FleetTask, int]) -> Measured:
    """Train the task's concepts for a few steps. Runs inside a worker."""
    task, steps = job
    bench = load_workbench(task.run_dir, task.device)
    prepare_process(bench.config.threads)
    started = time.perf_counter()
    images = render(bench, task.concepts)
    rendered = time.perf_counter()
    if not images.concepts:
        raise WeightzooError("the teacher refuses every concept of the calibration fleet")
    seconds, before = [], peak_bytes(task.device)
    for count in (1, 1 + steps):  # the difference leaves out compilation, measuring and copying
        # nothing can miss this gate, so nothing is trained twice
        config = replace(
            bench.config, training=replace(bench.config.training, steps=count), median_l1=1.0, gate_factor=1e9
        )
        begin = time.perf_counter()
        train_and_measure(replace(bench, config=config), images)
        seconds.append(time.perf_counter() - begin)
    per_step = max(seconds[1] - seconds[0], 1e-6) / steps
    return Measured(per_step, rendered - started, seconds[0], peak_bytes(task.device) - before)


def peak_bytes(device: str) -> int:
    """The most that this process has occupied so far, of the GPU or of the machine's memory."""
    if device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return torch.cuda.max_memory_allocated(device)


def write_untrained_base(run_dir: Path, config: BuildConfig) -> None:
    """Write a base of random weights, for what needs its shapes and its cost only."""
    torch.manual_seed(0)
    save_base(run_dir / "base" / "generator.safetensors", config.generator_config().build())
    save_discriminator(run_dir / "base" / "discriminator.safetensors", config.discriminator.build())
