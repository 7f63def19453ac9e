"""The shared base generator: W and A of every layer, trained jointly with one adapter per base concept.

A base that has only ever seen one edit, or none, gives adapters a poor space to move in. Here a few dozen diverse
zoo concepts share W and A while each has its own B, biases and norms; afterwards W and A are frozen, the adapters'
mean becomes the base's own adapter, and every zoo concept starts there. The jointly trained adapters themselves are
thrown away: they are not comparable with those of concepts trained later on the frozen base.

    generator, discriminator = train_base(E2ganConfig(), PatchGanConfig(), sources, targets, BaseConfig())
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from zoo.adapters.lora import adapter_names, load_adapter
from zoo.errors import WeightzooError
from zoo.progress import track
from zoo.training.train_gan import (
    GanTrainConfig,
    batch_indices,
    discriminator_losses,
    generator_losses,
    initial_params,
    learning_rate_factor,
    run_generators,
)

BETAS = (0.5, 0.99)


@dataclass(frozen=True)
class BaseConfig:
    """How the base is trained.

    Args:
        num_concepts: base concepts, taken from the front of the zoo's (diverse) order.
        concepts_per_step, batch_size: one step sees `concepts_per_step` concepts on the same `batch_size` crops.
        learning_rate: of W and A;  adapter_learning_rate: of the per-concept tensors.
    """

    num_concepts: int = 48
    steps: int = 1500
    concepts_per_step: int = 8
    batch_size: int = 4
    learning_rate: float = 2e-3
    adapter_learning_rate: float = 4e-3
    discriminator_learning_rate: float = 1e-3
    adversarial_weight: float = 0.01
    clip_norm: float = 1.0
    seed: int = 0


def train_base(
    gan: Any,
    patchgan: Any,
    sources: Tensor | Sequence[Tensor],
    targets: Sequence[Tensor],
    config: BaseConfig,
    device: str = "cpu",
) -> tuple[nn.Module, nn.Module]:
    """Train the shared generator and discriminator, and return them on the CPU.

    Args:
        gan, patchgan: configs with `build()`.
        sources: [N, 3, S, S] for all concepts, or C of them.
        targets: C of [N, 3, S, S]. A batch at a time goes to `device`, wherever they lie.

    Raises:
        WeightzooError: the loss stopped being finite.
    """
    torch.manual_seed(config.seed)
    generator, discriminator = (part.build().to(device) for part in (gan, patchgan))
    count = len(targets)
    adapters = initial_params(generator, "adapter", count)
    for tensor in adapters.values():
        tensor.requires_grad_(True)
    own = set(adapter_names(generator))
    shared = [tensor for name, tensor in generator.named_parameters() if name not in own]
    groups = [{"params": shared}, {"params": list(adapters.values()), "lr": config.adapter_learning_rate}]
    optimizer, scheduler = scheduled_adam(groups, config.learning_rate, config.steps)
    discriminator_optimizer, discriminator_scheduler = scheduled_adam(
        discriminator.parameters(), config.discriminator_learning_rate, config.steps
    )
    concept_batches = batch_indices(count, min(config.concepts_per_step, count), config.seed + 1)
    crop_batches = batch_indices(len(targets[0]), config.batch_size, config.seed)
    for step in track(range(config.steps), "training the base generator", "steps"):
        concepts, crops = next(concept_batches), next(crop_batches)
        target = pick(targets, concepts, crops).to(device)
        source = (sources[crops] if isinstance(sources, Tensor) else pick(sources, concepts, crops)).to(device)
        fakes = run_generators(generator, {name: value[concepts] for name, value in adapters.items()}, source)
        discriminator.requires_grad_(False)
        loss = generator_losses(discriminator, {}, source, target, fakes, config.adversarial_weight).mean()
        if not torch.isfinite(loss):
            raise WeightzooError(f"the base generator diverged at step {step}; lower base.learning_rate")
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([*shared, *adapters.values()], config.clip_norm)
        optimizer.step()
        scheduler.step()
        if config.adversarial_weight > 0:
            discriminator.requires_grad_(True)
            discriminator_optimizer.zero_grad()
            discriminator_losses(discriminator, {}, source, target, fakes).mean().backward()
            discriminator_optimizer.step()
            discriminator_scheduler.step()
    mean = {name: value.detach().mean(0) for name, value in adapters.items()}
    trained = (load_adapter(generator, mean), discriminator)
    generator, discriminator = (part.eval().requires_grad_(False).cpu() for part in trained)
    return generator, discriminator


def scheduled_adam(parameters: Iterable[Any], learning_rate: float, steps: int) -> tuple[torch.optim.Adam, LambdaLR]:
    """Return Adam and the schedule of its learning rates, which is that of fleets."""
    optimizer, training = torch.optim.Adam(parameters, lr=learning_rate, betas=BETAS), GanTrainConfig(steps=steps)
    return optimizer, LambdaLR(optimizer, lambda step: learning_rate_factor(training, step / steps))


def pick(pictures: Sequence[Tensor], concepts: Tensor, crops: Tensor) -> Tensor:
    """Return some crops of some concepts, [len(concepts), len(crops), 3, S, S]."""
    return torch.stack([pictures[i][crops] for i in concepts.tolist()])
