"""An edit as a look-up table of colours, for video and photo editors, and how much of the edit that is.

    told = write_table(network, "edit.cube", photographs, others, size=33)
    told.share                              # of what the edit changes, on the other photographs

A table gives every pixel of one colour the same new colour. It is fitted to the edits of real photographs: least
squares on the lattice, where neighbouring entries pull at each other, so that colours that no photograph had change
like similar ones. What hangs on a pixel's surroundings, its place or the photograph as a whole is lost.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from zoo.errors import WeightzooError
from zoo.files import PathLike
from zoo.pictures.apply import edit_photo
from zoo.pictures.cube import CubeTable, Table, write_cube
from zoo.pictures.mixing import check_strength

SIZES = (2, 65)  # entries of a side that programs read
LONGEST_SIDE = 256  # short side at most of the photographs that are edited, pixels
PIXELS = 8_000  # of each photograph that the table is fitted to
PULL = 0.3  # of neighbouring entries, in pixels
STEPS = 40  # of conjugate gradients at each resolution
COARSER = (3, 5, 9, 17, 33)  # sides of the tables before: what is far from all colours is settled there


@dataclass(frozen=True)
class TableFile:
    """What is told of a table.

    Attributes:
        size: entries of a side.
        share: of what the edit changes that the table gives, on photographs that it was not fitted to: 1 less the
            squared error of the table over that of the photographs themselves; at least 0.
        shares: the same for each photograph.
    """

    size: int
    share: float
    shares: list[float]


def write_table(
    network: nn.Module,
    out: PathLike,
    photos: Sequence[Image.Image],
    others: Sequence[Image.Image],
    size: int = 33,
    strength: float = 1.0,
    title: str = "weightzoo",
) -> TableFile:
    """Fit a table to the edits of `photos`, write it, and measure it on `others`.

    Raises:
        WeightzooError: a size or strength out of range, or the file cannot be written.
    """
    check_size(size)
    check_strength(strength)
    pairs = [edited_pair(network, photo, strength) for photo in photos]
    chosen = [spread_pixels(*pair) for pair in pairs]
    values = fit_table(torch.cat([source for source, _ in chosen]), torch.cat([edited for _, edited in chosen]), size)
    table = CubeTable(title, (Table(values, torch.zeros(3), torch.ones(3)),))
    errors, changes = [], []
    for source, edited in (edited_pair(network, photo, strength) for photo in others):
        errors.append(float((table.apply(source) - edited).square().mean()))
        changes.append(float((source - edited).square().mean()))
    write_cube(out, values, title)
    shares = [explained(error, change) for error, change in zip(errors, changes, strict=True)]
    return TableFile(size, explained(sum(errors), sum(changes)), shares)


def check_size(size: int) -> None:
    """Raise `WeightzooError` for a side that programs do not read."""
    if not SIZES[0] <= size <= SIZES[1]:
        raise WeightzooError(f"a table of {size} entries a side is out of range; give {SIZES[0]} to {SIZES[1]}")


def explained(error: float, change: float) -> float:
    """Return the share of a squared change that is left when an error is taken away; 1 of no change."""
    return max(0.0, 1 - error / change) if change > 0 else 1.0


def edited_pair(network: nn.Module, photo: Image.Image, strength: float) -> tuple[Tensor, Tensor]:
    """Return a reduced photograph and its edit, [1, 3, h, w] each."""
    side = min(LONGEST_SIDE, max(getattr(network.config, "image_size", 64), 128))
    factor = min(1.0, side / min(photo.size))
    small = photo.convert("RGB").resize((round(photo.width * factor), round(photo.height * factor)))
    pixels = np.asarray(small)
    return picture(pixels), picture(edit_photo(network, pixels, strength=strength))


def picture(pixels: np.ndarray) -> Tensor:
    """Return uint8 pixels [H, W, 3] as [1, 3, H, W] in [0, 1]."""
    return torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)[None]


def spread_pixels(source: Tensor, edited: Tensor) -> tuple[Tensor, Tensor]:
    """Return at most `PIXELS` pixels of a pair [1, 3, H, W], evenly spread, [P, 3] each."""
    rows = (picture[0].flatten(1).T for picture in (source, edited))
    step = max(1, source[0, 0].numel() // PIXELS)
    first, second = (values[::step] for values in rows)
    return first, second


def fit_table(source: Tensor, edited: Tensor, size: int) -> Tensor:
    """Return the table [size, size, size, 3] by blue, green and red that fits colours [P, 3] in [0, 1] to others."""
    change = edited - source
    values = torch.zeros(1, 3, 2, 2, 2)
    for side in [*(side for side in COARSER if side < size), size]:
        values = F.interpolate(values, (side, side, side), mode="trilinear", align_corners=True)
        values = _fitted(values, source, change)
    entry = torch.linspace(0, 1, size)
    blue, green, red = torch.meshgrid(entry, entry, entry, indexing="ij")
    return (values[0].permute(1, 2, 3, 0) + torch.stack([red, green, blue], -1)).clamp(0, 1)


def _fitted(values: Tensor, source: Tensor, change: Tensor) -> Tensor:
    """Return the lattice of changes [1, 3, S, S, S] that fits best, from one that is near."""
    weights = _weights(source, values.shape[-1])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR", UserWarning)  # torch says once that they are in beta
        normal = weights.T @ weights
    shape = values.shape

    def lattice(x: Tensor) -> Tensor:  # from [S^3, 3]
        return x.T.reshape(shape)

    def operator(x: Tensor) -> Tensor:
        pull = torch.zeros(shape)
        grid = lattice(x)
        for axis in (2, 3, 4):
            step = grid.diff(dim=axis)
            length = step.shape[axis]
            pull.narrow(axis, 1, length).add_(step)
            pull.narrow(axis, 0, length).sub_(step)
        return normal @ x + PULL * pull.flatten(2)[0].T + 1e-6 * x

    start = values.flatten(2)[0].T
    return lattice(_conjugate_gradients(operator, weights.T @ change, start))


def _weights(source: Tensor, size: int) -> Tensor:
    """Return the trilinear weights of a lattice's entries in colours [P, 3], sparse [P, size^3]."""
    place = source.clamp(0, 1) * (size - 1)
    below = place.floor().clamp(max=size - 2)
    beyond = place - below
    columns, shares = [], []
    for corner in range(8):
        offset = torch.tensor([corner & 1, corner >> 1 & 1, corner >> 2])  # red, green, blue
        red, green, blue = (below.long() + offset).unbind(1)
        columns.append((blue * size + green) * size + red)
        shares.append(torch.where(offset.bool(), beyond, 1 - beyond).prod(1))
    rows = torch.arange(len(source)).repeat(8)
    index = torch.stack([rows, torch.cat(columns)])
    return torch.sparse_coo_tensor(index, torch.cat(shares), (len(source), size**3), check_invariants=False).coalesce()


def _conjugate_gradients(operator: Callable[[Tensor], Tensor], right: Tensor, x: Tensor) -> Tensor:
    """Solve a symmetric positive definite system for each column."""
    residual = right - operator(x)
    direction, power = residual, residual.square().sum(0)
    for _ in range(STEPS):
        if float(power.max()) < 1e-12:
            break
        moved = operator(direction)
        length = power / (direction * moved).sum(0).clamp_min(1e-30)
        x, residual = x + length * direction, residual - length * moved
        before, power = power, residual.square().sum(0)
        direction = residual + power / before.clamp_min(1e-30) * direction
    return x
