"""Random edits of neighbourhoods: blurs, sharpening, lines, relief, paint; widths in pixels of the picture."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from kornia.filters import bilateral_blur, box_blur, median_blur
from torch import Tensor

from pipeline.teachers.operators.basics import luma, screen
from pipeline.teachers.random_edits.basics import Edit, drawn_colour, gaussian, ranks, slopes, stretched


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
    after = int(rng.integers(0, 4))  # as it is, twice; stretched; each grey as often as any other

    def edit(x: Tensor) -> Tensor:
        grey = luma(x) if sigma < 0.3 else gaussian(luma(x), sigma)
        across, down = slopes(grey)
        height = (across * float(np.cos(angle)) + down * float(np.sin(angle))) * gain
        shown = (x + height if coloured else 0.5 + height).expand_as(x)
        if after == 3 and not coloured:
            return ranks(shown[:, :1]).expand_as(x)
        return stretched(shown) if after == 2 else shown

    return edit


def paint(rng: np.random.Generator) -> Edit:
    """Return the median, the brightest or the darkest of the neighbours."""
    kind, size = int(rng.integers(0, 3)), int(rng.choice((3, 5)))
    if kind == 0:
        return lambda x: median_blur(x, (size, size))
    sign = 1 if kind == 1 else -1
    reach = (size // 2,) * 4
    return lambda x: sign * F.max_pool2d(F.pad(sign * x, reach, mode="replicate"), size, 1)


def sketch(rng: np.random.Generator) -> Edit:
    """Return a pencil sketch: grey over its own blurred brightness."""
    sigma, power = float(rng.uniform(1, 6)), float(rng.uniform(1, 2.5))

    def edit(x: Tensor) -> Tensor:
        grey = luma(x)
        return ((grey / gaussian(grey, sigma).clamp_min(0.03)).clamp(0, 1) ** power).expand_as(x)

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


def kuwahara(rng: np.random.Generator) -> Edit:
    """Return the mean of the most even of the four squares around each pixel, as flat as oil paint."""
    reach = int(rng.integers(1, 5))

    def edit(x: Tensor) -> Tensor:
        size = reach + 1
        padded = F.pad(x, (reach,) * 4, mode="replicate")
        means = F.avg_pool2d(padded, size, 1)
        spreads = (F.avg_pool2d(padded.square(), size, 1) - means.square()).sum(1, keepdim=True)
        corners = [(slice(y, y + x.shape[2]), slice(z, z + x.shape[3])) for y in (0, reach) for z in (0, reach)]
        most_even = torch.cat([spreads[:, :, rows, columns] for rows, columns in corners], 1).argmin(1, keepdim=True)
        choices = torch.stack([means[:, :, rows, columns] for rows, columns in corners])
        return choices.gather(0, most_even[None].expand(1, -1, 3, -1, -1))[0]

    return edit


def cleaned(rng: np.random.Generator) -> Edit:
    """Return flat areas smoothed and edges kept."""
    colour, space = float(rng.uniform(0.05, 0.3)), float(rng.uniform(1, 3))
    return lambda x: bilateral_blur(x, (7, 7), colour, (space, space), border_type="replicate")


def ink(rng: np.random.Generator) -> Edit:
    """Return a photocopy: the difference of two blurs behind a soft step."""
    sigma, wider = float(rng.uniform(0.4, 2)), float(rng.uniform(1.4, 2.5))
    gain, light = float(np.exp(rng.uniform(np.log(8), np.log(60)))), float(rng.uniform(-0.4, 0.6))
    dark, bright = drawn_colour(rng, 0.0, 0.35), drawn_colour(rng, 0.75, 1.0)
    coloured = bool(rng.random() < 0.3)

    def edit(x: Tensor) -> Tensor:
        grey = luma(x)
        shown = torch.sigmoid((gaussian(grey, sigma) - gaussian(grey, sigma * wider)) * gain * 2 + light * 4 + 1)
        return x * shown if coloured else torch.lerp(dark, bright, shown)

    return edit


def glow(rng: np.random.Generator) -> Edit:
    """Return a picture with its own blur laid over it: screened, multiplied or as soft light."""
    sigma, kind, amount = (
        float(np.exp(rng.uniform(0, np.log(8)))),
        int(rng.integers(0, 3)),
        float(rng.uniform(0.3, 1)),
    )

    def edit(x: Tensor) -> Tensor:
        veil = gaussian(x, sigma)
        laid = (screen(x, veil), x * veil, x.square() + 2 * veil * x * (1 - x))[kind]
        return torch.lerp(x, laid, amount)

    return edit


def local_contrast(rng: np.random.Generator) -> Edit:
    """Return each pixel's brightness in relation to the mean and the spread of its surroundings."""
    sigma, gain, coloured = float(rng.uniform(2, 6)), float(rng.uniform(0.1, 0.3)), bool(rng.random() < 0.5)

    def edit(x: Tensor) -> Tensor:
        grey = luma(x)
        mean = gaussian(grey, sigma)
        spread = (gaussian(grey.square(), sigma) - mean.square()).clamp_min(0).sqrt()
        shown = 0.5 + gain * (grey - mean) / (spread + 0.02)
        return x + shown - grey if coloured else shown.expand_as(x)

    return edit


def hatching(rng: np.random.Generator) -> Edit:
    """Return a drawing: dark lines where the brightness changes, on paper as bright as the picture."""
    reach, gain = int(rng.integers(1, 3)), float(np.exp(rng.uniform(np.log(2), np.log(10))))
    after, normal, tone = float(rng.uniform(0.3, 1)), bool(rng.random() < 0.5), float(rng.uniform(0, 1))

    def edit(x: Tensor) -> Tensor:
        grey = luma(x)
        edges = (grey - box_blur(grey, 2 * reach + 1, border_type="replicate")).abs() * gain
        shown = 1 - gaussian((stretched(edges, 0.0, 0.98) if normal else edges).clamp(0, 1), after)
        return (shown * (1 - tone + tone * grey.clamp_min(0).sqrt())).expand_as(x)

    return edit
