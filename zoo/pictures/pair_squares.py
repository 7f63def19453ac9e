"""Squares to train on, cut from pairs: the same ones out of source and target.

    sources, targets = pairs_to_tensors(read.pairs, size=64, crops=8)
"""

import random
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zoo.pictures.pairs import Pair

SMALLEST_CROP = 0.25  # of the short side; the largest crop is all of it
Box = tuple[int, int, int, int]  # left, top, right, bottom


def pairs_to_tensors(pairs: Sequence[Pair], size: int, crops: int = 1, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Cut the same squares out of source and target and scale them to `size` pixels.

    Args:
        size: side of the result in pixels.
        crops: squares per pair: 1 is the centred largest square, more are random squares of 25 to 100 % of the
            short side, which depend on `seed` and the pair's name only. None is enlarged, as far as the pair suffices.

    Returns:
        Sources and targets, float32 `[len(pairs) * crops, 3, size, size]` in [0, 1], pair by pair.
    """
    sources, targets = [], []
    for name, source, target in pairs:
        smallest = max(SMALLEST_CROP, min(1.0, size / min(source.size)))
        boxes = [_centre(source.size)] if crops == 1 else random_boxes(source.size, crops, f"{seed}/{name}", smallest)
        for box in boxes:
            sources.append(_crop(source, box, size))
            targets.append(_crop(target, box, size))
    return _to_tensor(sources, size), _to_tensor(targets, size)


def _centre(size: tuple[int, int]) -> Box:
    left, top, short = (size[0] - min(size)) // 2, (size[1] - min(size)) // 2, min(size)
    return left, top, left + short, top + short


def random_boxes(size: tuple[int, int], count: int, key: str, smallest: float = SMALLEST_CROP) -> list[Box]:
    """Return `count` squares of `smallest` to all of a picture's short side; `size` and `key` decide them."""
    width, height = size
    rng = random.Random(key)
    boxes = []
    for _ in range(count):
        side = max(1, round(min(size) * rng.uniform(smallest, 1.0)))
        left, top = rng.randint(0, width - side), rng.randint(0, height - side)
        boxes.append((left, top, left + side, top + side))
    return boxes


def _crop(image: Image.Image, box: Box, size: int) -> np.ndarray:
    return np.asarray(image.resize((size, size), Image.Resampling.LANCZOS, box=box))


def _to_tensor(images: list[np.ndarray], size: int) -> Tensor:
    if not images:
        return torch.zeros(0, 3, size, size)
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous().float() / 255
