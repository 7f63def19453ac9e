"""The shared base generator: W and A of every layer, trained jointly with one adapter per base concept.

A base that has only ever seen one edit, or none, gives adapters a poor space to move in. Here a few dozen diverse
zoo concepts share W and A while each has its own B, biases and norms; afterwards W and A are frozen, the adapters'
mean becomes the base's own adapter, and every zoo concept starts there. The jointly trained adapters themselves are
thrown away: they are not comparable with those of concepts trained later on the frozen base.

    generator, discriminator = start_base(SolvedConfig(branches=("whole",), lora_rank=15), PatchGanConfig(), seed=0)
    material = material_of(generator, sources, targets)
    generator, discriminator = train_base(generator, discriminator, material, BaseConfig())
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from zoo.adapters.lora import free_parameters, load_adapter, load_base
from zoo.closed_form import Prior
from zoo.errors import WeightzooError
from zoo.gans.feature_bank import FeatureBankConfig
from zoo.gans.solved import PRIOR, SolvedGenerator
from zoo.progress import track
from zoo.training.batches import Pictures, Pixels, batch_indices
from zoo.training.gan_objective import discriminator_losses, generator_losses, run_on_batch
from zoo.training.solved_outputs import OUTPUT, with_solved_outputs
from zoo.training.train_gan import GanTrainConfig, initial_params, learning_rate_factor

BETAS = (0.5, 0.99)


@dataclass(frozen=True)
class BaseConfig:
    """How the base is trained.

    Args:
        num_concepts: base concepts, taken from the front of the zoo's (diverse) order.
        concepts_per_step, batch_size: one step sees `concepts_per_step` concepts on the same `batch_size` pictures (or
            pixels, see `zoo.training.batches`).
        learning_rate: of W and A;  adapter_learning_rate: of the per-concept tensors, and `output_rate` times it of
            their output layers.
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
    output_rate: float = 1.0


def start_base(gan: Any, patchgan: Any, seed: int) -> tuple[nn.Module, nn.Module]:
    """Return a generator and a discriminator before any training.

    A network over the feature bank begins with the bank that is learned, and with what output layers are pulled to, if
    its bank has the same sizes.

    Args:
        gan, patchgan: configs with `build()`.
        seed: of the weights.
    """
    torch.manual_seed(seed)
    generator, discriminator = gan.build(), patchgan.build()
    if isinstance(generator, SolvedGenerator):
        learned = load_base(PRIOR)
        assert isinstance(learned, SolvedGenerator)
        if same_bank(learned.config, gan):
            state = learned.state_dict()
            shared = {name: value for name, value in state.items() if name.startswith(("bank.", *Prior._fields))}
            generator.load_state_dict(shared, strict=False)
    return generator, discriminator


def same_bank(one: FeatureBankConfig, other: FeatureBankConfig) -> bool:
    """Return whether two feature banks have the same sizes."""
    return all(getattr(one, field.name) == getattr(other, field.name) for field in fields(FeatureBankConfig))


def train_base(
    generator: nn.Module,
    discriminator: nn.Module,
    material: Pictures | Pixels,
    config: BaseConfig,
    device: str = "cpu",
) -> tuple[nn.Module, nn.Module]:
    """Train the shared generator and discriminator, and return them on the CPU.

    Args:
        generator, discriminator: from `start_base`; they are trained themselves.
        material: pairs of C concepts. A batch at a time goes to `device`, wherever they lie.

    Raises:
        WeightzooError: the loss stopped being finite.
    """
    torch.manual_seed(config.seed)
    count = len(material.targets)
    adapters = with_solved_outputs(generator, initial_params(generator, "adapter", count), material, config.seed)
    generator, discriminator = (part.to(device) for part in (generator, discriminator))
    adapters = {name: value.to(device).requires_grad_(True) for name, value in adapters.items()}
    shared = [tensor for name, tensor in free_parameters(generator).items() if name not in adapters]
    rates = {name: config.adapter_learning_rate * (config.output_rate if name == OUTPUT else 1) for name in adapters}
    groups = [{"params": shared}, *({"params": [adapters[name]], "lr": rate} for name, rate in rates.items())]
    optimizer, scheduler = scheduled_adam(groups, config.learning_rate, config.steps)
    discriminator_optimizer, discriminator_scheduler = scheduled_adam(
        discriminator.parameters(), config.discriminator_learning_rate, config.steps
    )
    concept_batches = batch_indices(count, min(config.concepts_per_step, count), config.seed + 1)
    indices = material.indices(config.batch_size, config.seed)
    for step in track(range(config.steps), "training the base generator", "steps"):
        concepts = next(concept_batches)
        batch = material.batch(next(indices), concepts).to(device)
        outputs = run_on_batch(generator, {name: value[concepts] for name, value in adapters.items()}, batch)
        discriminator.requires_grad_(False)
        loss = generator_losses(discriminator, {}, batch, outputs, config.adversarial_weight).mean()
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
            discriminator_losses(discriminator, {}, batch, outputs).mean().backward()
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
