"""What a photograph's file says beside its pixels, as far as an edited copy keeps it.

    metadata = read_metadata(image)                     # of an opened Pillow image
    image.save(path, "JPEG", **metadata.options("JPEG"))

Kept are the date, the place, the camera and its settings, texts (EXIF), and the resolution in dots per inch. What would
be wrong of the copy goes: the orientation, which is applied to the pixels, the colour space, the preview, and a
maker's own notes, whose contents depend on where they lie in the file. Pixels are sRGB: where a file's own colour
profile was applied, or the file said sRGB by a profile, the copy has the profile of sRGB.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from functools import cache
from typing import Any

from PIL import Image, ImageCms
from PIL.ExifTags import IFD, Base

KEPT = (
    Base.ImageDescription, Base.Make, Base.Model, Base.Software, Base.DateTime, Base.Artist, Base.HostComputer,
    Base.Copyright, Base.Rating, Base.XPTitle, Base.XPComment, Base.XPAuthor, Base.XPKeywords, Base.XPSubject,
)  # fmt: skip
LEFT_OUT = (
    Base.MakerNote, Base.ColorSpace, Base.Gamma, Base.ExifInteroperabilityOffset, Base.ComponentsConfiguration,
    Base.CompressedBitsPerPixel, Base.ExifImageWidth, Base.ExifImageHeight, Base.RelatedSoundFile,
)  # fmt: skip
SRGB = 1  # of Base.ColorSpace
INCH = 2  # of Base.ResolutionUnit
TURNED = range(5, 9)  # orientations in which width and height change places
MOST_BYTES = 60_000  # of EXIF data: a JPEG holds no more than 64 KiB
BROKEN_EXIF = (
    OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, ArithmeticError, AttributeError, struct.error,
)  # fmt: skip
HAVE_DPI = ("JPEG", "PNG", "TIFF")  # formats with a resolution beside EXIF


@dataclass(frozen=True)
class Metadata:
    """What an edited copy of a photograph is to say.

    Attributes:
        exif: EXIF data as Pillow writes them, without an orientation.
        dpi: dots per inch, horizontal and vertical, of the upright picture.
        is_profiled: whether the file had a colour profile, so that the copy needs one to be seen alike.
    """

    exif: bytes | None = None
    dpi: tuple[float, float] | None = None
    is_profiled: bool = False

    @property
    def profile(self) -> bytes | None:
        """Return the colour profile of the copy."""
        return srgb_profile() if self.is_profiled else None

    def options(self, kind: str) -> dict[str, Any]:
        """Return the options of Pillow's `save` that write this into a file of the format `kind`."""
        dpi = self.dpi if kind in HAVE_DPI else None
        options = {"exif": self.exif, "dpi": dpi, "icc_profile": self.profile}
        return {name: value for name, value in options.items() if value is not None}


def read_metadata(image: Image.Image) -> tuple[Metadata, str | None]:
    """Return what a copy of an opened picture keeps, and what could not be read; the picture is not changed."""
    data, note = None, None
    dpi = _resolution(image.info.get("dpi"))
    try:
        exif = image.getexif()
        if dpi is not None and exif.get(Base.Orientation) in TURNED:
            dpi = dpi[::-1]
        data = _copy(exif, dpi)
    except BROKEN_EXIF:
        note = "its EXIF data cannot be read and are left out"
    if data is not None and len(data) > MOST_BYTES:
        data, note = None, f"its EXIF data are larger than {MOST_BYTES:,} bytes and are left out"
    return Metadata(data, dpi, bool(image.info.get("icc_profile")) or image.mode == "LAB"), note


@cache
def srgb_profile() -> bytes:
    """Return an ICC profile of sRGB."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _copy(exif: Image.Exif, dpi: tuple[float, float] | None) -> bytes | None:
    """Return what is kept of EXIF data; None where that is nothing."""
    kept = Image.Exif()
    for tag in KEPT:
        if tag in exif:
            kept[tag] = exif[tag]
    camera = {tag: value for tag, value in exif.get_ifd(IFD.Exif).items() if tag not in LEFT_OUT}
    place = dict(exif.get_ifd(IFD.GPSInfo))
    if not (len(kept) or camera or place or dpi):
        return None
    kept[IFD.Exif] = {**camera, Base.ColorSpace: SRGB}
    if place:
        kept[IFD.GPSInfo] = place
    if dpi is not None:
        kept[Base.XResolution], kept[Base.YResolution] = dpi
        kept[Base.ResolutionUnit] = INCH
    return kept.tobytes()


def _resolution(dpi: Any) -> tuple[float, float] | None:
    try:
        across, down = (float(value) for value in dpi)
    except (TypeError, ValueError, ArithmeticError):
        return None
    return (across, down) if all(math.isfinite(value) and value > 0 for value in (across, down)) else None
