"""Carry an edit to another resolution: as an affine map of colour that varies slowly over the picture.

Around each pixel, the edited small picture is fitted as `A x + b` of the small source x (He et al., Guided image
filtering, 2010; Chen et al., Bilateral guided upsampling, 2016). A, b and what the fit leaves over are interpolated
and applied to the large source. Detail comes from the large source with the gain that the edit had on the small
one: a recoloured photo keeps its sharpness, a blurred one stays blurred.

Fine texture averages out in the small source, so the fit cannot tell there what the edit does to it. `detail_gain`
asks the edit itself, with two faint patterns laid over the source. An edit that keeps much of the fine pattern, as it
keeps the coarse one, is a colour edit, and what is missing is the network's own blur, which is mended. One that takes
most of it away is a blur, and all finer detail goes with it.

    gain = detail_gain(edit, small_source)
    fit = fit_local_affine(small_source, edit(small_source), gain)
    strip = fit.apply(large_source[:, :, 0:256], (0, 256), (height, width))

Each output pixel depends on its own source pixel and on interpolated maps, so strips need no overlap and show no
seam.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK = 256  # columns that are interpolated at a time
NOISE = 1e-4  # variance of colours below which a difference says nothing of the edit: 2.5 levels
TEXTURE = 4e-2  # variance of colours below which a difference is texture, above it an edge: 51 levels
SLOPE_RADIUS = 4  # pixels around which the slope of colours is fitted, on pictures without single pixels
PERIODS = (7, 21)  # pixels: of the fine pattern, which a blur takes away, and of the coarse one
PATTERN_HEIGHT = 0.01  # faint enough for a network to respond in proportion
PATTERN_RADIUS = 10  # a window holds whole periods of both
BLUR, COLOUR = 0.2, 0.7  # fine response over coarse one: of edits that leave no fine detail, and all of it
NO_RESPONSE = 1e-3  # squared response below which the two say nothing of each other


@dataclass(frozen=True)
class DetailGain:
    """What an edit makes of faint detail.

    Args:
        fine, coarse: A as in `LocalAffine` for patterns of both `PERIODS`, [1, 9, h, w].
    """

    fine: Tensor
    coarse: Tensor

    @cached_property
    def sharpness(self) -> Tensor:
        """Share of detail that is finer than the small picture which the edit keeps, [1, 1, h, w].

        Only grey detail counts: networks that blur still let through faint detail of a single colour.
        """
        fine, coarse = (gain.unflatten(1, (3, 3)).sum(2) for gain in (self.fine, self.coarse))
        likeness = (fine * coarse).sum(1, keepdim=True) + NO_RESPONSE
        share = likeness / ((coarse * coarse).sum(1, keepdim=True) + NO_RESPONSE)
        return ((share - BLUR) / (COLOUR - BLUR)).clamp(0, 1)


@dataclass(frozen=True)
class LocalAffine:
    """Maps [1, 15, h, w]: A (3x3: channel out, channel in), b and the remainder of the fit."""

    maps: Tensor

    def apply(self, source: Tensor, rows: tuple[int, int], size: tuple[int, int]) -> Tensor:
        """Edit a strip.

        Args:
            source: rows `rows[0]` to `rows[1]` (exclusive) of the large source, [1, 3, rows, W].
            size: height and width of the whole large source.

        Returns:
            [1, 3, rows, W]
        """
        first, weights = interpolation(self.maps.shape[-2], size[0], *rows)
        maps = weights @ self.columns(size[1])[..., first : first + weights.shape[1], :]
        matrix = maps[:, :9].unflatten(1, (3, 3))
        return (matrix * source[:, None]).sum(2) + maps[:, 9:12] + maps[:, 12:]

    def columns(self, width: int) -> Tensor:
        """Return the maps interpolated to full width, [1, 15, h, W]; kept for the strips that follow."""
        if width not in self._wide:
            parts = []
            for start in range(0, width, CHUNK):
                first, weights = interpolation(self.maps.shape[-1], width, start, min(start + CHUNK, width))
                parts.append(self.maps[..., first : first + weights.shape[1]] @ weights.T)
            self._wide[width] = torch.cat(parts, -1)
        return self._wide[width]

    @cached_property
    def _wide(self) -> dict[int, Tensor]:
        return {}


def fit_local_affine(source: Tensor, edited: Tensor, detail: DetailGain | None = None, radius: int = 2) -> LocalAffine:
    """Fit `edited` as a locally affine function of `source`, both [1, 3, h, w].

    Without `detail` the map gives `edited` back exactly at the source's own size. With it, the part of `edited` that
    the fit explains is replaced by what the edit means for fine detail: the slope between colours, fitted on slightly
    smoothed pictures because networks blur single pixels, times the share that the edit keeps.

    Args:
        detail: see `detail_gain`; without it, flat parts tend to the identity.
        radius: the fit looks at (2 radius + 1)^2 pixels, and is then averaged over as many.
    """
    unit = torch.eye(3, dtype=source.dtype, device=source.device).view(1, 9, 1, 1)
    fine = unit.expand(1, 9, *source.shape[-2:]) if detail is None else detail.fine
    gain, offset = averaged(slopes(source, edited, fine, NOISE, radius), source, edited, radius)
    remainder = edited - affine(gain, source) - offset
    if detail is not None:
        slope = slopes(box(source, 1), box(edited, 1), detail.coarse, TEXTURE, SLOPE_RADIUS)
        gain, offset = averaged(detail.sharpness * slope, source, edited, radius)
    return LocalAffine(torch.cat([gain, offset, remainder], 1))


def slopes(source: Tensor, edited: Tensor, usual: Tensor, noise: float, radius: int) -> Tensor:
    """Return the slope A of `edited` over `source` around each pixel, [1, 9, h, w].

    Args:
        usual: what A tends to where the source is flat, [1, 9, h, w].
        noise: the variance of colours at which the pictures and `usual` count alike.
    """
    mean, target = box(source, radius), box(edited, radius)
    unit = torch.eye(3, dtype=source.dtype, device=source.device)
    covariance = matrices(box(products(source, source), radius) - products(mean, mean))
    crossed = matrices(box(products(source, edited), radius) - products(mean, target))
    solution = torch.linalg.solve(covariance + noise * unit, crossed + noise * matrices(usual).mT)
    return solution.mT.flatten(-2).movedim(-1, 1)  # from [1, h, w, in, out]


def averaged(gain: Tensor, source: Tensor, edited: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """Return A and the b that keeps each window's mean colour, both averaged over windows."""
    offset = box(edited, radius) - affine(gain, box(source, radius))
    return box(gain, radius), box(offset, radius)


