"""What both training stages do at every step: seed, progress, optimisers, learning rate, averaged weights, device."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from weightgen.training.muon import Muon
from zoo.errors import WeightzooError


def step_seed(*numbers: int) -> int:
    """Return a seed of 63 bits for one step: all randomness of step n is a function of (seed, n, ...).

    It is the first 63 bits of the sha256 of the numbers in decimal, with spaces between them.
    """
    digest = hashlib.sha256(" ".join(map(str, numbers)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def share_done(step: int, steps: int, elapsed: float, seconds: float | None) -> float:
    """How much of a training is done, 0 to 1: of its steps, or of the seconds that take their place."""
    if seconds is None:
        return step / max(steps, 1)
    return min(elapsed / max(seconds, 1e-9), 1.0)


def make_optimizers(
    network: nn.Module, name: str, learning_rate: float, weight_decay: float
) -> dict[str, torch.optim.Optimizer]:
    """The optimisers that share out a network's parameters, by name.

    "muon": Muon for the matrices of linear layers, and AdamW for the rest; "adamw": AdamW alone. Vectors (biases,
    norms, null states) have no weight decay.
    """
    matrices = linear_weights(network) if name == "muon" else []
    taken = set(map(id, matrices))
    rest = [p for p in network.parameters() if id(p) not in taken]
    groups = [
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizers: dict[str, torch.optim.Optimizer] = {"adamw": torch.optim.AdamW(groups, learning_rate, fused=True)}
    if matrices:
        optimizers["muon"] = Muon(matrices, learning_rate, weight_decay)
    return optimizers


def linear_weights(network: nn.Module) -> list[Tensor]:
    """Weights of linear layers and of attention's projections, each once. Embeddings are not among them."""
    found: list[Tensor] = []
    for module in network.modules():
        if isinstance(module, nn.Linear):
            found.append(module.weight)
        elif isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
            found.append(module.in_proj_weight)
    return list(dict.fromkeys(found))


def set_learning_rate(optimizers: Iterable[torch.optim.Optimizer], learning_rate: float) -> None:
    """For the next step."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate


def update(optimizers: Iterable[torch.optim.Optimizer]) -> None:
    """A step of each, and no gradients afterwards."""
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()


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
