"""Source photographs: the embedded ones or any folder, and the square crops taken from them.

    photos = load_photos("train")                # or "test", or the path of a folder
    images = crops(photos, 256, 64, seed=0)      # float32 [256, 3, 64, 64], RGB in [0, 1]

Train and test crops come from different photographs; `photos/ATTRIBUTION.md` names their authors.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from zoo.errors import WeightzooError
from zoo.pairs import split_pairs

PHOTOS = Path(__file__).parent / "photos"
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
MAX_ENLARGEMENT = 2.0


def attribution() -> list[dict[str, str | int | None]]:
    """One row per embedded photograph: file, split, title, author, year, licence, origin, changes."""
    return json.loads((PHOTOS / "photos.json").read_text(encoding="utf-8"))


def photo_paths(where: str | Path) -> list[Path]:
    """The image files of an embedded split ("train", "test") or of a folder, sorted by name.

    Raises:
        WeightzooError: the folder is missing or has no image files.
    """
    folder = PHOTOS / where if where in ("train", "test") else Path(where)
    if str(where).startswith("own:"):
        raise WeightzooError(
            f"the photographs of this zoo ({where}) are its makers' own and were not published; "
            "use a zoo of the embedded ones, or one that was built here"
        )
    if not folder.is_dir():
        raise WeightzooError(
            f"no folder of photographs at {folder}; give 'train', 'test' or an existing folder"
        )
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    if not paths:
        raise WeightzooError(f"no photographs in {folder}; put {', '.join(SUFFIXES)} files there")
    return paths


def load_photos(where: str | Path) -> list[Image.Image]:
    """RGB photographs, upright by their EXIF orientation, in the order of their names.

    Raises:
        WeightzooError: nothing there, or a file that is no readable image (named).
    """
    return read_photos(photo_paths(where))


def photo_sets(train: str | Path, test: str | Path) -> tuple[list[Path], list[Path]]:
    """The photographs to train on and to measure on. One folder for both is split by photograph, 1 in 5 to test.

    Raises:
        WeightzooError: a folder is missing, or has too few images.
    """
    if str(train) != str(test):
        return photo_paths(train), photo_paths(test)
    paths = {path.name: path for path in photo_paths(train)}
    if len(paths) < 2:
        raise WeightzooError(f"{train} has one photograph; put a second one there, to measure on")
    own, other = split_pairs(list(paths))
    return [paths[name] for name in own], [paths[name] for name in other]


def read_photos(paths: list[Path]) -> list[Image.Image]:
    """RGB photographs, upright by their EXIF orientation, in the order of ``paths``.

    Raises:
        WeightzooError: a file is no readable image (named).
    """
    photos = []
    for path in paths:
        try:
            with Image.open(path) as image:
                photos.append(ImageOps.exif_transpose(image).convert("RGB"))
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
            raise WeightzooError(f"{path} is not a readable image ({error}); remove or replace it") from error
    return photos


def crops(photos: list[Image.Image], n: int, size: int, seed: int) -> Tensor:
    """`n` square crops, float32 [n, 3, size, size] in [0, 1]; the same for the same seed.

    Each photograph gives n/len(photos) crops, one more or less. A crop's side is 25-100 % of the short side
    (more if it would be enlarged more than twice); half of the crops are mirrored.

    Raises:
        WeightzooError: no photographs, or n or size below 1.
    """
    if not photos or n < 1 or size < 1:
        raise WeightzooError(
            f"cannot take {n} crops of {size} px from {len(photos)} photographs; all must be at least 1"
        )
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(len(photos)) for _ in range(-(-n // len(photos)))])[:n]
    return torch.stack([_crop(photos[i], size, rng) for i in order])


def _crop(photo: Image.Image, size: int, rng: np.random.Generator) -> Tensor:
    short = min(photo.size)
    least = min(1.0, max(0.25, size / MAX_ENLARGEMENT / short))
    side = max(1, round(short * rng.uniform(least, 1.0)))
    left = int(rng.integers(0, photo.width - side + 1))
    top = int(rng.integers(0, photo.height - side + 1))
    mirrored = bool(rng.integers(0, 2))
    image = photo.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    if mirrored:
        image = ImageOps.mirror(image)
    return torch.from_numpy(np.asarray(image, dtype=np.float32) / 255).permute(2, 0, 1).contiguous()
