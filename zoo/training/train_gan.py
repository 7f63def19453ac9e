"""Training of a fleet: K GANs at once, independent of each other (see `zoo.training.gan_fleet` for one step).

material = material_of(base, sources, targets)
result = train_fleet(base, discriminator, material, GanTrainConfig(steps=250))
edited = run_generators(base, result.params, photos)      # [K, N, 3, H, W]
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn

from zoo.errors import WeightzooError
from zoo.training.batches import Pictures, Pixels
from zoo.training.gan_fleet import Fleet, GanTrainConfig, initial_params
from zoo.training.gan_objective import Params, run_generators, stack

OnStep = Callable[[int, float, Params], None]

__all__ = [
    "Fleet", "FleetResult", "GanTrainConfig", "Params", "clock", "initial_params",
    "learning_rate_factor", "run_fleet", "run_generators", "stack", "train_fleet",
]  # fmt: skip


@dataclass(frozen=True)
class FleetResult:
    """The result of `train_fleet`.

    Args:
        params: trained tensors, {name: [K, ...]}.
        diverged: True where a concept's loss or gradient was not finite at some step, [K]. Such a step counts as one
            with a gradient of zero: Adam's momentum still moves the weights, and finite steps after it train on.
            Training ends when this is so of all concepts.
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


def train_fleet(
    generator: nn.Module,
    discriminator: nn.Module,
    material: Pictures | Pixels,
    config: GanTrainConfig,
    initial: Mapping[str, Tensor] | None = None,
    seconds: float | None = None,
    on_step: OnStep | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> FleetResult:
    """Train K networks, each on its own targets.

    Args:
        generator: the shared base; not changed.
        discriminator: every concept starts from a copy of its weights; not changed.
        material: pairs of K concepts, see `zoo.training.batches.material_of`.
        initial: where to start, {name: [K, ...]}; default: the base's own values.
        seconds: with a wall-clock budget the schedule follows elapsed time instead of `config.steps`.
        on_step: called as (step, training seconds, params) before each step and after the last; not on the clock.
            With `config.ema` it gets the averages.
        stop: asked before each step; training ends where it says True.
    """
    fleet = Fleet.start(generator, discriminator, config, len(material.targets), initial)
    return run_fleet(fleet, material, seconds, on_step, stop)


def run_fleet(
    fleet: Fleet,
    material: Pictures | Pixels,
    seconds: float | None = None,
    on_step: OnStep | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> FleetResult:
    """Train a fleet to the end of its schedule, from wherever it is; the arguments are those of `train_fleet`.

    A fleet that was restored meets the batches that it would have met. Training ends at once when no concept is
    finite any more.
    """
    config, device = fleet.config, material.targets.device
    batches = islice(material.indices(config.batch_size, config.seed), fleet.steps, None)
    while not stop() and (fleet.steps < config.steps if seconds is None else fleet.seconds < seconds):
        if on_step is not None:
            on_step(fleet.steps, fleet.seconds, fleet.averaged)
        started = clock(device)
        progress = fleet.seconds / seconds if seconds is not None else fleet.steps / config.steps
        index = next(batches).to(device)
        fleet.step(material.batch(index), learning_rate_factor(config, progress))
        fleet.seconds += clock(device) - started
        if bool((fleet.diverged_at >= 0).all()):
            break
    final = {name: value.detach() for name, value in fleet.averaged.items()}
    if on_step is not None:
        on_step(fleet.steps, fleet.seconds, final)
    reasons = [None if at < 0 else f"loss or gradient not finite at step {at}" for at in fleet.diverged_at.tolist()]
    return FleetResult(final, fleet.diverged_at >= 0, reasons, fleet.steps, fleet.seconds, fleet.losses)


def learning_rate_factor(config: GanTrainConfig, progress: float) -> float:
    """Return the share of the peak learning rate at `progress` in [0, 1)."""
    warmup = min(1.0, (progress + 1 / max(config.steps, 1)) / 0.03)
    if config.schedule == "constant":
        return warmup
    if config.schedule != "cosine":
        raise WeightzooError(f"unknown schedule {config.schedule!r}; known: cosine, constant")
    return warmup * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


def clock(device: torch.device) -> float:
    """Return the seconds on the clock, once the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
