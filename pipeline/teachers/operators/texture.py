"""Operators on neighbourhoods: blurs, sharpening, painterly smoothing, edges and lines, prints."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.teachers.operators.basics import (
    Colour,
    blur,
    box_mean,
    edge_strength,
    frame,
    luma,
    mix,
    plane,
    screen,
    side,
    slopes,
    smoothstep,
)

BLACK, WHITE = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


def soft(images: Tensor, radius: float = 0.03, amount: float = 1.0) -> Tensor:
    """Blur; amount < 1 keeps the sharp picture under the soft one."""
    return mix(images, blur(images, radius), amount)


def glow(
    images: Tensor, radius: float = 0.05, amount: float = 0.7, colour: Colour = WHITE, start: float = 0.35
) -> Tensor:
    """Let bright parts shine into their surroundings."""
    bright = images * smoothstep(luma(images), start, 1.0)
    return screen(images, (blur(bright, radius) * plane(colour, images) * amount * 1.3).clamp(0, 1))


def local_contrast(images: Tensor, radius: float = 0.03, amount: float = 0.8) -> Tensor:
    """Amplify detail above a blur of `radius`: sharpening when it is small, clarity when it is large."""
    return images + amount * (images - blur(images, radius))


def hdr(images: Tensor, amount: float = 1.0) -> Tensor:
    """Even out the light over large areas and amplify the detail in them."""
    base = blur(luma(images), 0.09)
    detail = images - base
    return mix(images, base * 0.45 + 0.27 + detail * 1.5, amount)


def motion(images: Tensor, length: float = 0.12, vertical: bool = False) -> Tensor:
    """Smear along one direction."""
    reach = max(1, round(length * side(images) / 2))
    pad = (0, 0, reach, reach) if vertical else (reach, reach, 0, 0)
    return box_mean(F.pad(images, pad, mode="replicate"), 2 * reach + 1, -2 if vertical else -1)


def tilt_shift(images: Tensor, radius: float = 0.04, band: float = 0.3, round_shape: bool = False) -> Tensor:
    """Blur the picture away from its middle line (or its centre), which stays sharp."""
    x, y = frame(images)
    away = (x * x + y * y).sqrt() if round_shape else y.abs().expand(-1, -1, -1, images.shape[-1])
    return mix(images, blur(images, radius), smoothstep(away, band, band + 0.5))


def kuwahara(images: Tensor, radius: float = 0.04) -> Tensor:
    """Paint flat dabs with sharp borders: each pixel takes the mean of its calmest quadrant."""
    size = max(2, round(radius * side(images)) + 1)
    reach = size - 1
    tone = luma(images)
    stack = torch.cat((images, tone, tone * tone), 1)
    padded = F.pad(stack, (reach, reach, reach, reach), mode="replicate")
    means = box_mean(box_mean(padded, size, -1), size, -2)
    height, width = images.shape[-2:]
    total, result = 0.0, 0.0
    for top in (0, reach):
        for left in (0, reach):
            part = means[:, :, top : top + height, left : left + width]
            variance = (part[:, 4:5] - part[:, 3:4] ** 2).clamp(min=0)
            weight = 1 / (variance + 3e-4) ** 3
            total = total + weight
            result = result + part[:, :3] * weight
    return result / total


def dark_edges(
    images: Tensor, amount: float = 1.0, detail: float = 0.008, start: float = 0.04, colour: Colour = BLACK
) -> Tensor:
    """Draw the outlines over the picture in `colour`."""
    line = smoothstep(edge_strength(luma(images), detail), start, start + 0.1)
    return mix(images, plane(colour, images), line * amount)


def sketch(
    images: Tensor,
    radius: float = 0.02,
    darkness: float = 2.0,
    ink: Colour = BLACK,
    paper: Colour = WHITE,
    own_colours: float = 0.0,
    shading: float = 0.0,
) -> Tensor:
    """Draw lines by colour dodge; `shading` lays the picture's tones under them, `own_colours` its colours."""
    tone = luma(images)
    lines = (tone / (blur(tone, radius) + 0.02)).clamp(0, 1) ** (darkness * 2)
    if shading:
        lines = lines * (1 - shading * (1 - tone))
    drawn = mix(plane(ink, images), plane(paper, images), lines)
    if own_colours:
        vivid = mix(luma(images), images, 1.4).clamp(0, 1)
        drawn = mix(drawn, screen(vivid * 0.9, lines * 0.25) * lines, own_colours)
    return drawn


def outline(
    images: Tensor,
    ink: Colour = BLACK,
    paper: Colour = WHITE,
    detail: float = 0.012,
    gain: float = 6.0,
    own_colours: float = 0.0,
) -> Tensor:
    """Draw only the outlines, `ink` on `paper`; `own_colours` draws them in the picture's colours."""
    strength = (edge_strength(luma(images), detail) * gain).clamp(0, 1)
    line: Tensor = plane(ink, images)
    if own_colours:
        peak = images.amax(1, keepdim=True) + 0.05
        line = mix(line, (images / peak) ** 1.5, own_colours)
    return mix(plane(paper, images), line, strength)


