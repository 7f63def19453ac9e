"""Uploaded photographs: bytes in, pixels out, within limits; pixels in, PNG out.

Nothing is decoded before the file's header has said how many pixels it holds. Nothing here writes to disk; of an
upload that is larger than 1 MB the framework keeps the bytes in a temporary file without a name until the answer.
"""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
from PIL import Image, UnidentifiedImageError

from weightgen.server.limits import Limits
from weightgen.server.problems import Problem
from zoo.files import PathLike
from zoo.pictures.photo_file import PILLOW_ERRORS, Photo, check_side, load_photo

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF")
PNG_LEVEL = 2  # of 9: a large photograph is written in a moment


def read_upload(data: bytes, limits: Limits, what: str = "the photograph") -> Photo:
    """Return the upright sRGB pixels of an uploaded file.

    Raises:
        Problem: 413 for too many bytes or pixels, 400 for what is no image or is cut off.
        WeightzooError: a side is longer than `zoo.pictures.photo_file.MAX_SIDE`.
    """
    if len(data) > limits.photo_bytes:
        most = f"the limit is {limits.photo_bytes:,}"
        raise Problem(413, f"{what} has {len(data):,} bytes, and {most}; reduce it first")

    def too_large(size: str) -> Problem:
        most = f"the limit is {limits.photo_pixels // 10**6} megapixels"
        return Problem(413, f"{what} has {size}, {most}; reduce it first")

    def check(name: PathLike, size: tuple[int, int]) -> None:
        if size[0] * size[1] > limits.photo_pixels:
            raise too_large(f"{size[0]}x{size[1]} pixels")
        check_side(name, size)

    try:
        return load_photo(data, what, check, FORMATS)
    except Image.DecompressionBombError:
        raise too_large("far too many pixels") from None
    except UnidentifiedImageError:
        raise Problem(400, f"{what} is not a readable image; give a JPEG, PNG, WebP or TIFF") from None
    except PILLOW_ERRORS:
        raise Problem(400, f"{what} is broken or cut off; send it again, or save the picture anew") from None


def shrink(photo: Photo, most_side: int | None) -> Photo:
    """Return the photograph scaled down so that its long side has at most `most_side` pixels."""
    if most_side is None or max(photo.pixels.shape[:2]) <= most_side:
        return photo

    def small(plane: np.ndarray) -> np.ndarray:
        image = Image.fromarray(plane)
        image.thumbnail((most_side, most_side), Image.Resampling.LANCZOS, reducing_gap=3.0)
        return np.asarray(image)

    alpha = None if photo.alpha is None else small(photo.alpha)
    return replace(photo, pixels=small(photo.pixels), alpha=alpha)


def png(pixels: np.ndarray, alpha: np.ndarray | None = None) -> bytes:
    """Return a PNG file of uint8 [H, W, 3], with uint8 [H, W] as its alpha."""
    image = Image.fromarray(pixels)
    if alpha is not None:
        image.putalpha(Image.fromarray(alpha))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=PNG_LEVEL)
    return buffer.getvalue()


def jpeg(pixels: np.ndarray) -> bytes:
    """Return a small JPEG file of uint8 [H, W, 3], for thumbnails."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=84, optimize=True)
    return buffer.getvalue()
