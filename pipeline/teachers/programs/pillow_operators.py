"""Operators of Pillow."""

from __future__ import annotations

from collections.abc import Callable

import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from torch import Tensor

from pipeline.teachers.own_code import to_image, to_tensor
from pipeline.teachers.programs.operators import operator
from pipeline.teachers.random_edits.basics import Edit


def each(change: Callable[[Image.Image], Image.Image]) -> Edit:
    """Return an edit of photos [N, 3, H, W] from one of an RGB image."""

    def edit(photos: Tensor) -> Tensor:
        return torch.stack([to_tensor(change(to_image(photo)).convert("RGB"), photo, "Pillow") for photo in photos])

    return edit


def filtered(kind: type[ImageFilter.Filter]) -> Edit:
    """Return one of the filters without parameters."""
    return each(lambda image: image.filter(kind()))


def mode(size: int) -> Edit:
    """Return the commonest value of size x size neighbours."""
    return each(lambda image: image.filter(ImageFilter.ModeFilter(size)))


def rank(size: int, share: float) -> Edit:
    """Return the value at a share of the sorted size x size neighbours: 0 the darkest, 1 the brightest."""
    place = round(share * (size * size - 1))
    return each(lambda image: image.filter(ImageFilter.RankFilter(size, place)))


def unsharp(radius: float, percent: int, threshold: int) -> Edit:
    """Return an unsharp mask; threshold in levels of 255."""
    return each(lambda image: image.filter(ImageFilter.UnsharpMask(radius, percent, threshold)))


def box(radius: float) -> Edit:
    """Return a box blur; the radius in pixels."""
    return each(lambda image: image.filter(ImageFilter.BoxBlur(radius)))


def autocontrast(cutoff: int, together: bool) -> Edit:
    """Return a stretch between quantiles; cutoff in per cent; `together` keeps the tone."""
    return each(lambda image: ImageOps.autocontrast(image, cutoff, preserve_tone=together))


def equalised() -> Edit:
    """Return each channel with an even histogram."""
    return each(ImageOps.equalize)


def solarised(threshold: int) -> Edit:
    """Return values from a threshold of 255 on inverted."""
    return each(lambda image: ImageOps.solarize(image, threshold))


def bits(count: int) -> Edit:
    """Return as many bits of each channel."""
    return each(lambda image: ImageOps.posterize(image, count))


def coloured(black: str, white: str, middle: str) -> Edit:
    """Return luminance through three colours."""
    return each(lambda image: ImageOps.colorize(ImageOps.grayscale(image), black, white, middle))


def enhanced(kind: type[ImageEnhance.Color], factor: float) -> Edit:
    """Return one of the enhancers; a factor of 1 changes nothing."""
    return each(lambda image: kind(image).enhance(factor))


def palette(count: int, method: Image.Quantize) -> Edit:
    """Return each picture in its own palette."""
    return each(lambda image: image.quantize(count, method, dither=Image.Dither.NONE))


DARK = ["#101030", "#301010", "#0b2b1f", "black", "#2b2118"]
LIGHT = ["#fff4d0", "#d8f0ff", "#ffe0e8", "white", "#ffd040"]
MIDDLE = ["#c05030", "#3070a0", "#709040", "#905090", "gray"]

PILLOW = (
    operator(filtered, "dark outlines on white", "contours", kind=[ImageFilter.CONTOUR]),
    operator(filtered, "only the edges on black", "edges found", kind=[ImageFilter.FIND_EDGES]),
    operator(filtered, "embossed in grey", "pressed in metal", kind=[ImageFilter.EMBOSS]),
    operator(
        filtered,
        "details brought out",
        "sharper",
        kind=[ImageFilter.DETAIL, ImageFilter.EDGE_ENHANCE, ImageFilter.EDGE_ENHANCE_MORE, ImageFilter.SHARPEN],
    ),
    operator(filtered, "smoothed", "a little soft", kind=[ImageFilter.BLUR, ImageFilter.SMOOTH_MORE]),
    operator(mode, "painted with a broad brush", "patches of the commonest colour", size=[3, 5, 7]),
    operator(
        rank,
        "shapes grown or shrunk",
        "each pixel from its neighbours",
        size=[3, 5, 7],
        share=[0.0, 0.2, 0.5, 0.8, 1.0],
    ),
    operator(
        unsharp, "unsharp mask", "crisp details", radius=[1, 2, 4, 8], percent=[80, 150, 300], threshold=[0, 3, 8]
    ),
    operator(box, "blurred", "out of focus", radius=[1, 2, 4, 7]),
    operator(autocontrast, "automatic contrast", "levels stretched", cutoff=[0, 1, 5, 10], together=[False, True]),
    operator(equalised, "equalised channels", "every tone as often as any other"),
    operator(solarised, "solarised", "bright tones inverted", threshold=[64, 100, 128, 170, 200]),
    operator(bits, "few shades of each colour", "posterised", count=[1, 2, 3, 4]),
    operator(coloured, "toned in three colours", "tritone", black=DARK, white=LIGHT, middle=MIDDLE),
    operator(enhanced, "colours changed", "other saturation", kind=[ImageEnhance.Color], factor=[0.0, 0.4, 1.6, 2.4]),
    operator(enhanced, "other contrast", "contrast changed", kind=[ImageEnhance.Contrast], factor=[0.4, 0.7, 1.5, 2.2]),
    operator(
        enhanced, "other brightness", "light changed", kind=[ImageEnhance.Brightness], factor=[0.5, 0.75, 1.3, 1.7]
    ),
    operator(
        enhanced,
        "strongly sharpened or softened",
        "sharpness changed",
        kind=[ImageEnhance.Sharpness],
        factor=[0.0, 3.0, 6.0],
    ),
    operator(
        palette,
        "a small palette",
        "few flat colours",
        count=[4, 8, 16],
        method=[Image.Quantize.MEDIANCUT, Image.Quantize.MAXCOVERAGE, Image.Quantize.FASTOCTREE],
    ),
)
