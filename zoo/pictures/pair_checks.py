"""Whether the two pictures of a pair show the same thing, and by how many pixels one is off.

    found = set_likeness([(source, target), ...])
    found.is_related()              # False for shuffled pairs, and for the halves of ordinary photographs
    offset(source, target)          # (dx, dy): what is at (x, y) in the source is at (x + dx, y + dy) in the target

Both look at edges, which nearly every edit keeps: colours may be inverted, posterised or gone. Two pictures are as
alike as the correlation of how steep they are at every place, at a small size, where brush strokes and lines have
merged into the areas that they follow. A picture's source is held against the target of another pair as well: what
all pictures of a folder have in common, such as a frame, proves nothing. `docs/LOG.md` has the rates of right and
wrong answers, measured by `benchmarks/pair_checks.py`.

Everything is decided by whole numbers, so that every machine comes to the same answer.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from zoo.errors import WeightzooError
from zoo.files import PathLike
from zoo.pictures.picture_files import some
from zoo.words import plural

SIDE = 64  # long side at which edges are compared
SMALLEST = 24  # sides of pictures in which too few edges fit to say anything
RELATED = 0.14  # least likeness beyond chance of two pictures of the same thing, see docs/LOG.md
CLEARLY_RELATED = 2 * RELATED  # from here on a single pair of two different pictures stands out
CERTAINLY_RELATED = 0.6  # even where all pairs of a set are alike, as frames of one film are
OFFSET_SIDE = 512  # long side at which shifts are measured
FURTHEST = 0.08  # of the short side: how far shifts are looked for
SAME_NAME = "check that every source has its own target, under the same name"
CERTAIN, LEAD = 0.4, 0.15  # correlation at the best shift, and how far it is above that of no shift


EdgeMaps = tuple[np.ndarray | None, np.ndarray | None]  # the `edges` of a source and of its target


@dataclass(frozen=True)
class Likeness:
    """How alike the pictures of a set of pairs are.

    Attributes:
        own: median likeness of a source and its target.
        chance: that of a source and the target of another pair; 0 where there is one pair.
    """

    own: float
    chance: float

    def is_related(self) -> bool:
        """Say whether sources and targets show the same things."""
        return self.own >= CERTAINLY_RELATED or self.own - self.chance >= RELATED


def edges(image: Image.Image) -> np.ndarray | None:
    """Return how steep an RGB picture is all over, whole numbers [SIDE, SIDE]; `None` if it is tiny or flat."""
    if min(image.size) < SMALLEST:
        return None
    values = np.asarray(image.resize((SIDE + 2, SIDE + 2), Image.Resampling.BOX)).astype(np.int64)
    across, down = values[1:-1, 2:] - values[1:-1, :-2], values[2:, 1:-1] - values[:-2, 1:-1]
    steepest = np.rint(np.sqrt((across**2 + down**2).max(-1))).astype(np.int64)
    return steepest if steepest.min() < steepest.max() else None


def likeness(first: np.ndarray, second: np.ndarray) -> float:
    """Return the correlation of two pictures' edges, from -1 to 1."""
    sums = int(first.sum()), int(second.sum())
    products = [int((a * b).sum()) for a, b in ((first, second), (first, first), (second, second))]
    both, *own = (
        first.size * product - total
        for product, total in zip(products, (sums[0] * sums[1], sums[0] ** 2, sums[1] ** 2), strict=True)
    )
    return both / math.sqrt(own[0] * own[1])


def set_likeness(pairs: Iterable[tuple[Image.Image, Image.Image]]) -> Likeness | None:
    """Return how alike the pictures of pairs are; `None` if none has edges to tell by."""
    return likeness_of_edges((edges(source), edges(target)) for source, target in pairs)


def likeness_of_edges(maps: Iterable[EdgeMaps]) -> Likeness | None:
    """Return what :func:`set_likeness` does, from the edges."""
    known = [(a, b) for a, b in maps if a is not None and b is not None]
    if not known:
        return None
    own = [likeness(*pair) for pair in known]
    others = [likeness(known[i - 1][0], known[i][1]) for i in range(len(known))] if len(known) > 1 else [0.0]
    return Likeness(statistics.median(own), statistics.median(others))


