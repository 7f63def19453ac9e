"""Source/target pairs from disk: folders, pix2pix side-by-side images, WebDataset shards.

:func:`read_pairs` finds out by itself which of the three ``path`` is:

- a folder with ``source/`` and ``target/`` whose images have equal names (the suffix may differ);
- a folder of side-by-side images as in pix2pix: the left half is the source, the right half the target;
- a WebDataset ``.tar`` (or a folder of them) with ``NAME.source.png`` and ``NAME.target.png`` members.

Sizes may differ between pairs, never within one. Images come as sRGB, turned upright by their EXIF entry.

    train, test = split_pairs([name for name, _, _ in pairs])
    sources, targets = pairs_to_tensors(pairs, size=64, crops=8)
"""

import hashlib
import io
import os
import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from zoo.errors import WeightzooError
from zoo.files import PathLike
from zoo.photo_file import PILLOW_ERRORS, decode

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm")
SMALLEST_CROP = 0.25  # of the short side; the largest crop is all of it
Pair = tuple[str, Image.Image, Image.Image]


@dataclass(frozen=True)
class PairFiles:
    """One pair that is not decoded yet.

    Attributes:
        name: the pair's name, unique among its pairs.
        source: label (for errors) and file or bytes of the source image.
        target: the same for the target; ``None`` when ``source`` is a side-by-side image of both.
    """

    name: str
    source: tuple[str, Path | bytes]
    target: tuple[str, Path | bytes] | None


def read_pairs(path: PathLike, minimum: int = 2, max_short_side: int | None = None) -> list[Pair]:
    """Read all pairs under ``path``, sorted by name.

    Args:
        path: folder or ``.tar`` file, see the module.
        minimum: how many pairs there must be.
        max_short_side: larger images are scaled down to this short side (pixels), to save memory.

    Returns:
        ``(name, source, target)`` for every pair: RGB images of one size.

    Raises:
        WeightzooError: naming the pair or file that is wrong, and what to do.
    """
    files = sorted(find_pairs(Path(path)), key=lambda pair: pair.name)
    if len(files) < minimum:
        raise WeightzooError(f"{path} holds {len(files)} pair(s), at least {minimum} are needed; add pairs")
    return [decode_pair(pair, max_short_side) for pair in files]


def find_pairs(path: Path) -> list[PairFiles]:
    """List the pairs under ``path`` without decoding them."""
    if not path.exists():
        raise WeightzooError(f"{path} does not exist; give a folder with source/ and target/, or a .tar file")
    if path.is_file():
        if path.suffix != ".tar":
            raise WeightzooError(f"{path} is neither a folder nor a .tar file; give one of these")
        return list(_tar_pairs([path]))
    halves = [name for name in ("source", "target") if (path / name).is_dir()]
    if len(halves) == 2:
        return list(_folder_pairs(path))
    if halves:
        missing = "target" if halves == ["source"] else "source"
        raise WeightzooError(f"{path} has {halves[0]}/ but no {missing}/; add the folder {missing}/")
    if tars := sorted(path.glob("*.tar")):
        return list(_tar_pairs(tars))
    if images := _images(path):
        return [PairFiles(name, (str(file), file), None) for name, file in images.items()]
    inner = sorted(child.name for child in path.iterdir() if child.is_dir())[:3]
    hint = f"; is it one of its folders ({', '.join(inner)})?" if inner else "; check the path"
    raise WeightzooError(
        f"{path} has neither source/ and target/ folders, side-by-side images nor .tar files{hint}"
    )


def _folder_pairs(path: Path) -> Iterator[PairFiles]:
    sources, targets = _images(path / "source"), _images(path / "target")
    for have, lack, images, others in (
        ("source", "target", sources, targets),
        ("target", "source", targets, sources),
    ):
        if alone := sorted(images.keys() - others.keys()):
            more = f" and {len(alone) - 3} more" if len(alone) > 3 else ""
            raise WeightzooError(
                f"{path}: {', '.join(alone[:3])}{more} in {have}/ but not in {lack}/; "
                "give both files of a pair the same name"
            )
    for name, file in sources.items():
        yield PairFiles(name, (str(file), file), (str(targets[name]), targets[name]))


