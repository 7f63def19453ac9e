"""Photographs as files: any common format in, upright sRGB pixels; pixels out at the same size.

    photo = read_photo("photo.jpg")            # Photo(pixels [H, W, 3] uint8, alpha or None)
    write_photo("out.png", photo.pixels, photo.alpha)

The EXIF rotation and the colour profile are applied to the pixels and then dropped with all other metadata: what is
written is plain sRGB.
"""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from zoo.errors import WeightzooError
from zoo.files import PathLike, atomic_path

# whatever Pillow's readers raise for content that is not what it should be; UnidentifiedImageError is an OSError
PILLOW_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, ArithmeticError, NotImplementedError,
    struct.error,
)  # fmt: skip
MAX_PIXELS = 120_000_000
MAX_SIDE = 65_500  # that of JPEG: an edit holds maps that are as wide as the picture, however thin it is
FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}
LONGEST = {"JPEG": MAX_SIDE, "WEBP": 16_383}  # pixels of a side that a format can hold
WITH_ALPHA_OR_PALETTE = {"RGBA": "RGB", "P": "RGB", "PA": "RGB", "LA": "L"}  # modes without either
OPTIONS = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"quality": 95}, "PNG": {"compress_level": 4}}


@dataclass(frozen=True)
class Photo:
    """Upright sRGB pixels uint8 [H, W, 3] and, where the file has one, its alpha channel uint8 [H, W]."""

    pixels: np.ndarray
    alpha: np.ndarray | None = None

    def on_white(self) -> Image.Image:
        """An RGB image: what is transparent is white, as a page shows it."""
        image = Image.fromarray(self.pixels)
        if self.alpha is None:
            return image
        return Image.composite(image, Image.new("RGB", image.size, "white"), Image.fromarray(self.alpha))


def read_photo(path: PathLike) -> Photo:
    """Reads a photograph.

    Raises:
        WeightzooError: no such file, not an image, broken, or more than `MAX_PIXELS` or `MAX_SIDE`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit stands below
            with Image.open(path) as image:
                check_size(path, image.size)
                check_side(path, image.size)
                image.load()
                return decode(ImageOps.exif_transpose(image))
    except FileNotFoundError:
        raise WeightzooError(f"no such file: {path}") from None
    except IsADirectoryError:
        raise WeightzooError(f"{path} is a folder; give one photograph") from None
    except Image.DecompressionBombError:
        raise WeightzooError(
            f"{path} has more than {MAX_PIXELS // 10**6} megapixels; reduce it first"
        ) from None
    except PILLOW_ERRORS as error:
        reason = "no image format that is known here" if isinstance(error, UnidentifiedImageError) else error
        raise WeightzooError(
            f"{path} is not a readable image ({reason}); give a JPEG, PNG, WebP or TIFF"
        ) from error


def is_picture(path: PathLike) -> bool:
    """Whether a file is in one of the image formats that are known here."""
    try:
        with Image.open(path):
            return True
    except PILLOW_ERRORS:
        return False


def check_size(path: PathLike, size: tuple[int, int]) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        megapixels = f"{size[0]}x{size[1]}, limit {MAX_PIXELS // 10**6} megapixels"
        raise WeightzooError(f"{path} is too large ({megapixels}); reduce it first")


def check_side(what: PathLike, size: tuple[int, int]) -> None:
    """Raises WeightzooError if a side of a picture is longer than `MAX_SIDE`."""
    if max(size) > MAX_SIDE:
        sides = f"{size[0]}x{size[1]}, limit {MAX_SIDE} pixels a side"
        raise WeightzooError(f"{what} is too long ({sides}); reduce or cut it first")


def decode(image: Image.Image) -> Photo:
    """sRGB pixels and alpha of an upright image in any mode."""
    if image.mode.startswith(("I", "F")):
        return Photo(np.repeat(high_depth(image)[..., None], 3, 2))
    has_alpha = "A" in image.getbands() or "transparency" in image.info
    alpha = np.asarray(image.convert("RGBA").getchannel("A")) if has_alpha else None
    return Photo(np.array(to_srgb(image)), alpha)


def high_depth(image: Image.Image) -> np.ndarray:
    """8-bit values of a grey image of 16 bits (in Pillow's modes I and I;16) or of floats in [0, 1]."""
    values = np.asarray(image, dtype=np.float32)
    return np.rint((values * 255 if image.mode == "F" else values / 257).clip(0, 255)).astype(np.uint8)


def to_srgb(image: Image.Image) -> Image.Image:
    """RGB pixels with the file's colour profile applied; a broken or unfitting profile counts as sRGB."""
    profile = image.info.get("icc_profile")
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
    """Pillow's name of the format that a suffix asks for.

    Raises:
        WeightzooError: for a suffix that is not in `FORMATS`.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise WeightzooError(
            f"cannot write {path}: unknown suffix {suffix!r}; use one of {', '.join(FORMATS)}"
        )
    return FORMATS[suffix]


def check_writable(path: PathLike, size: tuple[int, int]) -> None:
    """Raises WeightzooError if the format of the suffix cannot hold a picture of this width and height."""
    kind = output_format(path)
    if max(size) > LONGEST.get(kind, max(size)):
        sides = f"{size[0]}x{size[1]}, limit {LONGEST[kind]} pixels a side"
        raise WeightzooError(f"cannot write {path}: too long for {kind} ({sides}); write a .png")


def write_photo(path: PathLike, pixels: np.ndarray, alpha: np.ndarray | None = None) -> None:
    """Writes uint8 [H, W, 3] in the format of the suffix, atomically; JPEG drops alpha.

    Raises:
        WeightzooError: unknown suffix, a picture that its format cannot hold, or the file cannot be written.
    """
    kind = output_format(path)
    check_writable(path, (pixels.shape[1], pixels.shape[0]))
    image = Image.fromarray(pixels)
    if alpha is not None and kind != "JPEG":
        image.putalpha(Image.fromarray(alpha))
    with atomic_path(path) as temporary:
        image.save(temporary, format=kind, **OPTIONS.get(kind, {}))
