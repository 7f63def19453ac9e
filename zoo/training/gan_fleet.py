"""K GANs in training: their tensors, their optimisers, one step of all, and their state for a checkpoint.

    fleet = Fleet.start(base, discriminator, config, count=8)
    fleet.step(batch, factor=1.0)
    tensors = fleet.state()
    fleet.restore(tensors)             # what follows is bit for bit what followed the first time

Gradients are clipped, checked and stepped per concept, so that a diverging concept ends alone and the others are bit
for bit what they would have been without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from zoo.adapters.lora import adapter_names, free_parameters, initial_adapter
from zoo.errors import WeightzooError
from zoo.training.batches import Batch
from zoo.training.gan_objective import Params, discriminator_losses, generator_losses, run_on_batch, stack
from zoo.training.optimizer_state import load_optimizer, optimizer_tensors, under, with_prefix

BETA2 = 0.99  # of Adam
OUTPUT = "output.weight"
DISCRIMINATORS, DISCRIMINATOR_OPTIMIZER = "judges", "judge_optimizer"  # their names in checkpoints


@dataclass(frozen=True)
class GanTrainConfig:
    """How one GAN (or each of a fleet) is trained.

    Args:
        batch_size: pictures in a step; networks of single pixels take as many pixels as `zoo.training.batches` says.
        mode: "adapter" trains the tensors of `zoo.adapters.lora.adapter_names`, "full" every weight of the generator.
        schedule: "cosine" (after a warm-up over the first 3 %) or "constant".
        clip_norm: the gradient of each concept is clipped to this norm on its own.
        adversarial_weight: weight of the LSGAN term beside L1 (images in [0, 1]).
        seed: seeds the batch order, which is the same for every concept.
        ema: the result is the average of the weights over the last steps with this decay (shorter at the beginning);
            0: the weights of the last step. A high learning rate is then worth its noise before the schedule ends.
        kernel_rate: learning rate of what an adapter leaves alone (convolution and projection weights), as a share of
            `learning_rate`. They bear about a tenth of what biases, norms and the output layer bear, so fine-tuning
            gives them a tenth.
        beta1: of Adam, for generators and discriminators. A gradient that comes after many small ones makes a step of
            (1 - beta1) / sqrt(1 - .99) times the learning rate: 5 times with .5, once with .9. ReLUs that are seldom on
            have such gradients, and at high rates steps of 5 times turn whole layers off for good. Zoos that were built
            before this option have .5.
        output_rate: learning rate of the output layer, as a share of `learning_rate`. A layer that was solved is near
            its best, and 0.2 leaves it there while the rest learns.
        precision: of the forward passes (autocast); weights and optimisers stay float32.
    """

    steps: int = 250
    batch_size: int = 4
    learning_rate: float = 5e-3
    discriminator_learning_rate: float = 1e-3
    adversarial_weight: float = 0.01
    clip_norm: float = 1.0
    mode: str = "adapter"
    schedule: str = "cosine"
    seed: int = 0
    ema: float = 0.0
    kernel_rate: float = 1.0
    beta1: float = 0.5
    output_rate: float = 1.0
    precision: Literal["float32", "bfloat16"] = "float32"


def initial_params(generator: nn.Module, mode: str, count: int) -> Params:
    """Return where K concepts start: the base's own adapter, or all of its weights."""
    if mode == "adapter":
        return stack(initial_adapter(generator), count)
    if mode == "full":
        return stack(free_parameters(generator), count)
    raise WeightzooError(f"unknown training mode {mode!r}; known: adapter, full")


