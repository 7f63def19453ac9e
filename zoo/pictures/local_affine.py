"""Carry an edit to another resolution: as an affine map of colour that varies slowly over the picture.

Around each pixel, the edited small picture is fitted as `A x + b` of the small source x (He et al., Guided image
filtering, 2010; Chen et al., Bilateral guided upsampling, 2016). A, b and what the fit leaves over are interpolated
and applied to the large source. Detail comes from the large source with the gain that the edit had on the small
one: a recoloured photo keeps its sharpness, a blurred one stays blurred.

Fine texture averages out in the small source, so the fit cannot tell there what the edit does to it. `detail_gain`
asks the edit itself, with a faint pattern laid over the source, and the fit tends to that answer where the small
source is flat.

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
TEXTURE = 5e-3  # variance of colours below which a difference is texture, above it an edge: 18 levels
PATTERN_PERIOD = 10  # pixels: finer ones are blurred by networks that keep colour, coarser ones are kept by blurs
PATTERN_HEIGHT = 0.01  # faint enough for a network to respond in proportion
PATTERN_RADIUS = 10  # a window holds two periods


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


def fit_local_affine(
    source: Tensor, edited: Tensor, prior: Tensor | None = None, radius: int = 2
) -> LocalAffine:
    """Fit `edited` as a locally affine function of `source`, both [1, 3, h, w].

    Without a prior the map gives `edited` back exactly at the source's own size. With one, texture that is fainter
    than `TEXTURE` follows the prior: a network blurs the finest detail of what it sees, and only that is mended.

    Args:
        prior: [1, 9, h, w], see `detail_gain`; the identity by default.
        radius: the fit looks at (2 radius + 1)^2 pixels, and is then averaged over as many.
    """
    mean, target = box(source, radius), box(edited, radius)
    covariance = matrices(box(products(source, source), radius) - products(mean, mean))
    crossed = matrices(box(products(source, edited), radius) - products(mean, target))
    unit = torch.eye(3, dtype=source.dtype, device=source.device)
    usual = unit if prior is None else matrices(prior).mT

    def fit(noise: float) -> tuple[Tensor, Tensor]:
        """Return a and b; `noise` is the variance of colours at which the picture and `usual` count alike."""
        solution = torch.linalg.solve(covariance + noise * unit, crossed + noise * usual)  # [1, h, w, in, out]
        gain = box(solution.mT.flatten(-2).movedim(-1, 1), radius)
        return gain, box(target - affine(gain, mean), radius)

    gain, offset = fit(NOISE)
    remainder = edited - affine(gain, source) - offset
    if prior is not None:
        gain, offset = fit(TEXTURE)
    return LocalAffine(torch.cat([gain, offset, remainder], 1))


def detail_gain(edit: Callable[[Tensor], Tensor], source: Tensor) -> Tensor:
    """Measure what an edit makes of faint detail around each pixel of `source` [1, 3, h, w].

    Returns:
        [1, 9, h, w], A as in `LocalAffine`: near the slope of a colour edit, near 0 for a blur.
    """
    turn = 2 * torch.pi / PATTERN_PERIOD
    rows, columns = (turn * torch.arange(length, device=source.device) for length in source.shape[-2:])
    pattern = PATTERN_HEIGHT * torch.outer(rows.cos(), columns.cos())[None, None]
    power = box(pattern * pattern, PATTERN_RADIUS)
    edited, channels = edit(source), torch.eye(3, device=source.device)
    changes = [edit(source + pattern * channel.view(1, 3, 1, 1)) - edited for channel in channels]
    return torch.stack([box(change * pattern, PATTERN_RADIUS) / power for change in changes], 2).flatten(1, 2)


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