def _images(folder: Path) -> dict[str, Path]:
    """The images of a folder by stem, sorted. Hidden files and other suffixes are ignored."""
    images: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.name.startswith(".") or file.suffix.lower() not in SUFFIXES:
            continue
        if file.stem in images:
            raise WeightzooError(f"{folder} has {images[file.stem].name} and {file.name}; keep one of them")
        images[file.stem] = file
    return images


def _tar_pairs(tars: Sequence[Path]) -> Iterator[PairFiles]:
    from webdataset.tariterators import group_by_keys, tar_file_expander

    seen: dict[str, Path] = {}
    for tar in tars:
        try:
            with open(tar, "rb") as stream:
                _check_end(stream)
                members = tar_file_expander([{"url": str(tar), "stream": stream}])
                samples: list[dict[str, Any]] = list(group_by_keys(members))
        except Exception as error:  # webdataset passes on whatever the tar reader raises
            reason = str((*error.args, error)[0]).split(" @ ")[0]
            raise WeightzooError(
                f"{tar} is not a readable WebDataset tar ({reason}); restore or remake it"
            ) from None
        for sample in samples:
            name = str(sample["__key__"])
            if name in seen:
                raise WeightzooError(f"pair {name} is in {seen[name].name} and {tar.name}; rename one")
            seen[name] = tar
            yield PairFiles(name, _member(tar, name, sample, "source"), _member(tar, name, sample, "target"))


def _check_end(stream: BinaryIO) -> None:
    """Every complete tar ends with two empty blocks; without this a cut one reads as a shorter one."""
    stream.seek(-min(1024, stream.seek(0, os.SEEK_END)), os.SEEK_END)
    if stream.read() != bytes(1024):
        raise ValueError("its end is missing")
    stream.seek(0)


def _member(tar: Path, name: str, sample: dict[str, Any], half: str) -> tuple[str, bytes]:
    for key, data in sample.items():
        if key.startswith(f"{half}.") and f".{key.rsplit('.', 1)[-1]}".lower() in SUFFIXES:
            return f"{tar}:{name}.{key}", data
    raise WeightzooError(
        f"{tar}: pair {name} has no {half} image; add {name}.{half}.png (names without dots)"
    )


def decode_pair(pair: PairFiles, max_short_side: int | None = None) -> Pair:
    """Read the images of one pair.

    Raises:
        WeightzooError: one is not readable, or they differ in size.
    """
    source = _open_image(*pair.source)
    if pair.target is None:
        if source.width % 2:
            raise WeightzooError(
                f"{pair.source[0]} is {source.width} pixels wide; a side-by-side image has an even width "
                "(source on the left, target on the right)"
            )
        middle = source.width // 2
        target = source.crop((middle, 0, source.width, source.height))
        source = source.crop((0, 0, middle, source.height))
    else:
        target = _open_image(*pair.target)
    if source.size != target.size:
        raise WeightzooError(
            f"pair {pair.name}: the source is {_size(source)} pixels, the target {_size(target)}; "
            "both must have one size"
        )
    if max_short_side and min(source.size) > max_short_side:
        scale = max_short_side / min(source.size)
        size = (round(source.width * scale), round(source.height * scale))
        source, target = (image.resize(size, Image.Resampling.LANCZOS) for image in (source, target))
    return pair.name, source, target


def _size(image: Image.Image) -> str:
    return f"{image.width}x{image.height}"


def _open_image(label: str, data: Path | bytes) -> Image.Image:
    try:
        return open_image(data)
    except (*PILLOW_ERRORS, Image.DecompressionBombError) as error:
        reason = "not an image" if isinstance(error, Image.UnidentifiedImageError) else str(error)
        raise WeightzooError(f"cannot read the image {label} ({reason}); replace or remove it") from None


