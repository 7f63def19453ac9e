"""Operators that depend on the place in the frame: vignettes, gradients, leaks, haze, snow cover."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.teachers.operators.basics import (
    Colour,
    blur,
    box_mean,
    frame,
    luma,
    mix,
    plane,
    screen,
    slopes,
    smoothstep,
)

SIDES = {
    "left": (-1.0, 0.0),
    "right": (1.0, 0.0),
    "top": (0.0, -1.0),
    "bottom": (0.0, 1.0),
    "top-left": (-0.7, -0.7),
    "top-right": (0.7, -0.7),
    "bottom-left": (-0.7, 0.7),
    "bottom-right": (0.7, 0.7),
}


def toward(images: Tensor, side: str) -> Tensor:
    """Return 1 at `side` of the frame, falling to 0 at the opposite one."""
    x, y = frame(images)
    a, b = SIDES[side]
    reach = abs(a) + abs(b)
    return (x * a + y * b) / (2 * reach) + 0.5


def vignette(
    images: Tensor, amount: float = 0.8, start: float = 0.3, end: float = 1.3, colour: Colour = (0, 0, 0)
) -> Tensor:
    """Fade to `colour` towards the corners."""
    x, y = frame(images)
    return mix(images, plane(colour, images), amount * smoothstep((x * x + y * y).sqrt(), start, end))


def spotlight(images: Tensor, amount: float = 0.9) -> Tensor:
    """Brighten the middle of the frame and darken what is around it."""
    x, y = frame(images)
    pool = 1 - smoothstep((x * x + y * y).sqrt(), 0.2, 0.95)
    return images * mix(1.0, 0.12 + 1.25 * pool, amount)


def light_leak(
    images: Tensor, side: str = "left", colour: Colour = (1.0, 0.45, 0.1), amount: float = 0.9, width: float = 0.6
) -> Tensor:
    """Let coloured light spill in from one side."""
    near = smoothstep(toward(images, side), 1 - width, 1.0)
    return screen(images, plane(colour, images) * near * amount)


def shade(images: Tensor, side: str = "left", amount: float = 0.8) -> Tensor:
    """Let one side of the frame fall into shadow."""
    return images * (1 - amount * smoothstep(toward(images, side), 0.25, 1.0))


def gradient(images: Tensor, start: Colour, end: Colour, side: str = "bottom", amount: float = 0.5) -> Tensor:
    """Lay a wash from `start` to `end`, which lies at `side`, over the picture; light and dark stay."""
    wash = mix(plane(start, images), plane(end, images), toward(images, side))
    tone = luma(images)
    toned = torch.where(tone < 0.5, 2 * tone * wash, 1 - 2 * (1 - tone) * (1 - wash))
    return mix(images, toned, amount)


def haze(
    images: Tensor, colour: Colour = (0.85, 0.87, 0.9), amount: float = 0.6, rising: float = 0.3, softness: float = 0.0
) -> Tensor:
    """Veil the picture in `colour`, thicker towards the top by `rising`."""
    veil = (amount + rising * (toward(images, "top") - 0.5)).clamp(0, 1)
    return mix(blur(images, softness), plane(colour, images), veil)


def snow(images: Tensor, amount: float = 0.8) -> Tensor:
    """Let white settle on bright and upward-facing parts, and turn everything cool."""
    tone = luma(images)
    _, down = slopes(blur(tone, 0.015))
    cover = smoothstep(tone + 2.5 * down.clamp(min=0), 0.3, 0.75)
    cool = mix(tone, images, 0.5) * plane((0.92, 1.0, 1.1), images)
    return mix(images, mix(cool, plane((0.95, 0.97, 1.0), images), 0.85 * cover), amount)


def wet(images: Tensor, amount: float = 1.0) -> Tensor:
    """Make the picture look rain-soaked: darker and glossier, with vertical smears of light."""
    height = images.shape[-2]
    reach = max(1, round(0.06 * height))
    streaks = box_mean(F.pad(images, (0, 0, reach, reach), mode="replicate"), 2 * reach + 1, -2)
    soaked = mix(images, streaks, 0.55) * plane((0.8, 0.88, 0.98), images) * 0.85
    return mix(images, soaked + 0.25 * (images - blur(images, 0.03)), amount)
