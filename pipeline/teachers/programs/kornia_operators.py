"""Operators of kornia."""

from __future__ import annotations

from functools import partial

import kornia.color as colour
import kornia.enhance as enhance
import kornia.filters as filters
import kornia.morphology as morphology
import torch
from torch import Tensor

from pipeline.teachers.programs.operators import operator
from pipeline.teachers.random_edits.basics import Edit


def edges(gain: float, normalised: bool, dark: bool) -> Edit:
    """Return Sobel magnitudes of each channel, on black or on white."""

    def edit(x: Tensor) -> Tensor:
        amount = filters.sobel(x, normalized=normalised) * gain
        return 1 - amount if dark else amount

    return edit


def canny_lines(low: float, high: float, sigma: float) -> Edit:
    """Return Canny's edges, white on black."""
    return lambda x: filters.canny(x, low, high, sigma=(sigma, sigma))[1].expand_as(x)


def laplacian(size: int, gain: float, grey: bool) -> Edit:
    """Return the Laplacian around mid grey."""

    def edit(x: Tensor) -> Tensor:
        seen = colour.rgb_to_grayscale(x).expand_as(x) if grey else x
        return 0.5 + gain * filters.laplacian(seen, size, border_type="replicate")

    return edit


def motion(size: int, angle: float, direction: float) -> Edit:
    """Return a motion blur of a size in pixels; the angle in degrees."""
    return lambda x: filters.motion_blur(x, size, angle, direction, border_type="replicate")


def guided(size: int, softness: float, details: float) -> Edit:
    """Return He's guided filter; `details`: how much of what it takes away stays."""

    def edit(x: Tensor) -> Tensor:
        smooth = filters.guided_blur(colour.rgb_to_grayscale(x), x, size, softness, border_type="replicate")
        return smooth + (x - smooth) * details

    return edit


def morphed(kind: str, reach: int) -> Edit:
    """Return a morphological operation with a square that reaches so many pixels to each side."""
    kernel = torch.ones(2 * reach + 1, 2 * reach + 1)
    change = getattr(morphology, kind)
    return lambda x: change(x, kernel, border_type="geodesic")


def details(kind: str, reach: int, gain: float, dark: bool) -> Edit:
    """Return what a morphological operation finds, on black or on white."""
    change = morphed(kind, reach)

    def edit(x: Tensor) -> Tensor:
        amount = change(x) * gain
        return 1 - amount if dark else amount

    return edit


def clahe(limit: float, tiles: int) -> Edit:
    """Return lightness equalised in tiles with limited contrast."""

    def edit(x: Tensor) -> Tensor:
        lab = colour.rgb_to_lab(x)
        light = enhance.equalize_clahe((lab[:, :1] / 100).clamp(0, 1), limit, (tiles, tiles)) * 100
        return colour.lab_to_rgb(torch.cat([light, lab[:, 1:]], 1))

    return edit


def hue(turn: float) -> Edit:
    """Return all hues turned by radians."""
    return partial(enhance.adjust_hue, factor=turn)


def lightness(power: float, chroma: float) -> Edit:
    """Return lightness to a power and colours times a factor, in Lab."""

    def edit(x: Tensor) -> Tensor:
        lab = colour.rgb_to_lab(x)
        light = (lab[:, :1] / 100).clamp(1e-4, 1) ** power * 100
        return colour.lab_to_rgb(torch.cat([light, lab[:, 1:] * chroma], 1))

    return edit


def two_blurs(small: float, ratio: float, gain: float) -> Edit:
    """Return the difference of two Gaussian blurs around mid grey; sigma in pixels."""

    def blurred(x: Tensor, sigma: float) -> Tensor:
        size = 2 * max(1, round(3 * sigma)) + 1
        return filters.gaussian_blur2d(x, (size, size), (sigma, sigma), border_type="replicate")

    return lambda x: 0.5 + gain * (blurred(x, small) - blurred(x, small * ratio))


KINDS = ["dilation", "erosion", "opening", "closing"]
DETAILS = ["gradient", "top_hat", "bottom_hat"]

KORNIA = (
    operator(edges, "coloured outlines", "edges of each colour", gain=(1.5, 6), normalised=[True], dark=[False, True]),
    operator(
        canny_lines,
        "thin white lines on black",
        "canny lines",
        low=[0.05, 0.1],
        high=[0.15, 0.25],
        sigma=[1.0, 1.5, 2.0],
    ),
    operator(laplacian, "grey with fine edges", "laplacian", size=[3, 5], gain=(0.5, 2), grey=[False, True]),
    operator(motion, "blurred by motion", "shaken camera", size=[5, 9, 15], angle=(0, 180), direction=[-0.5, 0.0, 0.5]),
    operator(
        guided,
        "smooth tones and sharp edges, or details lifted",
        "guided filter",
        size=[5, 9, 15],
        softness=[0.005, 0.02, 0.1],
        details=[0.0, 0.3, 2.0, 3.0],
    ),
    operator(morphed, "light or dark shapes grown", "morphology", kind=KINDS, reach=[1, 2, 3]),
    operator(
        details,
        "outlines by morphology",
        "small details only",
        kind=DETAILS,
        reach=[1, 2],
        gain=(1, 3),
        dark=[False, True],
    ),
    operator(clahe, "local contrast", "details in shadows and sky", limit=[5.0, 15.0, 40.0], tiles=[2, 4, 8]),
    operator(hue, "hues turned", "all colours shifted", turn=(-2.8, 2.8)),
    operator(lightness, "lightness bent, colours kept", "richer or paler colours", power=(0.5, 1.9), chroma=(0.2, 1.9)),
    operator(
        two_blurs,
        "grey with details of one size",
        "band pass",
        small=[0.6, 1.0, 2.0],
        ratio=[1.6, 2.5, 4.0],
        gain=(1.5, 6),
    ),
    operator(lambda: colour.sepia, "sepia", "brown and old"),
)
