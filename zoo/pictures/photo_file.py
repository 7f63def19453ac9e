"""Photographs as files: any common format in, upright sRGB pixels; pixels out at the same size.

    photo = read_photo("photo.jpg")            # Photo(pixels [H, W, 3] uint8, alpha or None, notes)
    write_photo("out.png", photo.pixels, photo.alpha)

The one place that decides how a file becomes pixels: pairs, photographs to build from, what `apply` edits and what
the server is sent all go through :func:`load_photo`. The EXIF rotation and the colour profile are applied to the
pixels and then dropped with all other metadata: what is written is plain sRGB.
"""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageFile, ImageOps, UnidentifiedImageError

from zoo.errors import WeightzooError
from zoo.files import PathLike, atomic_path
from zoo.pictures.photo_depth import DARK_HIGH_BYTE, declared_white, low_bytes_mode, to_8_bits, widen

# whatever Pillow's readers raise for content that is not what it should be; UnidentifiedImageError is an OSError
PILLOW_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, ArithmeticError, NotImplementedError,
    struct.error,
)  # fmt: skip
MAX_PIXELS = 120_000_000
MAX_SIDE = 65_500  # that of JPEG: an edit holds maps that are as wide as the picture, however thin it is
FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}
LONGEST = {"JPEG": MAX_SIDE, "WEBP": 16_383}  # pixels of a side that a format can hold
# Pillow knows these by name only, or hands them to other programs
NO_PICTURES = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "PDF", "WMF"})
FRAMES = {"AVIF": "frame", "FLI": "frame", "GIF": "frame", "PNG": "frame", "TIFF": "page", "WEBP": "frame"}
PREMULTIPLIED = {"RGBa": "RGBA", "La": "LA"}
WITH_ALPHA_OR_PALETTE = {"RGBA": "RGB", "P": "RGB", "PA": "RGB", "LA": "L"}  # modes without either
OPTIONS = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"quality": 95}, "PNG": {"compress_level": 4}}


@dataclass(frozen=True)
class Photo:
    """Upright sRGB pixels of a file.

    Attributes:
        pixels: uint8 [H, W, 3].
        alpha: uint8 [H, W], where the file has an alpha channel.
        notes: what a person should know about how the file was read, such as "the first of 5 frames is used".
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    def on_white(self) -> Image.Image:
        """Return an RGB image: what is transparent is white, as a page shows it."""
        return on_white(self.pixels, self.alpha)


def on_white(pixels: np.ndarray, alpha: np.ndarray | None) -> Image.Image:
    """Return uint8 [H, W, 3] as an RGB image in which what alpha [H, W] hides is white."""
    image = Image.fromarray(pixels)
    if alpha is None:
        return image
    return Image.composite(image, Image.new("RGB", image.size, "white"), Image.fromarray(alpha))


def off_white(pixels: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """Return the colours, uint8 [H, W, 3], whose `on_white` with `alpha` [H, W] is `pixels`.

    What is darker than that white lets it be becomes as dark as it can.
    """
    if alpha is None:
        return pixels
    result, partly = pixels.copy(), (alpha > 0) & (alpha < 255)
    share = alpha[partly, None].astype(np.float32) / 255
    result[partly] = np.rint((255 - (255 - pixels[partly].astype(np.float32)) / share).clip(0, 255)).astype(np.uint8)
    return result


@cache
def picture_suffixes() -> dict[str, str]:
    """Return the suffixes of all picture files that are read, each with the name of its format in Pillow."""
    suffixes = Image.registered_extensions()
    return {suffix: kind for suffix, kind in suffixes.items() if kind in Image.OPEN and kind not in NO_PICTURES}


def read_photo(path: PathLike) -> Photo:
    """Read a photograph.

    Raises:
        WeightzooError: no such file, a pipe, not an image, broken, or more than `MAX_PIXELS` or `MAX_SIDE`.
    """
    place = Path(path)
    if place.exists() and not place.is_file() and not place.is_dir():  # reading would wait for ever
        raise WeightzooError(f"{path} is a pipe or a device; save the picture to a file first")
    try:
        return load_photo(path, label=path)
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
) -> Photo:
    """Read one picture.

    Args:
        data: a file, or its content.
        label: the picture's name in errors about its size.
        check: called with the label and (width, height) before anything is decoded; `check_limits` by default.
        formats: Pillow's names of the formats that are taken; all of `picture_suffixes` by default.

    Raises:
        WeightzooError: more than `MAX_PIXELS` or `MAX_SIDE`.
        Exception: one of `PILLOW_ERRORS` for what is no picture, broken, or in colours that cannot be read;
            Pillow's DecompressionBombError for far too many pixels.
    """
    allowed = tuple(formats or sorted(set(picture_suffixes().values())))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit stands below
        with _open(data, allowed) as image:
            (check or check_limits)(label, image.size)
            notes = [_frames(image)]
            declared, low_mode = declared_white(image), _low_mode(image)
            image.load()
            upright = ImageOps.exif_transpose(image)
        if low_mode and _is_dark(upright):
            upright, note = widen(upright, _low_bytes(data, allowed, low_mode))
            notes.append(note)
    photo = decode(upright, declared)
    return Photo(photo.pixels, photo.alpha, (*(note for note in notes if note), *photo.notes))


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


def decode(image: Image.Image, declared: int | None = None) -> Photo:
    """Return sRGB pixels and alpha of an upright image in any mode.

    Args:
        declared: the number that means white, where a file of whole numbers says so.
    """
    if image.mode.startswith(("I", "F")):
        grey, note = to_8_bits(image, declared)
        hidden = image.info.get("transparency")
        alpha = None if hidden is None else np.where(np.asarray(image) == hidden, 0, 255).astype(np.uint8)
        return Photo(np.repeat(grey[..., None], 3, 2), alpha, (note,) if note else ())
    has_alpha = any(band in "Aa" for band in image.getbands()) and image.mode != "LAB"
    if has_alpha or "transparency" in image.info:
        image = image.convert(PREMULTIPLIED.get(image.mode, image.mode))
        return Photo(np.array(to_srgb(image)), np.asarray(image.convert("RGBA").getchannel("A")))
    return Photo(np.array(to_srgb(image)))


def to_srgb(image: Image.Image) -> Image.Image:
    """RGB pixels with the file's colour profile applied; a broken or unfitting profile counts as sRGB."""
    profile = image.info.get("icc_profile")
    if image.mode == "LAB":
        lab, target = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, lab, target, outputMode="RGB") or image
    if image.mode in WITH_ALPHA_OR_PALETTE:
        image = image.convert(WITH_ALPHA_OR_PALETTE[image.mode])  # Pillow knows no profiles of these
    if profile and image.mode in ("RGB", "CMYK", "L"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            target = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError):
            pass
    return image.convert("RGB")


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


def write_photo(path: PathLike, pixels: np.ndarray, alpha: np.ndarray | None = None) -> None:
    """Write uint8 [H, W, 3] in the format of the suffix, atomically; in a JPEG what is transparent is white.

    Raises:
        WeightzooError: unknown suffix, a picture that its format cannot hold, or the file cannot be written.
    """
    kind = output_format(path)
    check_writable(path, (pixels.shape[1], pixels.shape[0]))
    image = on_white(pixels, alpha) if kind == "JPEG" else Image.fromarray(pixels)
    if alpha is not None and kind != "JPEG":
        image.putalpha(Image.fromarray(alpha))
    with atomic_path(path) as temporary:
        image.save(temporary, format=kind, **OPTIONS.get(kind, {}))
