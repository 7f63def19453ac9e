"""What a build will cost, from a calibration fleet of a few steps: ``weightzoo build --dry-run``."""

import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
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
    real ones will.

    Args:
        gpus_per_fleet: what a fleet will occupy of a GPU; default on a GPU: the share of one worker.

    Returns:
        concepts, fleets, shards, bytes (of all weight shards), workers, base_minutes and fleet_minutes (one
        process each), minutes (of the whole build), concepts_per_minute and gpu_hours (of all fleets).
    """
    with tempfile.TemporaryDirectory(prefix="weightzoo-plan-") as folder:
        run_dir = Path(folder)
        concepts = freeze(run_dir, config, concepts)
        write_untrained_base(run_dir, config)
        tasks = plan_run(run_dir, device)
        fleet = max(tasks, key=lambda task: len(task.concepts))
        measured = []
        for outcome in run_local([(fleet, steps)] * workers, time_fleet, workers=workers):
            if outcome.error:
                raise WeightzooError(f"the calibration fleet failed: {outcome.error}")
            measured.append(outcome.result)
        row_bytes = record_bytes(run_dir)
    per_step, fixed = (max(values) for values in zip(*measured, strict=True))
    fleet_seconds = fixed + per_step * config.training.steps
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
        "base_minutes": round(base_seconds / 60, 1),
        "fleet_minutes": round(fleet_seconds / 60, 2),
        "minutes": round((base_seconds + rounds * fleet_seconds) / 60, 1),
        "concepts_per_minute": round(60 * workers * len(fleet.concepts) / fleet_seconds, 1),
        "gpu_hours": round(len(tasks) * fleet_seconds * gpus / 3600, 2),
    }


def time_fleet(job: tuple[FleetTask, int]) -> tuple[float, float]:
    """Return seconds per step and seconds of everything else of a fleet. Runs inside a worker."""
    task, steps = job
    bench = load_workbench(task.run_dir, task.device)
    prepare_process(bench.config.threads)
    started = time.perf_counter()
    images = render(bench, task.concepts)
    rendered = time.perf_counter()
    if not images.concepts:
        raise WeightzooError("the teacher refuses every concept of the calibration fleet")
    seconds = []
    for count in (1, 1 + steps):  # the difference leaves out compilation, measuring and copying
        # nothing can miss this gate, so nothing is trained twice
        config = replace(
            bench.config, training=replace(bench.config.training, steps=count), median_l1=1.0, gate_factor=1e9
        )
        begin = time.perf_counter()
        train_and_measure(replace(bench, config=config), images)
        seconds.append(time.perf_counter() - begin)
    per_step = max(seconds[1] - seconds[0], 1e-6) / steps
    return per_step, rendered - started + seconds[0]


def write_untrained_base(run_dir: Path, config: BuildConfig) -> None:
    """Write a base of random weights, for what needs its shapes and its cost only."""
    torch.manual_seed(0)
    save_base(run_dir / "base" / "generator.safetensors", config.generator_config().build())
    save_discriminator(run_dir / "base" / "discriminator.safetensors", config.discriminator.build())
