"""Photographs from files of any common format, as upright sRGB pixels.

    photo = read_photo("photo.jpg")                     # Photo(pixels [H, W, 3] uint8, alpha or None, notes)
    photo = read_photo("photo.tif", complete=True)      # 16 bits where the file has them, and its metadata

The one place that decides how a file becomes pixels: pairs, photographs to build from, what `apply` edits and what
the server is sent all go through :func:`load_photo`. The EXIF rotation and the colour profile are applied to the
pixels. `zoo.pictures.photo_output` writes them again.
"""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from zoo.errors import WeightzooError
from zoo.files import PathLike
from zoo.pictures.photo_colours import deep_to_srgb, to_srgb
from zoo.pictures.photo_depth import (
    DARK_HIGH_BYTE,
    WHITE,
    declared_white,
    deep_values,
    from_greys,
    low_bytes_mode,
    widen,
)
from zoo.pictures.photo_metadata import Metadata, read_metadata
from zoo.pictures.transparency import on_white

# whatever Pillow's readers raise for content that is not what it should be; UnidentifiedImageError is an OSError
PILLOW_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, ArithmeticError, NotImplementedError,
    struct.error,
)  # fmt: skip
MAX_PIXELS = 120_000_000
MAX_SIDE = 65_500  # that of JPEG: an edit holds maps that are as wide as the picture, however thin it is
# Pillow knows these by name only, or hands them to other programs
NO_PICTURES = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "PDF", "WMF"})
FRAMES = {"AVIF": "frame", "FLI": "frame", "GIF": "frame", "PNG": "frame", "TIFF": "page", "WEBP": "frame"}
PREMULTIPLIED = {"RGBa": "RGBA", "La": "LA"}


@dataclass(frozen=True)
class Photo:
    """Upright sRGB pixels of a file.

    Attributes:
        pixels: uint8 [H, W, 3]; uint16 only where that was asked for.
        alpha: [H, W] of the same type, where the file has an alpha channel.
        notes: what a person should know about how the file was read, such as "the first of 5 frames is used".
        metadata: what an edited copy says beside its pixels; nothing unless it was asked for.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    metadata: Metadata = Metadata()

    def on_white(self) -> Image.Image:
        """Return a photograph of 8 bits as an RGB image: what is transparent is white, as a page shows it."""
        return Image.fromarray(on_white(self.pixels, self.alpha))


@cache
def picture_suffixes() -> dict[str, str]:
    """Return the suffixes of all picture files that are read, each with the name of its format in Pillow."""
    suffixes = Image.registered_extensions()
    return {suffix: kind for suffix, kind in suffixes.items() if kind in Image.OPEN and kind not in NO_PICTURES}


def read_photo(path: PathLike, complete: bool = False) -> Photo:
    """Read a photograph.

    Args:
        complete: see `load_photo`.

    Raises:
        WeightzooError: no such file, a pipe, not an image, broken, or more than `MAX_PIXELS` or `MAX_SIDE`.
    """
    place = Path(path)
    if place.exists() and not place.is_file() and not place.is_dir():  # reading would wait for ever
        raise WeightzooError(f"{path} is a pipe or a device; save the picture to a file first")
    try:
        return load_photo(path, label=path, complete=complete)
    except FileNotFoundError:
        raise WeightzooError(f"no such file: {path}") from None
    except IsADirectoryError:
        raise WeightzooError(f"{path} is a folder; give one photograph") from None
    except (*PILLOW_ERRORS, Image.DecompressionBombError) as error:
        raise WeightzooError(
            f"{path} is not a readable image ({reason_of(error)}); give a JPEG, PNG, WebP or TIFF"
        ) from error


def is_picture(path: PathLike) -> bool:
    """Return whether a file is in one of the image formats that are known here."""
    try:
        with _open(path, tuple(set(picture_suffixes().values()))):
            return True
    except PILLOW_ERRORS:
        return False


def load_photo(
    data: PathLike | bytes,
    label: PathLike = "the picture",
    check: Callable[[PathLike, tuple[int, int]], None] | None = None,
    formats: Sequence[str] | None = None,
    complete: bool = False,
) -> Photo:
    """Read one picture.

    Args:
        data: a file, or its content.
        label: the picture's name in errors about its size.
        check: called with the label and (width, height) before anything is decoded; `check_limits` by default.
        formats: Pillow's names of the formats that are taken; all of `picture_suffixes` by default.
        complete: keep what a result is to have as well: 16 bits, where the file has more than 8, and the metadata.

    Raises:
        WeightzooError: more than `MAX_PIXELS` or `MAX_SIDE`.
        Exception: one of `PILLOW_ERRORS` for what is no picture, broken, or in colours that cannot be read;
            Pillow's DecompressionBombError for far too many pixels.
    """
    allowed = tuple(formats or sorted(set(picture_suffixes().values())))
    with warnings.catch_warnings(record=complete) as damages:
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit stands below
        if complete:
            warnings.simplefilter("always", UserWarning)
        with _open(data, allowed) as image:
            (check or check_limits)(label, image.size)
            notes = [_frames(image)]
            declared, low_mode = declared_white(image), _low_mode(image)
            image.load()
            metadata, note = read_metadata(image) if complete else (Metadata(), None)
            notes.append(note)
            upright = ImageOps.exif_transpose(image)
        photo = None
        if low_mode and complete and upright.mode in ("RGB", "RGBA") and "transparency" not in upright.info:
            photo = _decode_deep(upright, _low_bytes(data, allowed, low_mode))
        elif low_mode and _is_dark(upright):
            upright, note = widen(upright, _low_bytes(data, allowed, low_mode))
            notes.append(note)
    if damages:
        notes.append(f"a part of the file is broken and left out ({str(damages[0].message).strip()})")
    if photo is None:
        if low_mode and complete:
            notes.append("its colours of 16 bits are read as 8")
        photo = decode(upright, declared, WHITE if complete else 255)
    return replace(photo, notes=(*(note for note in notes if note), *photo.notes), metadata=metadata)


def open_image(path: PathLike) -> Image.Image:
    """Open one image as sRGB, upright by its EXIF entry, transparency on white; raises as :func:`load_photo`."""
    return load_photo(path, label=path).on_white()


def reason_of(error: BaseException) -> str:
    """Say in a few words why Pillow could not read a picture."""
    if isinstance(error, UnidentifiedImageError):
        return "no picture, or colours stored in a way that is not known here"
    return str(error) or type(error).__name__


def _open(data: PathLike | bytes, formats: tuple[str, ...]) -> Image.Image:
    return Image.open(io.BytesIO(data) if isinstance(data, bytes) else data, formats=formats)


def _frames(image: Image.Image) -> str | None:
    word = FRAMES.get(image.format or "")
    if word is None or not getattr(image, "is_animated", False):
        return None
    return f"the first of {image.n_frames} {word}s is used"  # type: ignore[attr-defined]


def _low_mode(image: Image.Image) -> str | None:
    """Return the raw mode of the lower bytes, see `low_bytes_mode`; None where Pillow keeps all of a picture's bits."""
    tiles = getattr(image, "tile", None) or [None]
    arguments = getattr(tiles[0], "args", None)
    raw_mode = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return low_bytes_mode(raw_mode) if isinstance(raw_mode, str) else None


