"""The pix2pix objective and training loop for a fleet: K GANs at once, each blind to the others.

One network is written as a plain module; the fleet is `torch.func.vmap` of it over parameters with a leading
concept axis. Whatever has no concept axis (the base's W and A) runs once for the whole fleet. Gradients are clipped,
checked and stepped per concept, so that a diverging concept ends alone and the others are bit for bit what they
would have been without it.

    result = train_fleet(base, discriminator, sources, targets, GanTrainConfig(steps=250))
    edited = run_generators(base, result.params, photos)      # [K, N, 3, H, W]

Objective: L1 + `adversarial_weight` x LSGAN (Isola et al., CVPR 2017; Mao et al., ICCV 2017).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from zoo.errors import WeightzooError
from zoo.lora import adapter_names, initial_adapter

Params = dict[str, Tensor]
OnStep = Callable[[int, float, Params], None]


@dataclass(frozen=True)
class GanTrainConfig:
    """How one GAN (or each of a fleet) is trained.

    Args:
        mode: "adapter" trains the tensors of `zoo.lora.adapter_names`, "full" every weight of the generator.
        schedule: "cosine" (after a warm-up over the first 3 %) or "constant".
        clip_norm: the gradient of each concept is clipped to this norm on its own.
        adversarial_weight: weight of the LSGAN term beside L1 (images in [0, 1]).
        seed: seeds the batch order, which is the same for every concept.
        ema: the result is the average of the weights over the last steps with this decay (shorter at the beginning);
            0: the weights of the last step. A high learning rate is then worth its noise before the schedule ends.
        kernel_rate: learning rate of what an adapter leaves alone (convolution and projection weights), as a share of
            `learning_rate`. They bear about a tenth of what biases, norms and the output layer bear, so fine-tuning
            gives them a tenth.
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
    precision: Literal["float32", "bfloat16"] = "float32"


@dataclass(frozen=True)
class FleetResult:
    """What `train_fleet` gives.

    Args:
        params: trained tensors, {name: [K, ...]}.
        diverged: True where a concept's loss or gradient was not finite at some step, [K]. Such a step counts as one
            with a gradient of zero: Adam's momentum still moves the weights, and finite steps after it train on.
        reasons: one line per diverged concept, None for the others.
        steps, seconds: done (the clock stands still during `on_step`).
        losses: generator loss of the last step, [K].
    """

    params: Params
    diverged: Tensor
    reasons: list[str | None]
    steps: int
    seconds: float
    losses: Tensor


def stack(params: Mapping[str, Tensor], count: int) -> Params:
    """`count` copies of one network's tensors along a new concept axis."""
    return {name: value.detach().expand(count, *value.shape).clone() for name, value in params.items()}


def run_generators(generator: nn.Module, params: Mapping[str, Tensor], images: Tensor) -> Tensor:
    """K networks at once.

    Args:
        params: {name: [K, ...]}; what is absent comes from the generator itself and is shared.
        images: [N, 3, H, W] for all networks, or [K, N, 3, H, W].

    Returns:
        [K, N, 3, H, W]
    """

    def run_one(own: Params, batch: Tensor) -> Tensor:
        return functional_call(generator, own, (batch,))

    in_dims = (0, 0 if images.dim() == 5 else None)
    return vmap(run_one, in_dims=in_dims, randomness="different")(dict(params), images)


def run_discriminators(
    discriminator: nn.Module, params: Mapping[str, Tensor], sources: Tensor, images: Tensor
) -> Tensor:
    """Logits [K, N, ...] of K discriminators (one shared by all when `params` is empty) on images [K, N, 3, H, W]."""

    def run_one(own: Params, source: Tensor, image: Tensor) -> Tensor:
        return functional_call(discriminator, own, (source, image))

    own_dim = 0 if params else None
    return vmap(run_one, in_dims=(own_dim, 0 if sources.dim() == 5 else None, 0))(
        dict(params), sources, images
    )


