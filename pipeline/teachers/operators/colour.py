"""Operators on each pixel's colour: grades, tints, ramps, tone curves, palettes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from kornia.color import hsv_to_rgb, rgb_to_hsv
from torch import Tensor

from pipeline.teachers.operators.basics import Colour, blur, channel_mix, luma, mix, plane, smoothstep


def adjust(
    images: Tensor,
    exposure: float = 0.0,
    contrast: float = 1.0,
    saturation: float = 1.0,
    temperature: float = 0.0,
    magenta: float = 0.0,
    gamma: float = 1.0,
    fade: float = 0.0,
    shadows: float = 0.0,
    highlights: float = 0.0,
) -> Tensor:
    """Move the sliders of a photo editor: exposure in stops, temperature and magenta in [-1, 1]."""
    x = images
    if exposure or temperature or magenta:
        gains = (1 + 0.3 * temperature + 0.1 * magenta, 1 - 0.2 * magenta, 1 - 0.3 * temperature + 0.1 * magenta)
        x = x * plane([2**exposure * g for g in gains], x)
    if gamma != 1.0:
        x = x.clamp(0, 1) ** gamma
    if shadows or highlights:
        light = luma(x).clamp(0, 1)
        x = x + shadows * (1 - light) ** 3 * 0.5 + highlights * light**3 * 0.5
    if contrast != 1.0:
        x = (x - 0.5) * contrast + 0.5
    if saturation != 1.0:
        x = mix(luma(x), x, saturation)
    if fade:
        x = x.clamp(0, 1) * (1 - fade) + 0.7 * fade
    return x


def curve(images: Tensor, amount: float = 1.0) -> Tensor:
    """Apply an S-shaped tone curve; negative amounts flatten the tones."""
    x = images.clamp(0, 1)
    return x + amount * (x * x * (3 - 2 * x) - x)


def levels(images: Tensor, spread: float = 0.25, amount: float = 1.0) -> Tensor:
    """Stretch each image to mean 0.5 and deviation `spread`, over all channels together."""
    mean = images.mean((1, 2, 3), keepdim=True)
    deviation = images.std((1, 2, 3), keepdim=True) + 0.03
    return mix(images, (images - mean) / deviation * spread + 0.5, amount)


def gray_world(images: Tensor, amount: float = 1.0) -> Tensor:
    """Remove the colour cast: give all channels the same mean."""
    means = images.mean((2, 3), keepdim=True)
    return mix(images, images * (means.mean(1, keepdim=True) / (means + 0.02)), amount)


def ramp(
    images: Tensor,
    dark: Colour,
    light: Colour,
    middle: Colour | None = None,
    amount: float = 1.0,
    contrast: float = 1.0,
) -> Tensor:
    """Map luminance to a ramp of two or three colours; amount < 1 keeps some of the own colours."""
    tone = ((luma(images) - 0.5) * contrast + 0.5).clamp(0, 1)
    low, high = plane(dark, images), plane(light, images)
    if middle is None:
        toned = mix(low, high, tone)
    else:
        centre = plane(middle, images)
        toned = mix(mix(low, centre, (2 * tone).clamp(max=1)), high, (2 * tone - 1).clamp(min=0))
    return mix(images, toned, amount)


def tint(images: Tensor, colour: Colour, amount: float = 0.5) -> Tensor:
    """Lay a coloured wash over the picture that keeps light and dark."""
    hue = plane(colour, images)
    tone = luma(images)
    mean = float(sum(w * c for w, c in zip((0.299, 0.587, 0.114), colour, strict=True)))
    washed = torch.where(tone < 0.5, 2 * tone * hue, 1 - 2 * (1 - tone) * (1 - hue))
    return mix(images, mix(washed, washed + (tone - mean) * 0.25, 0.5), amount)


def filter_glass(images: Tensor, colour: Colour, amount: float = 0.7) -> Tensor:
    """Put coloured glass in front of the lens: multiply, then make up for part of the lost light."""
    glass = mix(plane((1.0, 1.0, 1.0), images), plane(colour, images), amount)
    return images * glass * (1 + 0.35 * amount)


def split_tone(images: Tensor, shadows: Colour, highlights: Colour, amount: float = 0.5) -> Tensor:
    """Tint the shadows with one colour and the highlights with another."""
    tone = luma(images)
    dark = (plane(shadows, images) - 0.5) * (1 - tone) ** 1.5
    light = (plane(highlights, images) - 0.5) * tone**1.5
    return images + amount * (dark + light)


def shadow_tint(images: Tensor, colour: Colour, amount: float = 0.6) -> Tensor:
    """Tint the dark parts only."""
    return mix(images, images * 0.6 + plane(colour, images) * 0.5, amount * (1 - smoothstep(luma(images), 0.15, 0.6)))


def highlight_tint(images: Tensor, colour: Colour, amount: float = 0.6) -> Tensor:
    """Tint the bright parts only."""
    tone = luma(images)
    return mix(images, plane(colour, images) * (0.35 + 0.75 * tone), amount * smoothstep(tone, 0.4, 0.85))


def hue_shift(images: Tensor, degrees: float) -> Tensor:
    """Rotate all hues."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return channel_mix(
        images,
        (
            (0.299 + 0.701 * c + 0.168 * s, 0.587 - 0.587 * c + 0.330 * s, 0.114 - 0.114 * c - 0.497 * s),
            (0.299 - 0.299 * c - 0.328 * s, 0.587 + 0.413 * c + 0.035 * s, 0.114 - 0.114 * c + 0.292 * s),
            (0.299 - 0.300 * c + 1.250 * s, 0.587 - 0.588 * c - 1.050 * s, 0.114 + 0.886 * c - 0.203 * s),
        ),
    )


