"""Uploaded photographs: bytes in, pixels out, within limits; pixels in, PNG out.

Nothing is decoded before the file's header has said how many pixels it holds. Nothing here writes to disk; of an
upload that is larger than 1 MB the framework keeps the bytes in a temporary file without a name until the answer.
"""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
from PIL import Image, UnidentifiedImageError

from weightgen.server.problems import Problem
from zoo.files import PathLike
from zoo.pictures.photo_file import PILLOW_ERRORS, Photo, check_side, load_photo

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF")
PNG_LEVEL = 2  # of 9: a large photograph is written in a moment


def read_upload(data: bytes, most_bytes: int, most_pixels: int, what: str = "the photograph") -> Photo:
    """Upright sRGB pixels of an uploaded file.

    Raises:
        Problem: 413 for too many bytes or pixels, 400 for what is no image or is cut off.
        WeightzooError: a side is longer than `zoo.pictures.photo_file.MAX_SIDE`.
    """
    if len(data) > most_bytes:
        raise Problem(413, f"{what} has {len(data):,} bytes, and the limit is {most_bytes:,}; reduce it first")

    def check(what: PathLike, size: tuple[int, int]) -> None:
        if size[0] * size[1] > most_pixels:
            raise too_large(str(what), most_pixels, f"{size[0]}x{size[1]} pixels")
        check_side(what, size)

    try:
        return load_photo(data, what, check, FORMATS)
    except Image.DecompressionBombError:
        raise too_large(what, most_pixels, "far too many pixels") from None
    except UnidentifiedImageError:
        raise Problem(400, f"{what} is not a readable image; give a JPEG, PNG, WebP or TIFF") from None
    except PILLOW_ERRORS:
        raise Problem(400, f"{what} is broken or cut off; send it again, or save the picture anew") from None


def too_large(what: str, most_pixels: int, size: str) -> Problem:
    """Return the problem of a photograph with too many pixels."""
    return Problem(413, f"{what} has {size}, the limit is {most_pixels // 10**6} megapixels; reduce it first")


def shrink(photo: Photo, most_side: int | None) -> Photo:
    """Return the photograph scaled down so that its long side has at most `most_side` pixels."""
    height, width = photo.pixels.shape[:2]
    if most_side is None or max(height, width) <= most_side:
        return photo
    scale = most_side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    pixels = np.asarray(
        Image.fromarray(photo.pixels).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    )
    if photo.alpha is None:
        return replace(photo, pixels=pixels)
    alpha = np.asarray(Image.fromarray(photo.alpha).resize(size, Image.Resampling.LANCZOS))
    return replace(photo, pixels=pixels, alpha=alpha)


def png(pixels: np.ndarray, alpha: np.ndarray | None = None) -> bytes:
    """uint8 [H, W, 3] (and [H, W]) -> a PNG file."""
    image = Image.fromarray(pixels)
    if alpha is not None:
        image.putalpha(Image.fromarray(alpha))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=PNG_LEVEL)
    return buffer.getvalue()


def jpeg(pixels: np.ndarray) -> bytes:
    """uint8 [H, W, 3] -> a small JPEG file, for thumbnails."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=84, optimize=True)
    return buffer.getvalue()
