"""Training the base of a frozen run folder, on the front concepts of its first generation."""

import time
from pathlib import Path

import torch
from torch import Tensor

from pipeline.executors.process import prepare_process
from pipeline.fleets.base_gan import start_base, train_base
from pipeline.fleets.rendering import fleet_images
from pipeline.fleets.shared import load_render_context
from pipeline.run_folder.shard_plan import plan_run
from zoo.adapters.lora import save_base
from zoo.errors import WeightzooError
from zoo.tensors import save_discriminator
from zoo.training.batches import Looked, Pictures, Pixels, joined, material_of, seen_by


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
    context, folder = load_render_context(run_dir, device), Path(run_dir)
    config = context.config
    prepare_process(config.threads)
    generator, discriminator = start_base(config.generator_config(), config.discriminator, config.base.seed)
    materials: list[Pictures | Pixels] = []  # on the CPU: those of a large base are more than a GPU holds
    sources: Tensor | Looked | None = None
    for task in plan_run(folder, device):
        if task.split == "train" and task.generation == 0:
            images = fleet_images(context, task)
            if not images.concepts:
                continue
            if sources is None or images.train_sources.dim() == 5:
                sources = seen_by(generator, images.train_sources.cpu(), config.base.seed)
            materials.append(material_of(generator, sources, images.train_targets.cpu()))
        if sum(len(material.targets) for material in materials) >= config.base.num_concepts:
            break
    if not materials:
        raise WeightzooError(
            "the teacher can edit no train concept, and the base generator needs some; choose another teacher"
        )
    material = joined(materials, config.base.num_concepts)
    generator, discriminator = train_base(generator, discriminator, material, config.base, device)
    save_discriminator(folder / "base" / "discriminator.safetensors", discriminator)
    save_base(folder / "base" / "generator.safetensors", generator)
    return round(time.perf_counter() - started, 1)