def vibrance(images: Tensor, amount: float = 0.8) -> Tensor:
    """Saturate dull colours more than colourful ones."""
    colourful = images.amax(1, keepdim=True) - images.amin(1, keepdim=True)
    return mix(luma(images), images, 1 + amount * (1 - colourful))


def keep_hue(images: Tensor, hue: float, width: float = 40.0) -> Tensor:
    """Keep the colour near `hue` (degrees) and make everything else black and white."""
    hsv = rgb_to_hsv(images.clamp(0, 1))
    distance = torch.remainder(hsv[:, 0:1] - math.radians(hue) + math.pi, 2 * math.pi) - math.pi
    near = 1 - smoothstep(distance.abs(), math.radians(width * 0.7), math.radians(width * 1.3))
    keep = near * smoothstep(hsv[:, 1:2], 0.1, 0.3)
    return mix(luma(images), mix(luma(images), images, 1.2), keep)


def move_hue(images: Tensor, hue: float, to: float, width: float = 45.0) -> Tensor:
    """Repaint the colours near `hue` in the hue `to` (degrees)."""
    hsv = rgb_to_hsv(images.clamp(0, 1))
    distance = torch.remainder(hsv[:, 0:1] - math.radians(hue) + math.pi, 2 * math.pi) - math.pi
    near = 1 - smoothstep(distance.abs(), math.radians(width * 0.7), math.radians(width * 1.3))
    moved = torch.remainder(torch.full_like(distance, math.radians(to)) + distance * 0.4, 2 * math.pi)
    return mix(images, hsv_to_rgb(torch.cat((moved, hsv[:, 1:2], hsv[:, 2:3]), 1)), near)


def matrix(images: Tensor, rows: Sequence[Sequence[float]]) -> Tensor:
    """Mix the channels by a 3x3 matrix: swapped channels, old two-strip film, infrared film."""
    return channel_mix(images, rows)


def posterize(images: Tensor, levels: int = 4, soften: float = 0.0) -> Tensor:
    """Reduce each channel to a few tones."""
    return (blur(images, soften).clamp(0, 1) * (levels - 1)).round() / (levels - 1)


def palette(images: Tensor, colours: Sequence[Colour], soften: float = 0.004) -> Tensor:
    """Give each pixel the nearest of a few colours."""
    table = torch.tensor([list(c) for c in colours], dtype=images.dtype, device=images.device)
    smooth = blur(images, soften)
    distance = ((smooth[:, None] - table[None, :, :, None, None]) ** 2).sum(2)
    weight = torch.softmax(-distance * 150, 1)
    return torch.einsum("nkhw,kc->nchw", weight, table)


def threshold(
    images: Tensor, ink: Colour = (0, 0, 0), paper: Colour = (1, 1, 1), level: float = 0.0, soften: float = 0.006
) -> Tensor:
    """Reduce the picture to two flat colours, cut at the image's mean luminance + `level`."""
    tone = blur(luma(images), soften)
    cut = tone.mean((2, 3), keepdim=True) + level
    return mix(plane(ink, images), plane(paper, images), ((tone - cut) * 14 + 0.5).clamp(0, 1))


def solarize(images: Tensor, level: float = 0.5) -> Tensor:
    """Invert everything brighter than `level`."""
    fold = torch.where(images > level, 1 - images, images)
    return fold / max(level, 1 - level)


def invert(images: Tensor, lightness_only: bool = False) -> Tensor:
    """Turn the picture into a negative, or swap light and dark and keep the hues."""
    if lightness_only:
        return images + (1 - 2 * luma(images))
    return 1 - images


def gray(images: Tensor, weights: Colour = (0.299, 0.587, 0.114), amount: float = 1.0) -> Tensor:
    """Turn the picture black and white; `weights` are the colour filter in front of the film."""
    tone = (images * plane(weights, images)).sum(1, keepdim=True)
    return mix(images, tone.expand_as(images), amount)
