"""What the image operators share: luminance, mixing, blurring, gradients, frame coordinates.

Images are float32 [N, 3, H, W], RGB in [0, 1]. Lengths are fractions of the frame's short side, so
that an operator means the same at 64 and at 384 pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Colour = Sequence[float]
LUMA = (0.299, 0.587, 0.114)


def side(images: Tensor) -> int:
    """Return the frame's short side in pixels."""
    return min(images.shape[-2:])


def luma(images: Tensor) -> Tensor:
    """Return the luminance, [N, 1, H, W]."""
    return LUMA[0] * images[:, 0:1] + LUMA[1] * images[:, 1:2] + LUMA[2] * images[:, 2:3]


def plane(colour: Colour, like: Tensor) -> Tensor:
    """Return an RGB triple as [1, 3, 1, 1]."""
    return torch.tensor(tuple(colour), dtype=like.dtype, device=like.device).view(1, 3, 1, 1)


def mix(a: Tensor, b: Tensor, amount: Tensor | float) -> Tensor:
    """Mix two pictures: `a` at amount 0, `b` at amount 1."""
    return a + (b - a) * amount


def screen(a: Tensor, b: Tensor) -> Tensor:
    """Add light: the screen blend."""
    return 1 - (1 - a) * (1 - b)


def smoothstep(values: Tensor, low: float, high: float) -> Tensor:
    """Return 0 below `low`, 1 above `high`, and a smooth rise between them."""
    t = ((values - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def channel_mix(images: Tensor, matrix: Sequence[Sequence[float]]) -> Tensor:
    """Return channels that are weighted sums of the input channels; `matrix` is 3x3."""
    weights = torch.tensor([list(row) for row in matrix], dtype=images.dtype, device=images.device)
    return F.conv2d(images, weights[:, :, None, None])


def blur(images: Tensor, radius: float) -> Tensor:
    """Blur any [N, C, H, W] by a Gaussian; `radius` is its deviation as a fraction of the short side."""
    sigma = radius * side(images)
    if sigma < 0.25:
        return images
    shrink = 1
    while sigma / shrink > 2.5 and side(images) // (2 * shrink) >= 8:
        shrink *= 2
    height, width = images.shape[-2:]
    small = images
    if shrink > 1:
        small = F.interpolate(images, (math.ceil(height / shrink), math.ceil(width / shrink)), mode="area")
    small = _gaussian(small, sigma / shrink)
    if shrink > 1:
        small = F.interpolate(small, (height, width), mode="bilinear", align_corners=False)
    return small


def _gaussian(images: Tensor, sigma: float) -> Tensor:
    reach = min(max(1, math.ceil(2.5 * sigma)), side(images) - 1)
    offsets = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum()
    n, c, h, w = images.shape
    flat = F.pad(images.reshape(n * c, 1, h, w), (reach, reach, reach, reach), mode="replicate")
    flat = F.conv2d(F.conv2d(flat, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))
    return flat.reshape(n, c, h, w)


def box_mean(padded: Tensor, size: int, dim: int) -> Tensor:
    """Return the mean of `size` neighbours along `dim` (-1 or -2); the result is size - 1 shorter there."""
    length = padded.shape[dim] - size + 1
    total = padded.narrow(dim, 0, length).clone()
    for offset in range(1, size):
        total += padded.narrow(dim, offset, length)
    return total / size


def slopes(gray: Tensor) -> tuple[Tensor, Tensor]:
    """Return the horizontal and vertical slope of [N, C, H, W], per 1/64 of the frame."""
    scale = side(gray) / 64 / 2
    padded = F.pad(gray, (1, 1, 1, 1), mode="replicate")
    across = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) * scale
    down = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) * scale
    return across, down


def edge_strength(gray: Tensor, detail: float) -> Tensor:
    """Return the size of the slope after a blur of `detail`."""
    across, down = slopes(blur(gray, detail))
    return (across * across + down * down + 1e-8).sqrt()


def frame(like: Tensor) -> tuple[Tensor, Tensor]:
    """Return coordinates in [-1, 1]: x [1, 1, 1, W] grows to the right, y [1, 1, H, 1] downwards."""
    height, width = like.shape[-2:]
    x = (torch.arange(width, dtype=like.dtype, device=like.device) + 0.5) / width * 2 - 1
    y = (torch.arange(height, dtype=like.dtype, device=like.device) + 0.5) / height * 2 - 1
    return x.view(1, 1, 1, -1), y.view(1, 1, -1, 1)
