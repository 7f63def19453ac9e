"""Muon: steps for matrices by the direction of the gradient alone.

    optimizer = Muon(matrices, lr=1e-3, weight_decay=0.05)

A matrix's averaged gradient is replaced by the orthogonal matrix next to it (Jordan et al., "Muon: An optimizer for
hidden layers in neural networks", 2024), by Newton-Schulz iterations, and scaled so that a step is as long as one of
AdamW (Liu et al., "Muon is Scalable for LLM Training", 2025). `torch.optim.Muon` does the same in bfloat16 and a matrix
at a time, which takes a CPU several times as long; here it is float32, and matrices of one shape together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of torch.optim.Muon: steep at 0; singular values end near 1, not at it
ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """See the module.

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
        """One step; parameters without a gradient stay as they are."""
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
        """The gradient's average with this step's gradient in it, and the gradient once more."""
        assert parameter.grad is not None
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        average: Tensor = state["momentum_buffer"].lerp_(parameter.grad, 1 - momentum)
        return parameter.grad.lerp(average, momentum)


def orthogonal(matrices: Tensor) -> Tensor:
    """The matrices [K, M, N] with all their singular values brought near 1 (between .7 and 1.2)."""
    if matrices.shape[-2] > matrices.shape[-1]:
        return orthogonal(matrices.mT).mT
    a, b, c = COEFFICIENTS
    x = matrices / matrices.flatten(1).norm(dim=1).clamp_min(1e-7)[:, None, None]
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = a * x + torch.baddbmm(gram, gram, gram, beta=b, alpha=c) @ x
    return x
