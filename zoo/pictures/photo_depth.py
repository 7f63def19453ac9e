"""Pictures of more than 8 bits, brought to 8 or to 16: whole numbers of up to 16 bits, and floating-point numbers.

    values, note = from_greys(grey, declared_white(image), 255)     # of Pillow's modes I, I;16 and F
    image, note = widen(high, low)                                  # of 16-bit colours, both halves of every number
    values, note = deep_values(high, low)                           # the same as 16 bits

Cameras and microscopes write 10 or 12 bits into files of 16, and most programs show these nearly black. What the file
itself says about its white is used first. Without that, a picture whose brightest value needs 12 bits at most is
taken to have no more, and the note says so.
"""

from __future__ import annotations

import sys

import numpy as np
from PIL import Image

WHITE = 65_535
GUESSED_BITS = (8, 10, 12)
DARK_HIGH_BYTE = 16  # 12 bits end below it
BITS_PER_SAMPLE = 258  # TIFF tag
BRIGHTEST_UNIT_FLOAT = 1.5  # sharpening and resizing overshoot 1; a picture of 0 to 255 is brighter than this


def declared_white(image: Image.Image) -> int | None:
    """Return the number that means white in a TIFF of 9 to 15 bits, which Pillow hands out as they are."""
    bits = max(getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, (0,)))
    return 2**bits - 1 if 8 < bits < 16 else None


def from_greys(image: Image.Image, declared: int | None = None, most: int = 255) -> tuple[np.ndarray, str | None]:
    """Return the grey values of a picture in Pillow's modes I, I;16 or F, and what was guessed.

    Args:
        most: the number that means white in the result, 255 (uint8 [H, W]) or 65,535 (uint16).

    Raises:
        ValueError: numbers in no range that pictures use.
    """
    values = np.asarray(image)
    if image.mode == "F":
        return _from_floats(values, most)
    white, note = _white(values, declared)
    return _scaled(values, white, most), note


def widen(high: Image.Image, low: np.ndarray) -> tuple[Image.Image, str | None]:
    """Return an 8-bit picture from both bytes of every 16-bit number, if it needs no more than 12 bits of them.

    Args:
        high: what Pillow reads of a 16-bit picture in colour, which is the upper byte of every number.
        low: the lower bytes, uint8 [H, W, C].
    """
    values = _joined(high, low)
    colours = _colours(high, values)
    white, note = _white(colours, None)
    if white == WHITE:
        return high, None
    pixels = np.asarray(high).copy()
    if values.max() <= white:  # an alpha channel may have all 16 bits
        colours = values
    pixels[..., : colours.shape[-1]] = _scaled(colours, white)
    narrow = Image.fromarray(pixels, high.mode) if high.mode == "CMYK" else Image.fromarray(pixels)
    narrow.info = dict(high.info)
    return narrow, note


def deep_values(high: Image.Image, low: np.ndarray) -> tuple[np.ndarray, str | None]:
    """Return all bits of a picture in colour as uint16 [H, W, C]; what has 12 bits at most is brought to 16.

    Args:
        high, low: see `widen`.
    """
    values = _joined(high, low)
    white, note = _white(_colours(high, values), None)
    if white == WHITE:
        return values, None
    scaled = _scaled(values, white, WHITE)
    if values.max() > white:  # an alpha channel may have all 16 bits
        scaled[..., 3:] = values[..., 3:]
    return scaled, note


def low_bytes_mode(raw_mode: str) -> str | None:
    """Return the raw mode that makes Pillow read the lower byte of every number; None for 8-bit pictures."""
    if raw_mode == "LA;16B":
        return "RGBA"  # grey, grey's lower byte, alpha, alpha's lower byte
    kind, _, order = raw_mode.partition(";16")
    if kind not in ("RGB", "RGBA", "RGBX", "CMYK") or order not in ("B", "L", "N"):
        return None
    lower_first = order == "L" or (order == "N" and sys.byteorder == "little")
    return f"{kind};16{'B' if lower_first else 'L'}"


def _joined(high: Image.Image, low: np.ndarray) -> np.ndarray:
    return np.asarray(high).astype(np.uint16) << 8 | low


def _colours(image: Image.Image, values: np.ndarray) -> np.ndarray:
    """Return the values without what is no colour."""
    return values[..., :3] if image.mode in ("RGBA", "RGBX") else values


def _from_floats(values: np.ndarray, most: int) -> tuple[np.ndarray, str | None]:
    low, high = float(values.min()), float(values.max())
    if not np.isfinite((low, high)).all():
        raise ValueError("its numbers are not all finite")
    if low >= -BRIGHTEST_UNIT_FLOAT / 3 and high <= BRIGHTEST_UNIT_FLOAT:
        return _scaled(values.astype(np.float64), 1, most), None
    if low >= -1 and high <= 256:
        return _scaled(values.astype(np.float64), 255, most), "its floating-point numbers are taken as 0 to 255"
    raise ValueError(f"its numbers run from {low:g} to {high:g}, neither 0 to 1 nor 0 to 255")


def _white(values: np.ndarray, declared: int | None) -> tuple[int, str | None]:
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > WHITE:
        raise ValueError(f"its numbers run from {low} to {high}, which is no picture of 16 bits")
    if declared is not None and high <= declared:
        return declared, None
    # what was brought to 16 bits from fewer is a multiple of 16 or 257: then it is dark, not narrow
    if high >= 2 ** GUESSED_BITS[-1] or not (values % 16).any() or not (values % 257).any():
        return WHITE, None
    bits = next(bits for bits in GUESSED_BITS if high < 2**bits)
    return 2**bits - 1, f"taken as {bits} bits in a 16-bit file, as no value is above {high}"


def _scaled(values: np.ndarray, white: int, most: int = 255) -> np.ndarray:
    return np.rint((values * (most / white)).clip(0, most)).astype(np.uint8 if most == 255 else np.uint16)
