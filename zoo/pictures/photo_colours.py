"""Colours of a picture file as sRGB: profiles, colour models, transparency, 8 bits or 16.

pixels = to_srgb(image)                             # an 8-bit picture in any mode
colours = deep_to_srgb(values, profile)             # uint16 [H, W, 3] or [H, W]
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageCms

from zoo.pictures.photo_metadata import srgb_profile

WITH_ALPHA_OR_PALETTE = {"RGBA": "RGB", "P": "RGB", "PA": "RGB", "LA": "L"}  # modes without either


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


def deep_to_srgb(values: np.ndarray, profile: bytes | None) -> np.ndarray:
    """Return colours uint16 [H, W, 3] or greys [H, W] as sRGB [H, W, 3]; as `to_srgb` does for 8 bits."""
    is_grey = values.ndim == 2
    if profile:
        import imagecodecs  # Pillow converts colours of 8 bits only

        try:
            return imagecodecs.cms_transform(
                np.ascontiguousarray(values),
                profile,
                srgb_profile(),
                colorspace="gray" if is_grey else "rgb",
                outcolorspace="rgb",
            )
        except (imagecodecs.CmsError, ValueError):
            pass
    return np.repeat(values[..., None], 3, 2) if is_grey else values
