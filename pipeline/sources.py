"""Source photographs: the embedded ones or any folder, and the square crops taken from them.

    photos = load_photos("learning")             # or another name in EMBEDDED, or the path of a folder
    images = crops(photos, 256, 64, seed=0)      # float32 [256, 3, 64, 64], RGB in [0, 1]

Train and test crops come from different photographs. A zoo learns from "learning": "train", and "edits", which has more
kinds of photographs. "reading" has yet more photographs, in no zoo: a weight generator that learns to read pairs sees
the most photographs with it, so that what it learns holds on new ones. Nothing is measured on it.
`photos/ATTRIBUTION.md` names their authors.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from zoo.errors import WeightzooError
from zoo.pictures.pairs import split_pairs
from zoo.pictures.photo_file import PILLOW_ERRORS, check_limits, open_image, reason_of
from zoo.pictures.picture_files import left_out_lines, list_files, sort_files
from zoo.words import plural

PHOTOS = Path(__file__).parent / "photos"
EMBEDDED = {  # the folders of each
    "train": ("train",),
    "edits": ("edits",),
    "learning": ("train", "edits"),
    "reading": ("reading",),
    "test": ("test",),
}
MAX_ENLARGEMENT = 2.0
LYING = (5, 6, 7, 8)  # EXIF orientations that swap width and height
Photo = Image.Image | Path  # decoded, or to be decoded when its crops are cut


@dataclass(frozen=True)
class Cut:
    """One crop to be cut: which photograph, the square (left, top, right, bottom), whether it is mirrored."""

    photo: int
    box: tuple[int, int, int, int]
    mirrored: bool


def attribution() -> list[dict[str, str | int | None]]:
    """Return one row per embedded photograph: file, split, title, author, year, licence, origin, changes.

    Those of "edits" and "reading" also have a `kind`: what they show.
    """
    return json.loads((PHOTOS / "photos.json").read_text(encoding="utf-8"))


def photo_paths(where: str | Path) -> list[Path]:
    """Return the image files of an embedded split (in EMBEDDED) or of a folder, sorted by name.

    Raises:
        WeightzooError: the folder is missing or has no image files.
    """
    if where in EMBEDDED:
        found = [path for part in EMBEDDED[str(where)] for path in pictures_in(PHOTOS / part)]
        return sorted(found, key=lambda path: path.name)
    if str(where).startswith("own:"):
        raise WeightzooError(
            f"the photographs of this zoo ({where}) belong to its makers and were not published; "
            "use a zoo of the embedded photographs, or one that was built here"
        )
    return pictures_in(Path(where))


def pictures_in(folder: Path) -> list[Path]:
    """Return the image files of a folder, sorted by name; see :func:`photo_paths`."""
    if not folder.is_dir():
        known = ", ".join(map(repr, EMBEDDED))
        raise WeightzooError(f"no folder of photographs at {folder}; give {known} or an existing folder")
    listed = sort_files(list_files(folder))
    paths = sorted(file.data for file in listed.pictures if isinstance(file.data, Path))
    if not paths:
        left_out = "".join(f" ({line})" for line in left_out_lines(listed.left_out))
        raise WeightzooError(f"no photographs in {folder}{left_out}; put JPEG, PNG, WebP or TIFF files there")
    return paths


def photos_left_out(where: str | Path) -> list[str]:
    """Return one line for every reason why files of a folder of photographs are left out; none of an embedded split."""
    if where in EMBEDDED or not Path(where).is_dir():
        return []
    return [f"{where}: {line}" for line in left_out_lines(sort_files(list_files(Path(where))).left_out)]


def load_photos(where: str | Path) -> list[Image.Image]:
    """Return RGB photographs, upright by their EXIF orientation, transparency on white, in the order of their names.

    Raises:
        WeightzooError: nothing there, or a file that is no readable image (named).
    """
    return [_open(path) for path in photo_paths(where)]


def photo_sets(train: str | Path, test: str | Path) -> tuple[list[Path], list[Path]]:
    """Return the photographs to train on and to measure on. One folder for both is split by photograph, 1 in 5 to test.

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


