"""What teachers that run a person's own programs share: whose they are, and pictures in and out.

A zoo tells the world which programs made its pictures, and nobody else's machine must run them. So `folder`, where
the build was started, is what allows them: it lies in `places.json`, which is never published or downloaded
(:mod:`pipeline.run_folder.private_paths`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zoo.errors import WeightzooError


def check_own(teacher: str, folder: str) -> None:
    """Raise WeightzooError unless the programs of `teacher` belong to whoever runs this, and their folder is here."""
    if not Path(folder).is_absolute():
        raise WeightzooError(
            f"the programs of teacher {teacher!r} are those of the zoo's makers and are not run here; "
            "build a zoo of your own with them if you trust them"
        )
    if not Path(folder).is_dir():
        raise WeightzooError(f"the folder {folder}, which teacher {teacher!r} works from, is not here; restore it")


def to_image(photo: Tensor) -> Image.Image:
    """Return a photograph [3, H, W] in [0, 1] as an 8-bit RGB image."""
    pixels = (photo.clamp(0, 1) * 255).round().byte().permute(1, 2, 0)
    return Image.fromarray(pixels.cpu().numpy())


def to_tensor(image: Image.Image, photo: Tensor, maker: str) -> Tensor:
    """Return an RGB image as [3, H, W] in [0, 1], on the device of the photograph that it was made from.

    Raises:
        WeightzooError: it has another size than the photograph; `maker` says who made it.
    """
    size = (photo.shape[2], photo.shape[1])
    if image.size != size:
        was, is_now = (f"{width}x{height}" for width, height in (size, image.size))
        raise WeightzooError(f"{maker} made a picture of {is_now} pixels from one of {was}; keep the size")
    pixels = np.asarray(image, dtype=np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1).to(photo)