def unrelated_pairs(path: PathLike, maps: Mapping[str, EdgeMaps], side_by_side: bool) -> list[str]:
    """Return a warning about pairs whose pictures have nothing in common: all of them, or some among sound ones.

    Args:
        path: where the pairs are.
        maps: the edges of each pair, by its name.
        side_by_side: whether they are halves of one picture.

    Raises:
        WeightzooError: halves that have nothing in common.
    """
    found = likeness_of_edges(maps.values())
    if found is None:
        return []
    if not found.is_related():
        if side_by_side:
            raise WeightzooError(
                f"{path} holds pictures whose left and right halves show different things, so they are no side-by-side "
                "pairs; put the sources into a folder source/ and the targets into target/, with equal names"
            )
        which = f"most of {plural(len(maps), 'pair')} have" if len(maps) > 1 else f"pair {next(iter(maps))} have"
        return [f"source and target of {which} nothing in common; {SAME_NAME}"]
    if found.own - found.chance < CLEARLY_RELATED:
        return []  # an edit that leaves few edges: no pair stands out
    apart = [name for name, (a, b) in maps.items() if a is not None and b is not None and likeness(a, b) < RELATED]
    if not apart:
        return []
    verb = "has" if len(apart) == 1 else "have"
    return [
        f"source and target of {len(apart)} of {plural(len(maps), 'pair')} {verb} nothing in common: "
        f"{some(apart)}; {SAME_NAME}"
    ]


def offset(source: Image.Image, target: Image.Image) -> tuple[int, int]:
    """Return by how many pixels (to the right, downwards) the target is shifted; (0, 0) where that is not certain.

    Tone and colour may differ. Drawings and other edits that replace the edges give no certain answer.

    Args:
        source: an RGB picture.
        target: one of the same size.
    """
    scale = min(1.0, OFFSET_SIDE / max(source.size))
    first, second = (_slopes(_reduced(image, OFFSET_SIDE)) for image in (source, target))
    reach = int(FURTHEST * min(first.shape))
    if reach < 1:
        return 0, 0
    norm = math.sqrt(_product(first, first) * _product(second, second))
    # at no shift is the correlation above the norm, so none can lead by enough
    if norm == 0 or norm - abs(_product(first, second)) < LEAD * norm:
        return 0, 0
    found = np.abs(_correlation(first, second, reach))
    down, right = np.unravel_index(int(found.argmax()), found.shape)
    peak, none, opposite = (
        int(found[place]) for place in ((down, right), (reach, reach), (2 * reach - down, 2 * reach - right))
    )
    # both sides of a drawn line match as well as each other; a shift does not
    if peak < CERTAIN * norm or peak - max(none, opposite) < LEAD * norm:
        return 0, 0
    return round((int(right) - reach) / scale), round((int(down) - reach) / scale)


def _reduced(image: Image.Image, side: int) -> Image.Image:
    scale = side / max(image.size)
    if scale >= 1:
        return image
    size = (max(3, round(image.width * scale)), max(3, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BOX)


def _slopes(image: Image.Image) -> np.ndarray:
    """Return the slope of the lightness at every inner pixel as a complex number of whole numbers, [H - 2, W - 2]."""
    values = np.asarray(image.convert("L"), np.float64)
    slopes = np.empty((values.shape[0] - 2, values.shape[1] - 2), np.complex128)
    np.subtract(values[1:-1, 2:], values[1:-1, :-2], out=slopes.real)
    np.subtract(values[2:, 1:-1], values[:-2, 1:-1], out=slopes.imag)
    return slopes


def _product(first: np.ndarray, second: np.ndarray) -> int:
    """Return the sum of products where neither is shifted; whole numbers this small are added up exactly."""
    return int(np.vdot(first, second).real)


def _correlation(first: np.ndarray, second: np.ndarray, reach: int) -> np.ndarray:
    """Return sums of products for every shift of up to `reach`, whole numbers [2 * reach + 1, 2 * reach + 1]."""
    shape = [-(-(side + reach) // 16) * 16 for side in first.shape]  # quick to transform, and without wrapping round
    transformed = np.conj(np.fft.fft2(first, shape)) * np.fft.fft2(second, shape)
    shifts = np.arange(-reach, reach + 1)
    sums = np.fft.ifft(np.fft.ifft(transformed, axis=0)[shifts], axis=1)[:, shifts].real
    return np.rint(sums).astype(np.int64)