def _low_bytes(data: PathLike | bytes, formats: tuple[str, ...], raw_mode: str) -> np.ndarray:
    """Return the lower byte of every 16-bit number, uint8 [H, W, C], upright."""
    with _open(data, formats) as image:
        assert isinstance(image, ImageFile.ImageFile)  # as every picture that is opened
        image.tile = [
            tile._replace(args=(raw_mode, *tile.args[1:]) if isinstance(tile.args, tuple) else raw_mode)
            for tile in image.tile
        ]
        is_grey = raw_mode == "RGBA"
        image.load()
        low = np.asarray(ImageOps.exif_transpose(image))
    return low[..., [1, 1, 1, 3]] if is_grey else low


def _is_dark(image: Image.Image) -> bool:
    """Return whether no colour's upper byte needs more than 12 bits of the 16 that a number of the file has."""
    colours = image if image.mode == "CMYK" else image.convert("RGB")
    return int(np.asarray(colours).max()) < DARK_HIGH_BYTE


def check_limits(what: PathLike, size: tuple[int, int]) -> None:
    """Raise WeightzooError for more than `MAX_PIXELS`, or a side longer than `MAX_SIDE`."""
    if size[0] * size[1] > MAX_PIXELS:
        megapixels = f"{size[0]}x{size[1]}, limit {MAX_PIXELS // 10**6} megapixels"
        raise WeightzooError(f"{what} is too large ({megapixels}); reduce it first")
    check_side(what, size)


def check_side(what: PathLike, size: tuple[int, int]) -> None:
    """Raise WeightzooError if a side of a picture is longer than `MAX_SIDE`."""
    if max(size) > MAX_SIDE:
        sides = f"{size[0]}x{size[1]}, limit {MAX_SIDE} pixels a side"
        raise WeightzooError(f"{what} is too long ({sides}); reduce or cut it first")


def decode(image: Image.Image, declared: int | None = None, most: int = 255) -> Photo:
    """Return sRGB pixels and alpha of an upright image in any mode.

    Args:
        declared: the number that means white, where a file of whole numbers says so.
        most: the number that means white in the result where the image has more than 8 bits, 255 or 65,535.
    """
    if image.mode.startswith(("I", "F")):
        grey, note = from_greys(image, declared, most)
        hidden = image.info.get("transparency")
        alpha = None if hidden is None else np.where(np.asarray(image) == hidden, 0, most).astype(grey.dtype)
        profile = image.info.get("icc_profile") if most == WHITE else None
        pixels = deep_to_srgb(grey, profile) if profile else np.repeat(grey[..., None], 3, 2)
        return Photo(pixels, alpha, (note,) if note else ())
    has_alpha = any(band in "Aa" for band in image.getbands()) and image.mode != "LAB"
    if has_alpha or "transparency" in image.info:
        image = image.convert(PREMULTIPLIED.get(image.mode, image.mode))
        return Photo(np.array(to_srgb(image)), np.asarray(image.convert("RGBA").getchannel("A")))
    return Photo(np.array(to_srgb(image)))


def _decode_deep(high: Image.Image, low: np.ndarray) -> Photo:
    """Return sRGB pixels and alpha of 16 bits from both bytes of every number of an upright picture."""
    values, note = deep_values(high, low)
    alpha = values[..., 3] if values.shape[2] == 4 else None
    colours = deep_to_srgb(values[..., :3], high.info.get("icc_profile"))
    return Photo(colours, alpha, (note,) if note else ())
