"""Training the base of a frozen run folder, on the front concepts of its first generation."""

import time
from pathlib import Path

import torch
from torch import Tensor

from pipeline.base_gan import train_base
from pipeline.plan import plan_run
from pipeline.process import prepare_process
from pipeline.rendering import FleetImages, fleet_images
from pipeline.workbench import load_studio
from zoo.errors import WeightzooError
from zoo.lora import save_base
from zoo.tensors import save_discriminator


def train_base_of(job: tuple[str, str]) -> float:
    """Train and save the base of a frozen run folder; returns seconds. Runs inside a worker.

    Args:
        job: the folder, and the device that the fleets have.

    Raises:
        WeightzooError: the teacher can do none of the train concepts, or the training diverged.
    """
    started = time.perf_counter()
    run_dir, device = job
    if not torch.cuda.is_available():
        device = "cpu"  # the driver of a cluster, which trains the base of a run in a store, may have no GPU
    studio, folder = load_studio(run_dir, device), Path(run_dir)
    config = studio.config
    prepare_process(config.threads)
    fleets: list[FleetImages] = []
    for task in plan_run(folder, device):
        if task.split == "train" and task.generation == 0:
            fleets.append(fleet_images(studio, task))
        if sum(len(fleet.concepts) for fleet in fleets) >= config.base.num_concepts:
            break
    able = [fleet for fleet in fleets if fleet.concepts]
    if not able:
        raise WeightzooError("no train concept that the teacher can do; the base needs some")
    targets = torch.cat([fleet.train_targets for fleet in able])[: config.base.num_concepts]
    generator, discriminator = train_base(
        config.generator_config(), config.discriminator, _sources(able, len(targets)), targets, config.base
    )
    save_discriminator(folder / "base" / "discriminator.safetensors", discriminator)
    save_base(folder / "base" / "generator.safetensors", generator)
    return round(time.perf_counter() - started, 1)


def _sources(fleets: list[FleetImages], count: int) -> Tensor:
    shared = fleets[0].train_sources
    return shared if shared.dim() == 4 else torch.cat([fleet.train_sources for fleet in fleets])[:count]
