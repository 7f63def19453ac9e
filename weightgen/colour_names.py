"""Colours written as numbers, as the names that the text encoder can read.

    name_colours("a #ff8000 tint")      # "a orange tint"
    coded_colours("a #ff8000 tint")     # {"#ff8000": "orange"}

A text encoder splits "#ff8000" into pieces that mean nothing to it. The names are the catalogue's plain ones.
"""

from __future__ import annotations

import re

from PIL import ImageColor

CODE = re.compile(r"#(?:[0-9a-f]{8}|[0-9a-f]{6}|[0-9a-f]{3})\b|\b(?:rgb|hsl|hsv)\([^()]{1,40}\)", re.IGNORECASE)
NAMES = {
    "red": "#d9201e", "crimson": "#a3102f", "coral": "#ff7355", "orange": "#f58a1f", "amber": "#ffb000",
    "gold": "#d4a72c", "yellow": "#f7e02b", "lime green": "#a8e02a", "green": "#2e9e3f", "forest green": "#1d5c32",
    "olive green": "#7f7f32", "teal": "#14807f", "cyan": "#29d3e6", "sky blue": "#7fbfee", "blue": "#2456d6",
    "navy blue": "#18265c", "violet": "#6a3fc4", "purple": "#8a2f9e", "magenta": "#e0269a", "pink": "#f59ac0",
    "rose": "#c95a72", "brown": "#7a4a25", "beige": "#d9c3a0", "slate grey": "#5a6b7f", "white": "#f5f5f2",
    "black": "#101012",
}  # fmt: skip


def name_colours(text: str) -> str:
    """Return the text with the nearest colour name in place of each code."""
    return CODE.sub(lambda found: _name(found[0]) or found[0], text)


def coded_colours(text: str) -> dict[str, str]:
    """Return the codes of a text, each with the name that is read in its place."""
    return {code: name for code in CODE.findall(text) if (name := _name(code))}


def _name(code: str) -> str | None:
    """Return the nearest name; None where the code is no colour."""
    try:
        rgb = ImageColor.getrgb(code)[:3]
    except ValueError:
        return None
    return min(NAMES, key=lambda name: _distance(rgb, ImageColor.getrgb(NAMES[name])))


def _distance(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """Return how different two colours look, in whole numbers: squared differences weighted by the mean of the reds."""
    mean = (a[0] + b[0]) // 2
    red, green, blue = ((x - y) ** 2 for x, y in zip(a, b, strict=True))
    return (512 + mean) * red + 1024 * green + (767 - mean) * blue
