"""Optimisers of both training stages, their learning rate, averaged weights, and the device.

optimizers = make_optimizers(denoiser, "muon", learning_rate=1e-3, weight_decay=0.05)
update(optimizers.values(), 1e-3 * learning_rate_factor(progress, warmup=0.05))
update_ema(averaged, denoiser, decay=0.99)
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from zoo.errors import WeightzooError
from zoo.gans.branches import Branch
from zoo.training.gan_fleet import set_learning_rate, update_average

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of torch.optim.Muon: steep at 0; singular values end near 1, not at it
ITERATIONS = 5


def step_seed(*numbers: int) -> int:
    """Return a seed of 63 bits for one step: all randomness of step n is a function of (seed, n, ...).

    It is the first 63 bits of the sha256 of the numbers in decimal, with spaces between them.
    """
    digest = hashlib.sha256(" ".join(map(str, numbers)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def make_optimizers(
    network: nn.Module, name: str, learning_rate: float, weight_decay: float
) -> dict[str, torch.optim.Optimizer]:
    """Return the optimisers that share out a network's parameters, by name.

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
    """Return the weights of linear layers and of attention's projections, each once; embeddings are not among them.

    Nor are those of branches, whose ReLUs are features of a solve: their sizes matter, which Muon makes equal.
    """
    found: list[Tensor] = []
    of_branches = {layer for branch in network.modules() if isinstance(branch, Branch) for layer in branch.modules()}
    for module in network.modules():
        if isinstance(module, nn.Linear) and module not in of_branches:
            found.append(module.weight)
        elif isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
            found.append(module.in_proj_weight)
    return list(dict.fromkeys(found))


def update(optimizers: Iterable[torch.optim.Optimizer], learning_rate: float) -> None:
    """Take a step of each optimiser at a learning rate and forget the gradients."""
    for optimizer in optimizers:
        set_learning_rate(optimizer, learning_rate)
        optimizer.step()
        optimizer.zero_grad()


def learning_rate_factor(progress: float, warmup: float) -> float:
    """Return the share of the peak learning rate: a linear rise over the first `warmup`, then a cosine to zero."""
    if progress < warmup:
        return max(progress, 1e-3) / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


def update_ema(ema: nn.Module, network: nn.Module, decay: float) -> None:
    """Set the parameters of `ema` to decay x ema + (1 - decay) x network."""
    update_average(dict(ema.named_parameters()), dict(network.named_parameters()), decay)


def pick_device(device: str) -> str:
    """Return a device's name, for "auto" that of the GPU where there is one.

    Raises:
        WeightzooError: the device is unknown, or it is a GPU where there is none.
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


class Muon(torch.optim.Optimizer):
    """Step matrices by the direction of their gradient alone.

    A matrix's averaged gradient is replaced by the orthogonal matrix next to it (Jordan et al., "Muon: An optimizer for
    hidden layers in neural networks", 2024), by Newton-Schulz iterations, and scaled so that a step is as long as one
    of AdamW (Liu et al., "Muon is Scalable for LLM Training", 2025). `torch.optim.Muon` does the same in bfloat16 and
    one matrix at a time, which takes a CPU several times as long; here it is float32, and matrices of one shape
    together.

    Args:
        params: matrices [M, N], or groups of them.
        weight_decay: decoupled, as AdamW's.
        momentum: decay of the averaged gradient (Nesterov's form).
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Take one step; parameters without a gradient stay as they are."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape[parameter.shape].append(parameter)
            for shape, parameters in by_shape.items():
                directions = orthogonal(torch.stack([self.averaged(p, group["momentum"]) for p in parameters]))
                length = 0.2 * max(shape) ** 0.5  # the root mean square of AdamW's steps
                for parameter, direction in zip(parameters, directions, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(direction, alpha=-group["lr"] * length)

    def averaged(self, parameter: Tensor, momentum: float) -> Tensor:
        """Return the gradient mixed with its average over the steps, this one included (Nesterov)."""
        assert parameter.grad is not None
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        average: Tensor = state["momentum_buffer"].lerp_(parameter.grad, 1 - momentum)
        return parameter.grad.lerp(average, momentum)


def orthogonal(matrices: Tensor) -> Tensor:
    """Return the matrices [K, M, N] with all their singular values brought near 1 (between 0.7 and 1.2)."""
    if matrices.shape[-2] > matrices.shape[-1]:
        return orthogonal(matrices.mT).mT
    a, b, c = COEFFICIENTS
    x = matrices / matrices.flatten(1).norm(dim=1).clamp_min(1e-7)[:, None, None]
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = a * x + torch.baddbmm(gram, gram, gram, beta=b, alpha=c) @ x
    return x
