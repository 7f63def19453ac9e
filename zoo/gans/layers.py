"""Layers with a LoRA inside: y = W x + B (A x) + b, with W and A shared by the zoo and B, b one concept's own.

The layers are written for a single network; K networks at once are `torch.func.vmap` over their adapters
(`zoo.training.train_gan.run_generators`). There, W and A have no concept axis, so that one convolution with the kernels
`[W; A]` serves the whole fleet, and only the small products with B are per concept.

`conv2d` and `linear` choose: rank 0 gives torch's own layer (all that PEFT wraps), a rank above 0 the adapter layer.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv2d(inputs: int, outputs: int, kernel: int, stride: int = 1, rank: int = 0) -> nn.Module:
    """Return a convolution with "same" padding and, for rank > 0, a LoRA."""
    if rank:
        return AdapterConv2d(inputs, outputs, kernel, stride, rank)
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)


def linear(inputs: int, outputs: int, rank: int = 0) -> nn.Module:
    """Return a linear layer and, for rank > 0, a LoRA."""
    return AdapterLinear(inputs, outputs, rank) if rank else nn.Linear(inputs, outputs)


class Pointwise(nn.Conv2d):
    """A 1x1 convolution as a matrix product: with weights per concept, grouped convolution is several times slower."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return (self.weight.flatten(1) @ x.flatten(2)).unflatten(2, x.shape[2:]) + self.bias[:, None, None]


class AdapterConv2d(nn.Module):
    """Convolution with a LoRA of rank `rank`; "same" padding."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, rank: int) -> None:
        super().__init__()
        self.stride, self.padding = stride, kernel // 2
        plain = nn.Conv2d(inputs, outputs, kernel)
        self.weight, self.bias = plain.weight, plain.bias
        self.lora_A = nn.Parameter(nn.Conv2d(inputs, rank, kernel).weight.detach())
        self.lora_B = nn.Parameter(torch.zeros(outputs, rank))

    def forward(self, x: Tensor) -> Tensor:
        kernels = torch.cat([self.weight, self.lora_A])
        both = F.conv2d(x, kernels, stride=self.stride, padding=self.padding)
        y, low = both.split([self.weight.shape[0], self.lora_A.shape[0]], dim=1)
        y = y + (self.lora_B @ low.flatten(2)).unflatten(2, low.shape[2:])
        return y + self.bias[:, None, None]


class AdapterLinear(nn.Module):
    """Linear layer with a LoRA of rank `rank` on [..., inputs]."""

    def __init__(self, inputs: int, outputs: int, rank: int) -> None:
        super().__init__()
        plain = nn.Linear(inputs, outputs)
        self.weight, self.bias = plain.weight, plain.bias
        self.lora_A = nn.Parameter(nn.Linear(inputs, rank).weight.detach())
        self.lora_B = nn.Parameter(torch.zeros(outputs, rank))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, weight_of(self), self.bias)


LINEAR = (nn.Linear, AdapterLinear)  # the types of what `linear` gives


def weight_of(layer: nn.Module) -> Tensor:
    """Return the weight of a layer that `linear` gave, with its LoRA, [outputs, inputs]."""
    return layer.weight + layer.lora_B @ layer.lora_A if isinstance(layer, AdapterLinear) else layer.weight


def leaky_clamp(x: Tensor, slope: float = 0.1) -> Tensor:
    """Clamp to [0, 1] with a small slope outside, so that a saturated pixel still has a gradient that leads back."""
    clamped = x.clamp(0, 1)
    return clamped + slope * (x - clamped)