def batch_indices(count: int, batch_size: int, seed: int) -> Iterator[Tensor]:
    """Endless batches of indices below `count`, by shuffled epochs, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    queue = torch.empty(0, dtype=torch.long)
    while True:
        while len(queue) < batch_size:
            queue = torch.cat([queue, torch.randperm(count, generator=generator)])
        yield queue[:batch_size]
        queue = queue[batch_size:]


def learning_rate_factor(config: GanTrainConfig, progress: float) -> float:
    """Share of the peak learning rate at `progress` in [0, 1)."""
    warmup = min(1.0, (progress + 1 / max(config.steps, 1)) / 0.03)
    if config.schedule == "constant":
        return warmup
    if config.schedule != "cosine":
        raise WeightzooError(f"unknown schedule {config.schedule!r}; known: cosine, constant")
    return warmup * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


def initial_params(generator: nn.Module, mode: str, count: int) -> Params:
    """Where K concepts start: the base's own adapter, or all of its weights."""
    if mode == "adapter":
        return stack(initial_adapter(generator), count)
    if mode == "full":
        return stack(dict(generator.named_parameters()), count)
    raise WeightzooError(f"unknown training mode {mode!r}; known: adapter, full")


def clip_per_concept(grads: list[Tensor], losses: Tensor, clip_norm: float) -> Tensor:
    """Clips each concept's gradient in place, or zeroes it where it or the loss is not finite.

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


def generator_losses(
    discriminator: nn.Module, judges: Params, sources: Tensor, targets: Tensor, fakes: Tensor, weight: float
) -> Tensor:
    """L1 + weight x LSGAN per concept, [K]."""
    losses = (fakes - targets).abs().flatten(1).mean(1)
    if weight > 0:
        logits = run_discriminators(discriminator, judges, sources, fakes)
        losses = losses + weight * (logits - 1).square().flatten(1).mean(1)
    return losses


def discriminator_losses(
    discriminator: nn.Module, judges: Params, sources: Tensor, targets: Tensor, fakes: Tensor
) -> Tensor:
    """LSGAN loss of the discriminators per concept, [K]; one pass over real and fake images together."""
    twice = torch.cat([sources, sources], -4)
    logits = run_discriminators(discriminator, judges, twice, torch.cat([targets, fakes.detach()], 1))
    real, fake = logits.chunk(2, dim=1)
    return 0.5 * ((real - 1).square().flatten(1).mean(1) + fake.square().flatten(1).mean(1))


@dataclass(frozen=True)
class Fleet:
    """K GANs in training: the networks that they share, their own tensors {name: [K, ...]}, and the optimisers."""

    generator: nn.Module
    discriminator: nn.Module
    config: GanTrainConfig
    params: Params
    judges: Params
    optimizer: torch.optim.Optimizer
    judge_optimizer: torch.optim.Optimizer

    @classmethod
    def start(
        cls,
        generator: nn.Module,
        discriminator: nn.Module,
        config: GanTrainConfig,
        count: int,
        initial: Mapping[str, Tensor] | None,
    ) -> Fleet:
        """`count` GANs before their first step; see `train_fleet`."""
        params = initial_params(generator, config.mode, count)
        if initial is not None:
            params = {name: initial[name].detach().float().clone() for name in params}
        judges = stack(dict(discriminator.named_parameters()), count)
        for tensor in (*params.values(), *judges.values()):
            tensor.requires_grad_(True)
        optimizer = torch.optim.Adam(rate_groups(generator, params, config.kernel_rate), betas=(0.5, 0.99))
        judge_optimizer = torch.optim.Adam(
            list(judges.values()), lr=config.discriminator_learning_rate, betas=(0.5, 0.99)
        )
        return cls(generator, discriminator, config, params, judges, optimizer, judge_optimizer)

    def step(self, source: Tensor, target: Tensor, factor: float) -> tuple[Tensor, Tensor]:
        """Trains generators, then discriminators, on one batch at `factor` of the learning rates.

        Args:
            source: [B, 3, S, S] for all concepts, or [K, B, 3, S, S].
            target: [K, B, 3, S, S].

        Returns:
            The generators' losses before the step, and which concepts were finite, both [K].
        """
        config = self.config
        autocast = partial(
            torch.autocast, target.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"
        )
        set_learning_rate(self.optimizer, config.learning_rate * factor)
        set_learning_rate(self.judge_optimizer, config.discriminator_learning_rate * factor)
        frozen_judges = {name: value.detach() for name, value in self.judges.items()}
        with autocast():
            fakes = run_generators(self.generator, self.params, source)
            losses = generator_losses(
                self.discriminator, frozen_judges, source, target, fakes, config.adversarial_weight
            )
        finite = apply_gradients(self.optimizer, losses, list(self.params.values()), config.clip_norm)
        if config.adversarial_weight > 0:
            with autocast():
                judged = discriminator_losses(self.discriminator, self.judges, source, target, fakes)
            apply_gradients(self.judge_optimizer, judged, list(self.judges.values()), config.clip_norm)
        return losses, finite


def train_fleet(
    generator: nn.Module,
    discriminator: nn.Module,
    sources: Tensor,
    targets: Tensor,
    config: GanTrainConfig,
    initial: Mapping[str, Tensor] | None = None,
    seconds: float | None = None,
    on_step: OnStep | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> FleetResult:
    """Trains K networks, each on its own targets.

    Args:
        generator: the shared base; not changed.
        discriminator: every concept starts from a copy of its weights; not changed.
        sources: [N, 3, S, S] for all concepts, or [K, N, 3, S, S]; RGB in [0, 1].
        targets: [K, N, 3, S, S].
        initial: where to start, {name: [K, ...]}; default: the base's own values.
        seconds: with a wall-clock budget the schedule follows elapsed time instead of `config.steps`.
        on_step: called as (step, training seconds, params) before each step and after the last; not on the clock.
            With `config.ema` it gets the averages.
        stop: asked before each step; training ends where it says True.
    """
    fleet = Fleet.start(generator, discriminator, config, targets.shape[0], initial)
    batches = batch_indices(targets.shape[1], config.batch_size, config.seed)
    device = targets.device
    stopped_at = torch.full(targets.shape[:1], -1, device=device)  # the step at which a concept diverged
    losses = torch.full(targets.shape[:1], torch.nan, device=device)
    params = fleet.params
    averaged = {name: value.detach().clone() for name, value in params.items()} if config.ema else params
    spent, step = 0.0, 0
    while not stop() and (step < config.steps if seconds is None else spent < seconds):
        if on_step is not None:
            on_step(step, spent, averaged)
        started = clock(device)
        factor = learning_rate_factor(config, spent / seconds if seconds is not None else step / config.steps)
        index = next(batches).to(device)
        losses, finite = fleet.step(sources[..., index, :, :, :], targets[:, index], factor)
        stopped_at = torch.where((stopped_at < 0) & ~finite, step, stopped_at)
        step += 1
        if config.ema:
            update_average(averaged, params, min(config.ema, step / (step + 9)))
        spent += clock(device) - started
    final = {name: value.detach() for name, value in averaged.items()}
    if on_step is not None:
        on_step(step, spent, final)
    reasons = [None if at < 0 else f"loss or gradient not finite at step {at}" for at in stopped_at.tolist()]
    return FleetResult(final, stopped_at >= 0, reasons, step, spent, losses.detach().float())


def clock(device: torch.device) -> float:
    """Seconds, once the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def apply_gradients(
    optimizer: torch.optim.Optimizer, losses: Tensor, tensors: list[Tensor], clip_norm: float
) -> Tensor:
    """One optimiser step on the losses of K concepts; returns which of them were finite, [K]."""
    grads = torch.autograd.grad(losses.sum(), tensors, allow_unused=True)
    kept = [torch.zeros_like(t) if g is None else g.contiguous() for t, g in zip(tensors, grads, strict=True)]
    finite = clip_per_concept(kept, losses.detach(), clip_norm)
    for tensor, grad in zip(tensors, kept, strict=True):
        tensor.grad = grad
    optimizer.step()
    return finite


@torch.no_grad()
def update_average(averaged: Params, params: Params, decay: float) -> None:
    """averaged <- decay x averaged + (1 - decay) x params, in place."""
    torch._foreach_lerp_(list(averaged.values()), list(params.values()), 1 - decay)


def rate_groups(generator: nn.Module, params: Params, kernel_rate: float) -> list[dict[str, Any]]:
    """The tensors that adapters consist of, and all others with their share of the learning rate."""
    quick = set(adapter_names(generator))
    kernels = [value for name, value in params.items() if name not in quick]
    groups = [{"params": [value for name, value in params.items() if name in quick], "share": 1.0}]
    return [*groups, {"params": kernels, "share": kernel_rate}] if kernels else groups


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get("share", 1.0)