def ink(
    images: Tensor,
    radius: float = 0.012,
    sharpness: float = 20.0,
    level: float = 0.45,
    dark: Colour = BLACK,
    paper: Colour = WHITE,
) -> Tensor:
    """Draw flat blacks in the shadows and bold lines, as a brush does (an extended difference of Gaussians)."""
    tone = luma(images)
    fine, coarse = blur(tone, radius), blur(tone, radius * 1.8)
    value = fine + 6 * (fine - coarse)
    centre = level * (0.5 + tone.mean((2, 3), keepdim=True))
    return mix(plane(dark, images), plane(paper, images), torch.sigmoid((value - centre) * sharpness))


def emboss(
    images: Tensor, angle: float = 135.0, amount: float = 3.0, keep: float = 0.0, detail: float = 0.008
) -> Tensor:
    """Show a relief that is lit from `angle` (degrees); `keep` is how much of the picture's colour stays."""
    across, down = slopes(blur(luma(images), detail))
    light = -(across * math.cos(math.radians(angle)) - down * math.sin(math.radians(angle))) * amount
    return mix(torch.full_like(images, 0.5), images, keep) + light


def halftone(
    images: Tensor,
    cells: float = 16.0,
    angle: float = 45.0,
    ink: Colour = BLACK,
    paper: Colour = WHITE,
    amount: float = 1.0,
    own_colours: bool = False,
) -> Tensor:
    """Print dots on a grid fixed to the frame, `cells` a side, larger where it is darker."""
    x, y = frame(images)
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    turn = math.pi * cells / 2
    wave = (torch.cos((x * c + y * s) * turn * 2) * torch.cos((y * c - x * s) * turn * 2)) * 0.25 + 0.5
    tone = images if own_colours else luma(images)
    dots = ((tone - wave) * 5 + 0.5).clamp(0, 1)
    if own_colours:
        return mix(images, dots, amount)
    return mix(images, mix(plane(ink, images), plane(paper, images), dots), amount)


def hatch(
    images: Tensor,
    lines: float = 20.0,
    angle: float = 45.0,
    ink: Colour = BLACK,
    paper: Colour = WHITE,
    crossed: bool = False,
    amount: float = 1.0,
) -> Tensor:
    """Draw parallel strokes fixed to the frame, thicker where it is darker; `crossed` adds a second set."""
    x, y = frame(images)
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    tone = luma(images)
    wave = 0.5 + 0.42 * torch.cos((x * c + y * s) * math.pi * lines)
    drawn = ((tone - wave) * 4 + 0.7).clamp(0, 1)
    if crossed:
        second = 0.3 + 0.35 * torch.cos((x * s - y * c) * math.pi * lines)
        drawn = drawn * ((tone - second) * 4 + 0.7).clamp(0, 1)
    return mix(images, mix(plane(ink, images), plane(paper, images), drawn), amount)


def scanlines(images: Tensor, lines: float = 16.0, amount: float = 0.4) -> Tensor:
    """Lay dark horizontal lines fixed to the frame over the picture, as on an old screen."""
    _, y = frame(images)
    return images * (1 - amount * (0.5 + 0.5 * torch.cos(y * math.pi * lines)))


def weave(images: Tensor, threads: float = 16.0, amount: float = 0.15) -> Tensor:
    """Lay a canvas weave fixed to the frame over the picture."""
    x, y = frame(images)
    return images + amount * torch.cos(x * math.pi * threads) * torch.cos(y * math.pi * threads)


def pixelate(images: Tensor, cells: int = 16) -> Tensor:
    """Divide the picture into square cells of one colour, `cells` along each side of the frame."""
    small = F.interpolate(images, (cells, cells), mode="area")
    return F.interpolate(small, images.shape[-2:], mode="nearest")


def shift_channels(images: Tensor, distance: float = 0.03) -> Tensor:
    """Shift red to the left and blue to the right, which gives colour fringes."""
    step = max(1, round(distance * side(images)))
    width = images.shape[-1]
    padded = F.pad(images, (step, step, 0, 0), mode="replicate")
    return torch.stack((padded[:, 0, :, :width], padded[:, 1, :, step : step + width], padded[:, 2, :, 2 * step :]), 1)


def relief_paint(images: Tensor, radius: float = 0.03, amount: float = 1.2) -> Tensor:
    """Paint thickly: flat dabs whose borders catch the light."""
    dabs = kuwahara(images, radius)
    across, down = slopes(luma(dabs))
    return dabs + (across + down) * amount
