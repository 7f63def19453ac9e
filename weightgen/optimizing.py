"""What both training stages do at every step: seed, progress, learning rate, weight decay, averaged weights, device."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from zoo.errors import WeightzooError


def step_seed(*numbers: int) -> int:
    """A seed for one step: all randomness of step n is a function of (seed, n, ...)."""
    return hash(numbers) & 0x7FFFFFFFFFFFFFFF


def share_done(step: int, steps: int, elapsed: float, seconds: float | None) -> float:
    """How much of a training is done, 0 to 1: of its steps, or of the seconds that take their place."""
    if seconds is None:
        return step / max(steps, 1)
    return min(elapsed / max(seconds, 1e-9), 1.0)


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices, none for vectors (biases, norms, null states)."""
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    return [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]


def learning_rate_factor(progress: float, warmup: float) -> float:
    """Linear warm-up over the first `warmup` of the training, then a cosine to zero."""
    if progress < warmup:
        return max(progress, 1e-3) / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


@torch.no_grad()
def update_ema(ema: nn.Module, network: nn.Module, decay: float) -> None:
    """ema <- decay * ema + (1 - decay) * network."""
    torch._foreach_lerp_(list(ema.parameters()), list(network.parameters()), 1 - decay)


def pick_device(device: str) -> str:
    """Turns "auto" into a GPU when there is one.

    Raises:
        WeightzooError: a GPU is asked for where there is none, or something that is no device.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError:
        raise WeightzooError(f"unknown device {device!r}; use auto, cpu or cuda") from None
    if kind == "cuda" and not torch.cuda.is_available():
        raise WeightzooError(f"there is no GPU here for the device {device!r}; use cpu, or install torch for CUDA")
    return device