def detail_gain(edit: Callable[[Tensor], Tensor], source: Tensor) -> DetailGain:
    """Measure what an edit makes of faint detail around each pixel of `source` [1, 3, h, w].

    Both gains are near the slope of a colour edit; that of fine detail is near 0 for a blur.
    """
    fine, coarse = (pattern(source, period) for period in PERIODS)
    edited, both = edit(source), fine + coarse
    channels = torch.eye(3, dtype=source.dtype, device=source.device).view(3, 1, 3, 1, 1)
    changes = torch.cat([edit(source + both * channel) - edited for channel in channels])
    power_fine, power_coarse, shared = local(fine, fine), local(coarse, coarse), local(fine, coarse)
    seen_fine, seen_coarse = local(changes, fine), local(changes, coarse)
    # least squares of both patterns: windows that the frame cuts hold no whole periods, so the patterns overlap there
    determinant = power_fine * power_coarse - shared * shared
    gains = (
        (seen_fine * power_coarse - seen_coarse * shared) / determinant,
        (seen_coarse * power_fine - seen_fine * shared) / determinant,
    )
    return DetailGain(*(gain.transpose(0, 1).flatten(0, 1)[None] for gain in gains))  # from [in, out, h, w]


def pattern(source: Tensor, period: int) -> Tensor:
    """Return faint waves in both directions, [1, 1, h, w]."""
    turn = 2 * torch.pi / period
    rows, columns = (turn * torch.arange(length, device=source.device) for length in source.shape[-2:])
    return PATTERN_HEIGHT * torch.outer(rows.cos(), columns.cos())[None, None]


def local(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean product of two pictures around each pixel."""
    return box(a * b, PATTERN_RADIUS)


def affine(gain: Tensor, source: Tensor) -> Tensor:
    """Return the source, each pixel multiplied by its own 3x3 matrix."""
    return (gain.unflatten(1, (3, 3)) * source[:, None]).sum(2)


def products(a: Tensor, b: Tensor) -> Tensor:
    """Return all products of a channel of a and one of b, [1, 9, h, w]."""
    return (a[:, :, None] * b[:, None]).flatten(1, 2)


def matrices(x: Tensor) -> Tensor:
    """Return nine channels [1, 9, h, w] as matrices [1, h, w, 3, 3]."""
    return x.movedim(1, -1).unflatten(-1, (3, 3))


def box(x: Tensor, radius: int) -> Tensor:
    """Return the mean over (2 radius + 1)^2 pixels; fewer at the border."""
    return F.avg_pool2d(x, 2 * radius + 1, 1, radius, count_include_pad=False)


def interpolation(small: int, large: int, start: int, stop: int) -> tuple[int, Tensor]:
    """Catmull-Rom weights for samples `start` to `stop` (exclusive) of `large`, made from `small` samples.

    Returns:
        The first sample used and the weights [stop - start, samples used]; each row sums to 1.
    """
    position = (torch.arange(start, stop, dtype=torch.float64) + 0.5) * small / large - 0.5
    below = position.floor()
    taps = below[:, None] + torch.arange(-1, 3)
    distance = (position[:, None] - taps).abs()
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    columns = taps.clamp(0, small - 1).long()
    first, last = int(columns.min()), int(columns.max())
    weights = torch.zeros(stop - start, last - first + 1, dtype=torch.float64)
    weights.scatter_add_(1, columns - first, torch.where(distance < 1, near, far))
    return first, weights.float()