@dataclass
class Fleet:
    """K GANs in training: the networks that they share and their own tensors {name: [K, ...]}.

    Attributes:
        averaged: the average of `params` over the steps (see `GanTrainConfig.ema`); `params` themselves without one.
        diverged_at: the step at which a concept's loss or gradient was first not finite, -1 for the others, [K].
        losses: generator losses of the last step, [K].
        steps, seconds: done so far.
    """

    generator: nn.Module
    discriminator: nn.Module
    config: GanTrainConfig
    params: Params
    averaged: Params
    discriminators: Params
    optimizer: torch.optim.Optimizer
    discriminator_optimizer: torch.optim.Optimizer
    diverged_at: Tensor
    losses: Tensor
    steps: int = 0
    seconds: float = 0.0

    @classmethod
    def start(
        cls,
        generator: nn.Module,
        discriminator: nn.Module,
        config: GanTrainConfig,
        count: int,
        initial: Mapping[str, Tensor] | None = None,
    ) -> Fleet:
        """Return `count` GANs before their first step; see `zoo.training.train_gan.train_fleet`."""
        params = initial_params(generator, config.mode, count)
        if initial is not None:
            params = {name: initial[name].detach().float().clone() for name in params}
        discriminators = stack(dict(discriminator.named_parameters()), count)
        for tensor in (*params.values(), *discriminators.values()):
            tensor.requires_grad_(True)
        averaged = {name: value.detach().clone() for name, value in params.items()} if config.ema else params
        betas = (config.beta1, BETA2)
        optimizer = torch.optim.Adam(rate_groups(generator, params, config), betas=betas)
        discriminator_optimizer = torch.optim.Adam(
            list(discriminators.values()), lr=config.discriminator_learning_rate, betas=betas
        )
        device = next(iter(discriminators.values())).device
        diverged_at = torch.full((count,), -1, device=device)
        losses = torch.full((count,), torch.nan, device=device)
        return cls(
            generator, discriminator, config, params, averaged, discriminators,
            optimizer, discriminator_optimizer, diverged_at, losses,
        )  # fmt: skip

    def step(self, batch: Batch, factor: float) -> None:
        """Train generators, then discriminators, on one batch at `factor` of the learning rates."""
        config = self.config
        autocast = partial(
            torch.autocast, batch.targets.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"
        )
        set_learning_rate(self.optimizer, config.learning_rate * factor)
        set_learning_rate(self.discriminator_optimizer, config.discriminator_learning_rate * factor)
        frozen = {name: value.detach() for name, value in self.discriminators.items()}
        with autocast():
            outputs = run_on_batch(self.generator, self.params, batch)
            losses = generator_losses(self.discriminator, frozen, batch, outputs, config.adversarial_weight)
        finite = apply_gradients(self.optimizer, losses, list(self.params.values()), config.clip_norm)
        if config.adversarial_weight > 0:
            with autocast():
                own = discriminator_losses(self.discriminator, self.discriminators, batch, outputs)
            tensors = list(self.discriminators.values())
            apply_gradients(self.discriminator_optimizer, own, tensors, config.clip_norm)
        self.losses = losses.detach().float()
        self.diverged_at = torch.where((self.diverged_at < 0) & ~finite, self.steps, self.diverged_at)
        self.steps += 1
        if config.ema:
            update_average(self.averaged, self.params, min(config.ema, self.steps / (self.steps + 9)))

    def state(self) -> dict[str, Tensor]:
        """Return everything that training changes, except `steps` and `seconds`, as flat tensors."""
        averaged = with_prefix("averaged", self.averaged) if self.config.ema else {}
        return {
            "diverged_at": self.diverged_at,
            "losses": self.losses,
            **averaged,
            **with_prefix("params", self.params),
            **with_prefix(DISCRIMINATORS, self.discriminators),
            **with_prefix("optimizer", optimizer_tensors(self.optimizer)),
            **with_prefix(DISCRIMINATOR_OPTIMIZER, optimizer_tensors(self.discriminator_optimizer)),
        }

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put the tensors of `state` back, from any device."""
        own = {"params": self.params, DISCRIMINATORS: self.discriminators}
        own |= {"averaged": self.averaged} if self.config.ema else {}
        for prefix, there in own.items():
            for name, value in there.items():
                value.copy_(tensors[f"{prefix}.{name}"])
        load_optimizer(self.optimizer, under("optimizer", tensors))
        load_optimizer(self.discriminator_optimizer, under(DISCRIMINATOR_OPTIMIZER, tensors))
        self.diverged_at = tensors["diverged_at"].to(self.diverged_at.device)
        self.losses = tensors["losses"].to(self.losses.device)


def apply_gradients(
    optimizer: torch.optim.Optimizer, losses: Tensor, tensors: list[Tensor], clip_norm: float
) -> Tensor:
    """Take one optimiser step on the losses of K concepts; return which of them were finite, [K]."""
    grads = torch.autograd.grad(losses.sum(), tensors, allow_unused=True)
    kept = [torch.zeros_like(t) if g is None else g.contiguous() for t, g in zip(tensors, grads, strict=True)]
    finite = clip_per_concept(kept, losses.detach(), clip_norm)
    for tensor, grad in zip(tensors, kept, strict=True):
        tensor.grad = grad
    optimizer.step()
    return finite


def clip_per_concept(grads: list[Tensor], losses: Tensor, clip_norm: float) -> Tensor:
    """Clip each concept's gradient in place, or set it to zero where it or the loss is not finite.

    The loss counts too: the derivative of |NaN| is 0 in torch.

    Returns:
        Which concepts are finite, [K].
    """
    squares = torch.stack([grad.flatten(1).square().sum(1) for grad in grads]).sum(0)
    finite = torch.isfinite(squares) & torch.isfinite(losses)
    scale = (clip_norm / squares.sqrt().clamp_min(1e-12)).clamp_max(1.0)
    for grad in grads:
        shape = (-1,) + (1,) * (grad.dim() - 1)
        grad.copy_(torch.where(finite.view(shape), grad * scale.view(shape), 0.0))
    return finite


@torch.no_grad()
def update_average(averaged: Params, params: Params, decay: float) -> None:
    """Set `averaged` to decay x averaged + (1 - decay) x params, in place."""
    torch._foreach_lerp_(list(averaged.values()), list(params.values()), 1 - decay)


def rate_groups(generator: nn.Module, params: Params, config: GanTrainConfig) -> list[dict[str, Any]]:
    """Return groups of tensors with their shares of the learning rate."""
    quick = set(adapter_names(generator))
    shares = {name: 1.0 if name in quick else config.kernel_rate for name in params}
    shares |= {name: share * config.output_rate for name, share in shares.items() if name == OUTPUT}
    groups = {share: [params[name] for name in params if shares[name] == share] for share in (1.0, *shares.values())}
    return [{"params": tensors, "share": share} for share, tensors in groups.items() if tensors]


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the learning rate of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get("share", 1.0)
