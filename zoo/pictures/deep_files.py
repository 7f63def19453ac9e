"""Pictures with 16 bits for each number, as PNG and TIFF files: Pillow reads these, but writes only 8.

write_deep("out.tif", pixels, alpha, metadata)      # uint16 [H, W, 3], uint16 [H, W] or None
"""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.ExifTags import IFD
from PIL.PngImagePlugin import putchunk
from PIL.TiffImagePlugin import ImageFileDirectory_v2
from PIL.TiffTags import TAGS_V2

from zoo.pictures.photo_metadata import Metadata

PNG_HEADER_BYTES = 33  # the signature and the chunk IHDR: other chunks go after them
PNG_LEVEL = 4  # of 9
METRES_PER_INCH = 0.0254
TAGS = {tag.name: number for number, tag in TAGS_V2.items()}
LITTLE_ENDIAN = b"II*\0\x08\0\0\0"
RGB, UNASSOCIATED_ALPHA, INCH = 2, 2, 2  # values of TIFF tags


def write_deep(path: Path, kind: str, pixels: np.ndarray, alpha: np.ndarray | None, metadata: Metadata) -> None:
    """Write a PNG or a TIFF, as `kind` says, with 16 bits."""
    values = pixels if alpha is None else np.dstack([pixels, alpha])
    write = {"PNG": _write_png, "TIFF": _write_tiff}[kind]
    write(path, np.ascontiguousarray(values), metadata)


def _write_png(path: Path, values: np.ndarray, metadata: Metadata) -> None:
    import imagecodecs

    data = imagecodecs.png_encode(values, level=PNG_LEVEL)
    chunks = io.BytesIO()
    if metadata.profile is not None:
        putchunk(chunks, b"iCCP", b"sRGB\0\0", zlib.compress(metadata.profile))
    if metadata.dpi is not None:
        per_metre = [round(value / METRES_PER_INCH).to_bytes(4, "big") for value in metadata.dpi]
        putchunk(chunks, b"pHYs", *per_metre, b"\x01")
    if metadata.exif is not None:
        putchunk(chunks, b"eXIf", metadata.exif.removeprefix(b"Exif\0\0"))
    with path.open("wb") as file:
        file.write(data[:PNG_HEADER_BYTES])
        file.write(chunks.getbuffer())
        file.write(memoryview(data)[PNG_HEADER_BYTES:])


def _write_tiff(path: Path, values: np.ndarray, metadata: Metadata) -> None:
    height, width, samples = values.shape
    directory = ImageFileDirectory_v2(LITTLE_ENDIAN)
    if metadata.exif is not None:
        kept = Image.Exif()
        kept.load(metadata.exif)
        for tag, value in kept.items():
            directory[tag] = kept.get_ifd(tag) if tag in (IFD.Exif, IFD.GPSInfo) else value
    tags = {
        "ImageWidth": width,
        "ImageLength": height,
        "BitsPerSample": (16,) * samples,
        "Compression": 1,
        "PhotometricInterpretation": RGB,
        "StripOffsets": 0,  # counted from the end of this directory
        "SamplesPerPixel": samples,
        "RowsPerStrip": height,
        "StripByteCounts": values.nbytes,
    }
    if samples == 4:
        tags["ExtraSamples"] = UNASSOCIATED_ALPHA
    if metadata.dpi is not None:
        tags |= {"XResolution": metadata.dpi[0], "YResolution": metadata.dpi[1], "ResolutionUnit": INCH}
    if metadata.profile is not None:
        tags["ICCProfile"] = metadata.profile
    for name, value in tags.items():
        directory[TAGS[name]] = value
    with path.open("wb") as file:
        directory.save(file)
        file.write(values.astype("<u2", copy=False).data)
