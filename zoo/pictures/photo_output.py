"""Pictures as files: pixels out in the format of a suffix, with 8 bits or 16.

    write_photo("out.jpg", pixels)                                          # uint8 [H, W, 3]
    write_photo("out.tif", photo.pixels, photo.alpha, photo.metadata)       # uint16, with the photograph's date

What is written is sRGB; `zoo.pictures.photo_metadata` says what an edited copy of a photograph keeps beside its pixels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from zoo.errors import WeightzooError
from zoo.files import PathLike, atomic_path
from zoo.pictures.deep_files import write_deep
from zoo.pictures.photo_depth import WHITE
from zoo.pictures.photo_file import MAX_SIDE
from zoo.pictures.photo_metadata import Metadata
from zoo.pictures.transparency import on_white

FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}
DEEP = frozenset({"PNG", "TIFF"})  # formats that are written with 16 bits
LONGEST = {"JPEG": MAX_SIDE, "WEBP": 16_383}  # pixels of a side that a format can hold
OPTIONS = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"quality": 95}, "PNG": {"compress_level": 4}}


def output_format(path: PathLike) -> str:
    """Return Pillow's name of the format that a suffix names.

    Raises:
        WeightzooError: for a suffix that is not in `FORMATS`.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise WeightzooError(f"cannot write {path}: unknown suffix {suffix!r}; use one of {', '.join(FORMATS)}")
    return FORMATS[suffix]


def check_writable(path: PathLike, size: tuple[int, int]) -> None:
    """Raise WeightzooError if the format of the suffix cannot hold a picture of this width and height."""
    kind = output_format(path)
    if max(size) > LONGEST.get(kind, max(size)):
        sides = f"{size[0]}x{size[1]}, limit {LONGEST[kind]} pixels a side"
        raise WeightzooError(f"cannot write {path}: too long for {kind} ({sides}); write a .png")


def write_photo(
    path: PathLike, pixels: np.ndarray, alpha: np.ndarray | None = None, metadata: Metadata | None = None
) -> None:
    """Write a picture in the format of the suffix, atomically; in a JPEG what is transparent is white.

    Args:
        pixels: uint8 or uint16 [H, W, 3]; a PNG or a TIFF keeps 16 bits, other formats have 8.
        alpha: [H, W] of the same type.
        metadata: what the file says beside its pixels.

    Raises:
        WeightzooError: unknown suffix, a picture that its format cannot hold, or the file cannot be written.
    """
    kind = output_format(path)
    check_writable(path, (pixels.shape[1], pixels.shape[0]))
    metadata = metadata or Metadata()
    is_deep = pixels.dtype == np.uint16
    if is_deep and kind in DEEP:
        with atomic_path(path) as temporary:
            write_deep(temporary, kind, pixels, alpha, metadata)
        return
    if kind == "JPEG":
        pixels, alpha = on_white(pixels, alpha), None
    image = Image.fromarray(to_8_bits(pixels) if is_deep else pixels)
    if alpha is not None:
        image.putalpha(Image.fromarray(to_8_bits(alpha) if is_deep else alpha))
    with atomic_path(path) as temporary:
        image.save(temporary, format=kind, **OPTIONS.get(kind, {}), **metadata.options(kind))


def to_8_bits(values: np.ndarray) -> np.ndarray:
    """Return numbers of 16 bits as the nearest of 8 bits."""
    return np.rint(values * (255 / WHITE)).astype(np.uint8)
