"""Carry an edit to another resolution: as an affine map of colour that varies slowly over the picture.

Around each pixel, the edited small picture is fitted as `A x + b` of the small source x (He et al., Guided image
filtering, 2010; Chen et al., Bilateral guided upsampling, 2016). A, b and what the fit leaves over are interpolated
and applied to the large source. Detail comes from the large source with the gain that the edit had on the small
one: a recoloured photo keeps its sharpness, a blurred one stays blurred.

    fit = fit_local_affine(small_source, small_edited)
    strip = fit.apply(large_source[:, :, 0:256], (0, 256), (height, width))

Each output pixel depends on its own source pixel and on interpolated maps, so strips need no overlap and show no
seam.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK = 256  # columns that are interpolated at a time


@dataclass(frozen=True)
class LocalAffine:
    """Maps [1, 15, h, w]: A (3x3: channel out, channel in), b and the remainder of the fit."""

    maps: Tensor

    def apply(self, source: Tensor, rows: tuple[int, int], size: tuple[int, int]) -> Tensor:
        """Edits a strip.

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
        """The maps interpolated to full width, [1, 15, h, W]; kept for the strips that follow."""
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


def fit_local_affine(source: Tensor, edited: Tensor, radius: int = 2, noise: float = 1e-4) -> LocalAffine:
    """Fits `edited` as a locally affine function of `source`, both [1, 3, h, w].

    Args:
        radius: the fit looks at (2 radius + 1)^2 pixels, and is then averaged over as many.
        noise: variance below which a difference of the source's colours counts as noise.
    """
    mean, target = box(source, radius), box(edited, radius)
    covariance = box(products(source, source), radius) - products(mean, mean)
    crossed = box(products(source, edited), radius) - products(mean, target)
    regular = matrices(covariance) + noise * torch.eye(3, dtype=source.dtype, device=source.device)
    gain = torch.linalg.solve(regular, matrices(crossed))  # [1, h, w, in, out]
    gain = gain.transpose(-2, -1).flatten(-2).movedim(-1, 1)
    gain, offset = box(gain, radius), box(target - affine(gain, mean), radius)
    return LocalAffine(torch.cat([gain, offset, edited - affine(gain, source) - offset], 1))


def affine(gain: Tensor, source: Tensor) -> Tensor:
    return (gain.unflatten(1, (3, 3)) * source[:, None]).sum(2)


def products(a: Tensor, b: Tensor) -> Tensor:
    """All products of a channel of a and one of b, [1, 9, h, w]."""
    return (a[:, :, None] * b[:, None]).flatten(1, 2)


def matrices(x: Tensor) -> Tensor:
    """[1, 9, h, w] -> [1, h, w, 3, 3]"""
    return x.movedim(1, -1).unflatten(-1, (3, 3))


def box(x: Tensor, radius: int) -> Tensor:
    """The mean over (2 radius + 1)^2 pixels; fewer at the border."""
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
