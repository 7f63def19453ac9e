"""Pictures with an alpha channel, as a white page shows them, and back.

seen = on_white(pixels, alpha)              # what is transparent is white
colours = off_white(edited, alpha)          # the colours that look like `edited` on white
"""

from __future__ import annotations

import numpy as np
from PIL import Image


def on_white(pixels: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """Return uint8 or uint16 [H, W, 3] in which what alpha [H, W] of the same type hides is white."""
    if alpha is None:
        return pixels
    if pixels.dtype == np.uint8:
        image = Image.fromarray(pixels)
        return np.asarray(Image.composite(image, Image.new("RGB", image.size, "white"), Image.fromarray(alpha)))
    white = np.iinfo(pixels.dtype).max
    share = alpha[..., None].astype(np.float32) / white
    return np.rint(white - (white - pixels.astype(np.float32)) * share).astype(pixels.dtype)


def off_white(pixels: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """Return the colours, [H, W, 3], whose `on_white` with `alpha` [H, W] is `pixels`, all of one type.

    What is darker than that white lets it be becomes as dark as it can.
    """
    if alpha is None:
        return pixels
    white = np.iinfo(pixels.dtype).max
    result, partly = pixels.copy(), (alpha > 0) & (alpha < white)
    share = alpha[partly, None].astype(np.float32) / white
    seen = pixels[partly].astype(np.float32)
    result[partly] = np.rint((white - (white - seen) / share).clip(0, white)).astype(pixels.dtype)
    return result
