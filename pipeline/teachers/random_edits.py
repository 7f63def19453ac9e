"""Edits without words, drawn from a seed: what many programs do to pictures, composed at random.

    edit = random_edit(seed=7)
    targets = edit(photos)               # [N, 3, H, W] in [0, 1] -> the same shape

An edit is one to three operations in a row: colour maps, tone curves, look-up ramps, steps, blurs, sharpening, lines,
relief, paint, whatever stretches or equalises each picture, light over the frame, small random networks. Widths are in
pixels of the picture, as in most programs. The same seed gives the same operations and parameters everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from kornia.filters import gaussian_blur2d, median_blur
from torch import Tensor

from pipeline.teachers.operators.basics import frame, luma

Edit = Callable[[Tensor], Tensor]
Draw = Callable[[np.random.Generator], Edit]
QUANTILES = 4096  # most pixels that quantiles are taken of


@dataclass(frozen=True, eq=False)
class Composition:
    """Operations in a row, mixed with the source.

    Attributes:
        amount: 1 is the edit alone, 0 the source.
    """

    operations: tuple[Edit, ...]
    amount: float

    @torch.no_grad()
    def __call__(self, photos: Tensor) -> Tensor:
        """Return photos [N, 3, H, W] in [0, 1] edited."""
        edited = photos
        for operation in self.operations:
            edited = operation(edited).clamp(0, 1)
        return photos + (edited - photos) * self.amount


def random_edit(seed: int) -> Composition:
    """Return the edit of a seed: one operation in half of the cases, else two or three."""
    rng = np.random.default_rng([20261128, seed])
    count = int(rng.choice((1, 2, 3), p=(0.5, 0.35, 0.15)))
    names = rng.choice(sorted(DRAWS), count, replace=False)
    amount = float(rng.uniform(0.4, 1.0)) if rng.random() < 0.25 else 1.0
    return Composition(tuple(DRAWS[name](rng) for name in names), amount)


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


def colour_map(rng: np.random.Generator) -> Edit:
    """Return a random linear map of colours near the identity."""
    matrix = torch.from_numpy(np.eye(3) + rng.normal(0, rng.uniform(0.05, 0.4), (3, 3))).float()
    bias = torch.from_numpy(rng.normal(0, 0.08, (3, 1, 1))).float()
    return lambda x: torch.einsum("dc,nchw->ndhw", matrix, x) + bias


def tone_curve(rng: np.random.Generator) -> Edit:
    """Return a power and new ends for each channel, or for all alike; sometimes a negative."""
    channels = 1 if rng.random() < 0.5 else 3
    power = torch.from_numpy(np.exp(rng.normal(0, 0.5, (channels, 1, 1)))).float()
    low, high = (torch.from_numpy(rng.uniform(*ends, (channels, 1, 1))).float() for ends in ((-0.2, 0.2), (0.8, 1.2)))
    sign = -1 if rng.random() < 0.1 else 1
    return lambda x: low + (high - low) * ((x if sign > 0 else 1 - x).clamp_min(1e-3) ** power)


def saturation(rng: np.random.Generator) -> Edit:
    """Return the colour away from grey, or towards it."""
    amount, gain = float(rng.uniform(0, 2.5)), float(rng.uniform(0.8, 1.2))
    return lambda x: (luma(x) + (x - luma(x)) * amount) * gain


def ramp(rng: np.random.Generator) -> Edit:
    """Return luminance through a ramp of two to four random colours."""
    colours = torch.from_numpy(rng.uniform(0, 1, (int(rng.integers(2, 5)), 3))).float()
    if rng.random() < 0.7:
        colours = colours[colours.mean(1).argsort(stable=True)]
    last = len(colours) - 1

    def edit(x: Tensor) -> Tensor:
        at = luma(x)[:, 0].clamp(0, 1) * last
        below = at.floor().clamp(0, last - 1)
        mixed = torch.lerp(colours[below.long()], colours[below.long() + 1], (at - below)[..., None])
        return mixed.permute(0, 3, 1, 2)

    return edit


def steps(rng: np.random.Generator) -> Edit:
    """Return colours, or luminance, in a few steps."""
    levels = int(rng.integers(2, 9)) - 1
    grey = rng.random() < 0.3
    return lambda x: ((luma(x).expand_as(x) if grey else x) * levels).round() / levels


def soft(rng: np.random.Generator) -> Edit:
    """Return a blur of up to 6 pixels."""
    return partial(gaussian, sigma=float(np.exp(rng.uniform(np.log(0.5), np.log(6)))))


def sharpening(rng: np.random.Generator) -> Edit:
    """Return differences from a blur amplified."""
    sigma, amount = float(np.exp(rng.uniform(np.log(0.6), np.log(8)))), float(rng.uniform(0.4, 3))
    return lambda x: x + (x - gaussian(x, sigma)) * amount


def lines(rng: np.random.Generator) -> Edit:
    """Return lines where the brightness changes: dark on a bright ground or the other way round, in any colours."""
    sigma, gain = float(rng.uniform(0, 1.5)), float(np.exp(rng.uniform(np.log(1), np.log(8))))
    ground, ink = (torch.from_numpy(rng.uniform(*ends, (3, 1, 1))).float() for ends in ((0.7, 1), (0, 0.4)))
    if rng.random() < 0.3:
        ground, ink = ink, ground
    if rng.random() < 0.5:
        ground, ink = (value.mean().expand(3, 1, 1).round() for value in (ground, ink))
    relative, second = bool(rng.random() < 0.4), bool(rng.random() < 0.4)
    after = float(rng.uniform(0.4, 1.2)) if rng.random() < 0.5 else 0.0

    def edit(x: Tensor) -> Tensor:
        grey = luma(x) if sigma < 0.3 else gaussian(luma(x), sigma)
        if second:
            amount = (F.avg_pool2d(F.pad(grey, (1, 1, 1, 1), mode="replicate"), 3, 1) - grey).abs() * 3
        else:
            across, down = slopes(grey)
            amount = (across.square() + down.square()).sqrt()
        amount = (stretched(amount, 0.0, 0.995) if relative else amount * gain).clamp(0, 1)
        return torch.lerp(ground, ink, gaussian(amount, after) if after else amount)

    return edit


def relief(rng: np.random.Generator) -> Edit:
    """Return a picture lit from one side, as if its brightness were height; grey or in its own colours."""
    angle, gain = float(rng.uniform(0, 2 * np.pi)), float(np.exp(rng.uniform(np.log(0.7), np.log(5))))
    sigma, coloured = float(rng.uniform(0, 1.5)), bool(rng.random() < 0.3)
    normal = bool(rng.random() < 0.5)

    def edit(x: Tensor) -> Tensor:
        grey = luma(x) if sigma < 0.3 else gaussian(luma(x), sigma)
        across, down = slopes(grey)
        height = (across * float(np.cos(angle)) + down * float(np.sin(angle))) * gain
        shown = (x + height if coloured else 0.5 + height).expand_as(x)
        return stretched(shown) if normal else shown

    return edit


def paint(rng: np.random.Generator) -> Edit:
    """Return the median, the brightest or the darkest of the neighbours."""
    kind, size = int(rng.integers(0, 3)), int(rng.choice((3, 5)))
    if kind == 0:
        return lambda x: median_blur(x, (size, size))
    sign = 1 if kind == 1 else -1
    reach = (size // 2,) * 4
    return lambda x: sign * F.max_pool2d(F.pad(sign * x, reach, mode="replicate"), size, 1)


def own_range(rng: np.random.Generator) -> Edit:
    """Return each picture stretched between its own ends: by channel, or all channels alike."""
    cut, together = float(rng.choice((0.0, 0.005, 0.02))), bool(rng.random() < 0.5)

    def edit(x: Tensor) -> Tensor:
        if not together:
            return stretched(x, cut, 1 - cut)
        grey = luma(x)
        return x * (stretched(grey, cut, 1 - cut) / grey.clamp_min(0.02)).clamp(0, 4)

    return edit


def equalised(rng: np.random.Generator) -> Edit:
    """Return each picture with its luminance's own histogram made even, in grey or in its colours."""
    coloured = bool(rng.random() < 0.6)

    def edit(x: Tensor) -> Tensor:
        grey = luma(x)
        flat = grey.flatten(1)
        known = flat[:, :: max(1, flat.shape[1] // QUANTILES)].sort(1).values.contiguous()
        rank = (torch.searchsorted(known, flat.contiguous()).float() / known.shape[1]).view_as(grey)
        return x * (rank / grey.clamp_min(0.02)).clamp(0, 4) if coloured else rank.expand_as(x)

    return edit


def grey_world(rng: np.random.Generator) -> Edit:
    """Return each picture with its mean colour made grey, or another colour."""
    wanted = torch.from_numpy(0.45 + rng.normal(0, 0.08, (3, 1, 1)) * (rng.random() < 0.6)).float()
    return lambda x: x * (wanted / x.mean((2, 3), keepdim=True).clamp_min(0.05)).clamp(0.3, 3)


def frame_light(rng: np.random.Generator) -> Edit:
    """Return light or colour that grows along a direction over the frame, or towards its corners."""
    angle, radial = float(rng.uniform(0, 2 * np.pi)), bool(rng.random() < 0.5)
    colour = torch.from_numpy(rng.uniform(0, 1, (3, 1, 1)) * (rng.random() < 0.6)).float()
    amount, start = float(rng.uniform(0.3, 0.9)), float(rng.uniform(0, 0.6))

    def edit(x: Tensor) -> Tensor:
        across, down = frame(x)
        slope = across * float(np.cos(angle)) + down * float(np.sin(angle))
        away = (across.square() + down.square()).sqrt() / 1.4 if radial else slope * 0.35 + 0.5
        return torch.lerp(x, colour.expand_as(x), (((away - start) / (1 - start)).clamp(0, 1) * amount))

    return edit


def sketch(rng: np.random.Generator) -> Edit:
    """Return a pencil sketch: grey over its own blurred brightness."""
    sigma, power = float(rng.uniform(1, 6)), float(rng.uniform(1, 2.5))

    def edit(x: Tensor) -> Tensor:
        grey = luma(x)
        return ((grey / gaussian(grey, sigma).clamp_min(0.03)).clamp(0, 1) ** power).expand_as(x)

    return edit


def colour_network(rng: np.random.Generator) -> Edit:
    """Return a small random network of the colour alone."""
    first = torch.from_numpy(rng.normal(0, 2.0, (12, 3))).float()
    bias = torch.from_numpy(rng.normal(0, 0.7, (12, 1, 1))).float()
    last = torch.from_numpy(rng.normal(0, 0.25, (3, 12))).float()
    keep = float(rng.uniform(0, 1))

    def edit(x: Tensor) -> Tensor:
        hidden = torch.tanh(torch.einsum("dc,nchw->ndhw", first, x - 0.5) + bias)
        return keep * x + (1 - keep) * 0.5 + torch.einsum("dc,nchw->ndhw", last, hidden)

    return edit


def patch_network(rng: np.random.Generator) -> Edit:
    """Return a small random network of the 5x5 neighbours' luminance, added to the colour."""
    filters = torch.from_numpy(rng.normal(0, 1, (8, 1, 5, 5))).float()
    filters = (filters - filters.mean((2, 3), keepdim=True)) * float(np.exp(rng.uniform(np.log(0.2), np.log(1.5))))
    last = torch.from_numpy(rng.normal(0, 0.3, (3, 8, 1, 1))).float()
    keep = float(rng.uniform(0, 1))

    def edit(x: Tensor) -> Tensor:
        hidden = F.relu(F.conv2d(F.pad(luma(x), (2, 2, 2, 2), mode="replicate"), filters))
        return keep * x + (1 - keep) * 0.5 + F.conv2d(hidden, last)

    return edit


DRAWS: dict[str, Draw] = {
    draw.__name__: draw
    for draw in (
        colour_map, colour_network, equalised, frame_light, grey_world, lines, own_range, paint, patch_network,
        ramp, relief, saturation, sharpening, sketch, soft, steps, tone_curve,
    )
}  # fmt: skip