def open_image(data: PathLike | bytes) -> Image.Image:
    """Open one image as sRGB, upright by its EXIF entry, transparency on white. Raises what Pillow raises."""
    with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data) as image:
        image.load()
        return decode(ImageOps.exif_transpose(image)).on_white()


def split_pairs(names: Sequence[str], fraction: float = 0.2) -> tuple[list[str], list[str]]:
    """Split pair names into train and test, ``fraction`` of them test: the first by sha256 of the name.

    The order of ``names`` does not matter; both lists are sorted. At least one name is on each side.
    """
    if len(names) < 2:
        raise WeightzooError(f"{len(names)} pair(s) cannot be split; give at least 2, one to test on")
    if len(set(names)) < len(names):
        raise WeightzooError("two pairs have the same name; rename one")
    ranked = sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    count = min(max(1, round(len(names) * fraction)), len(names) - 1)
    return sorted(ranked[count:]), sorted(ranked[:count])


def pairs_to_tensors(
    pairs: Sequence[Pair], size: int, crops: int = 1, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Cut the same squares out of source and target and scale them to ``size`` pixels.

    Args:
        pairs: as :func:`read_pairs` gives them.
        size: side of the result in pixels.
        crops: squares per pair: 1 is the centred largest square, more are random squares of 25-100 % of the
            short side, which depend on ``seed`` and the pair's name only.
        seed: of the random squares.

    Returns:
        Sources and targets, float32 ``[len(pairs) * crops, 3, size, size]`` in [0, 1], pair by pair.
    """
    sources, targets = [], []
    for name, source, target in pairs:
        for box in _boxes(source.size, crops, f"{seed}/{name}"):
            sources.append(_crop(source, box, size))
            targets.append(_crop(target, box, size))
    return _to_tensor(sources, size), _to_tensor(targets, size)


def _boxes(size: tuple[int, int], crops: int, key: str) -> list[tuple[int, int, int, int]]:
    width, height = size
    short = min(size)
    if crops == 1:
        left, top = (width - short) // 2, (height - short) // 2
        return [(left, top, left + short, top + short)]
    rng = random.Random(key)
    boxes = []
    for _ in range(crops):
        side = max(1, round(short * rng.uniform(SMALLEST_CROP, 1.0)))
        left, top = rng.randint(0, width - side), rng.randint(0, height - side)
        boxes.append((left, top, left + side, top + side))
    return boxes


def _crop(image: Image.Image, box: tuple[int, int, int, int], size: int) -> np.ndarray:
    return np.asarray(image.resize((size, size), Image.Resampling.LANCZOS, box=box))


def _to_tensor(images: list[np.ndarray], size: int) -> Tensor:
    if not images:
        return torch.zeros(0, 3, size, size)
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous().float() / 255


def write_pairs(path: PathLike, names: Sequence[str], sources: Tensor, targets: Tensor) -> None:
    """Write pairs as ``path/source/NAME.png`` and ``path/target/NAME.png``.

    The folder appears complete or not at all.

    Args:
        path: a folder that is absent or empty.
        names: one plain name per pair.
        sources: ``[N, 3, H, W]`` in [0, 1]; values outside are clamped.
        targets: the same shape.
    """
    path = Path(path)
    if not len(names) == len(set(names)) == len(sources) == len(targets):
        raise WeightzooError(
            f"{len(names)} names for {len(sources)} sources, {len(targets)} targets; match them"
        )
    if bad := [name for name in names if not name or name.startswith(".") or set(name) & set("/\\")]:
        raise WeightzooError(f"{bad[0]!r} cannot be a file name; give pairs plain names")
    if path.exists() and any(path.iterdir()):
        raise WeightzooError(f"{path} is not empty; choose another folder or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        for half, images in (("source", sources), ("target", targets)):
            (temporary / half).mkdir(parents=True)
            for name, array in zip(names, _to_uint8(images), strict=True):
                Image.fromarray(array).save(temporary / half / f"{name}.png")
        os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror or error
        raise WeightzooError(
            f"cannot write {path}: {reason}; free some space or choose another folder"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _to_uint8(images: Tensor) -> np.ndarray:
    return (images.detach().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