def crops(photos: Sequence[Photo], n: int, size: int, seed: int) -> Tensor:
    """Return `n` square crops, float32 [n, 3, size, size] in [0, 1]; the same for the same seed.

    Each photograph gives n/len(photos) crops, one more or less. A crop's side is 25-100 % of the short side
    (more if it would be enlarged more than twice); half of the crops are mirrored.

    Args:
        photos: decoded, or files, which are decoded one after another and not kept.

    Raises:
        WeightzooError: no photographs, n or size below 1, or a file that is no readable image.
    """
    return cut(photos, draw_cuts(photo_sizes(photos), n, size, seed), size)


def photo_sizes(photos: Sequence[Photo]) -> list[tuple[int, int]]:
    """Return the width and height of each photograph, upright."""
    return [photo.size if isinstance(photo, Image.Image) else _upright_size(photo) for photo in photos]


def draw_cuts(sizes: Sequence[tuple[int, int]], n: int, size: int, seed: int) -> list[Cut]:
    """Decide `n` crops of photographs of these sizes, see :func:`crops`."""
    if not sizes or n < 1 or size < 1:
        raise WeightzooError(
            f"cannot take {plural(n, 'crop')} of {size} px from {plural(len(sizes), 'photograph')}; "
            "all of these numbers must be at least 1"
        )
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(len(sizes)) for _ in range(-(-n // len(sizes)))])[:n]
    return [_draw(int(i), sizes[i], size, rng) for i in order]


def cut(photos: Sequence[Photo], cuts: Sequence[Cut], size: int) -> Tensor:
    """Cut the crops out, float32 [len(cuts), 3, size, size] in [0, 1]; every file is opened once."""
    images = torch.empty(len(cuts), 3, size, size)
    for index in sorted({item.photo for item in cuts}):
        photo = photos[index]
        image = photo if isinstance(photo, Image.Image) else _open(photo)
        for place, item in enumerate(cuts):
            if item.photo == index:
                images[place] = _crop(image, item, size)
    return images


def _draw(photo: int, photo_size: tuple[int, int], size: int, rng: np.random.Generator) -> Cut:
    width, height = photo_size
    short = min(photo_size)
    least = min(1.0, max(0.25, size / MAX_ENLARGEMENT / short))
    side = max(1, round(short * rng.uniform(least, 1.0)))
    left = int(rng.integers(0, width - side + 1))
    top = int(rng.integers(0, height - side + 1))
    return Cut(photo, (left, top, left + side, top + side), bool(rng.integers(0, 2)))


def _crop(photo: Image.Image, item: Cut, size: int) -> Tensor:
    image = photo.resize((size, size), Image.Resampling.BICUBIC, box=item.box)
    if item.mirrored:
        image = ImageOps.mirror(image)
    return torch.from_numpy(np.asarray(image, dtype=np.float32) / 255).permute(2, 0, 1)


def _open(path: Path) -> Image.Image:
    with _naming(path):
        return open_image(path)


def _upright_size(path: Path) -> tuple[int, int]:
    """Return the size of a photograph as :func:`_open` returns it, from its header where that has it."""
    with _naming(path):
        with Image.open(path) as image:
            check_limits(path, image.size)
            if image.format == "TIFF":  # Pillow turns these by itself, some versions when they are opened
                return open_image(path).size
            width, height = image.size
            return (height, width) if image.getexif().get(ExifTags.Base.Orientation) in LYING else (width, height)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Raise errors of Pillow as ours, with the name of the file that it cannot read."""
    try:
        yield
    except (*PILLOW_ERRORS, Image.DecompressionBombError) as error:
        raise WeightzooError(f"{path} is not a readable image ({reason_of(error)}); remove or replace it") from error
