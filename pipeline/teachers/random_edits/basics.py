"""What random edits are made of: blurs, slopes, and a picture in relation to its own values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from kornia.filters import gaussian_blur2d
from torch import Tensor

Edit = Callable[[Tensor], Tensor]  # photos [N, 3, H, W] in [0, 1] -> the same shape
Draw = Callable[[np.random.Generator], Edit]
QUANTILES = 4096  # most pixels that quantiles are taken of


def gaussian(images: Tensor, sigma: float) -> Tensor:
    """Return images blurred with a standard deviation of `sigma` pixels."""
    size = 2 * max(1, int(np.ceil(3 * sigma))) + 1
    return gaussian_blur2d(images, (size, size), (sigma, sigma), border_type="replicate")


def stretched(images: Tensor, low: float = 0.005, high: float = 0.995) -> Tensor:
    """Return each channel of each picture between its own quantiles `low` and `high`."""
    flat = images.flatten(2)
    values = flat[..., :: max(1, flat.shape[-1] // QUANTILES)]
    ends = values.quantile(torch.tensor((low, high)), dim=-1)[..., None, None]
    return (images - ends[0]) / (ends[1] - ends[0]).clamp_min(0.02)


def slopes(grey: Tensor) -> tuple[Tensor, Tensor]:
    """Return the differences of the right and left neighbours, and of the lower and upper ones, [N, 1, H, W] each."""
    padded = F.pad(grey, (1, 1, 1, 1), mode="replicate")
    across = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    return across, padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]


def ranks(grey: Tensor) -> Tensor:
    """Return the share of each picture's pixels that are darker than each pixel, for [N, 1, H, W]."""
    flat = grey.flatten(1)
    known = flat[:, :: max(1, flat.shape[1] // QUANTILES)].sort(1).values.contiguous()
    return (torch.searchsorted(known, flat.contiguous()).float() / known.shape[1]).view_as(grey)


def drawn_colour(rng: np.random.Generator, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Return a colour [3, 1, 1] whose channels are between `low` and `high`."""
    return torch.from_numpy(rng.uniform(low, high, (3, 1, 1))).float()
