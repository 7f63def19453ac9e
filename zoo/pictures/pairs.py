"""Source/target pairs from disk: read, checked, aligned, split and written.

`zoo.pictures.pair_layouts` finds out how the pairs are laid out. Images come as sRGB, turned upright by their EXIF
entry, with what is transparent on white. Sizes may differ between pairs; within one by `MOST_TRIMMED` pixels, which
are cut off. `zoo.pictures.pair_squares` cuts squares to train on.

    read = read_pair_set("my-pairs")         # .pairs, .taken_as, .notes: what the user should know
    train, test = split_pairs([name for name, _, _ in read.pairs])
"""

import hashlib
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image
from torch import Tensor

from zoo.errors import WeightzooError
from zoo.files import PathLike
from zoo.pictures.pair_checks import EdgeMaps, edges, offset, unrelated_pairs
from zoo.pictures.pair_layouts import DIRECTIONS, FoundPairs, PairFiles, find_pairs
from zoo.pictures.photo_file import PILLOW_ERRORS, load_photo, reason_of
from zoo.pictures.picture_files import some
from zoo.words import plural

MOST_TRIMMED = 2  # pixels by which the pictures of a pair may differ in width and in height
TRIMMED = "the pictures differ by a pixel or two in size; what one lacks was cut off the other"
SHIFTED = "the target is shifted against the source by up to {most}; both were cut to what they share"
Pair = tuple[str, Image.Image, Image.Image]
Note = tuple[str, str, int]  # what is to be said, of which pair or file, and the number that {most} stands for
Checked = tuple[Pair, list[Note], EdgeMaps]
READERS = min(4, os.cpu_count() or 1)  # threads that read pairs; each holds a pair of any size
AHEAD = 16  # pairs that are read before the first of them is used


@dataclass(frozen=True)
class PairSet:
    """Pairs, and what the user should know about how they were read.

    Attributes:
        pairs: sorted by name.
        taken_as: one line: how many there are, and what was taken for the source.
        notes: one line for each thing that was left out, guessed, aligned or looks wrong.
    """

    pairs: list[Pair]
    taken_as: str
    notes: list[str]


def read_pairs(path: PathLike, minimum: int = 2, max_short_side: int | None = None) -> list[Pair]:
    """Read the pairs of :func:`read_pair_set` without what there is to know about them."""
    return read_pair_set(path, minimum, max_short_side).pairs


def read_pair_set(
    path: PathLike, minimum: int = 2, max_short_side: int | None = None, direction: str = DIRECTIONS[0]
) -> PairSet:
    """Read, check and align all pairs under `path`.

    Args:
        path: folder or `.tar` file, see `zoo.pictures.pair_layouts`.
        minimum: how many pairs there must be.
        max_short_side: larger images are scaled down to this short side (pixels), to save memory.
        direction: one of `zoo.pictures.pair_layouts.DIRECTIONS`.

    Returns:
        `(name, source, target)` for every pair: RGB images of one size.

    Raises:
        WeightzooError: naming the pair or file that is wrong, and what to do; side-by-side pictures whose halves show
            different things are refused as well.
    """
    found = find_pairs(Path(path), direction)
    if len(found.files) < minimum:
        needed = f"at least {minimum} are needed; add pairs"
        raise WeightzooError(f"{path} holds {plural(len(found.files), 'pair')}, {needed}")
    pairs: list[Pair] = []
    notes = pair_notes(path, found, max_short_side, pairs.append)
    return PairSet(pairs, found.taken_as, [*found.left_out, *notes])


def pair_notes(
    path: PathLike,
    found: FoundPairs,
    max_short_side: int | None = None,
    keep: Callable[[Pair], None] = lambda pair: None,
) -> list[str]:
    """Read, check and align all pairs.

    Args:
        path: where they were found, for the errors.
        max_short_side: see :func:`read_pair_set`.
        keep: called with each pair, in their order; what it does not keep does not stay in memory.

    Returns:
        one line for each thing that was guessed, aligned or looks wrong.

    Raises:
        WeightzooError: see :func:`read_pair_set`.
    """
    notes: list[Note] = []
    maps: dict[str, EdgeMaps] = {}
    for pair, said, edge_maps in _in_threads(partial(_checked, max_short_side=max_short_side), found.files):
        keep(pair)
        notes += said
        maps[pair[0]] = edge_maps
    halves = any(files.target is None for files in found.files)
    return [*_by_text(notes), *unrelated_pairs(path, maps, halves)]


def _in_threads(work: Callable[[PairFiles], Checked], files: Sequence[PairFiles]) -> Iterator[Checked]:
    """Return what `work` makes of each pair's files, in their order; few are in memory at once."""
    # each reader sets what it warns of for the whole process; what it leaves behind ends here
    with warnings.catch_warnings(), ThreadPoolExecutor(READERS) as pool:
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        for first in range(0, len(files), AHEAD):
            yield from pool.map(work, files[first : first + AHEAD])


def _checked(files: PairFiles, max_short_side: int | None) -> Checked:
    pair, notes = _decode(files, max_short_side, align=True)
    return pair, notes, (edges(pair[1]), edges(pair[2]))


def decode_pair(pair: PairFiles, max_short_side: int | None = None, align: bool = False) -> Pair:
    """Read the images of one pair.

    Args:
        max_short_side: see :func:`read_pair_set`.
        align: cut both to what they share where the target is shifted, as :func:`read_pair_set` does.

    Raises:
        WeightzooError: one is not readable, or they differ in size.
    """
    return _decode(pair, max_short_side, align)[0]


def _decode(pair: PairFiles, max_short_side: int | None, align: bool) -> tuple[Pair, list[Note]]:
    source, notes = _open_image(*pair.source)
    if pair.target is None:
        source, target = _halves(pair, source)
    else:
        target, more = _open_image(*pair.target)
        notes += more
    if source.size != target.size:
        source, target = _trimmed(pair.name, source, target)
        notes.append((TRIMMED, pair.name, 0))
    if max_short_side and min(source.size) > max_short_side:
        scale = max_short_side / min(source.size)
        size = (round(source.width * scale), round(source.height * scale))
        source, target = (image.resize(size, Image.Resampling.LANCZOS) for image in (source, target))
    right, down = offset(source, target) if align else (0, 0)
    if right or down:
        source, target = _aligned(source, target, right, down)
        notes.append((SHIFTED, pair.name, max(abs(right), abs(down))))
    return (pair.name, source, target), notes


def _halves(pair: PairFiles, sheet: Image.Image) -> tuple[Image.Image, Image.Image]:
    if sheet.width % 2:
        raise WeightzooError(
            f"{pair.source[0]} is {sheet.width} pixels wide; a side-by-side image has an even width "
            "(source on the left, target on the right)"
        )
    middle = sheet.width // 2
    left = sheet.crop((0, 0, middle, sheet.height))
    right = sheet.crop((middle, 0, sheet.width, sheet.height))
    return (right, left) if pair.reverse else (left, right)


def _trimmed(name: str, source: Image.Image, target: Image.Image) -> tuple[Image.Image, Image.Image]:
    """Return both pictures at the smaller width and height.

    Raises:
        WeightzooError: they differ by more than `MOST_TRIMMED`.
    """
    width, height = min(source.width, target.width), min(source.height, target.height)
    if max(abs(source.width - target.width), abs(source.height - target.height)) > MOST_TRIMMED:
        own, other = (f"{image.width}x{image.height}" for image in (source, target))
        raise WeightzooError(f"pair {name}: the source is {own} pixels, the target {other}; both must have one size")
    return source.crop((0, 0, width, height)), target.crop((0, 0, width, height))


def _aligned(source: Image.Image, target: Image.Image, right: int, down: int) -> tuple[Image.Image, Image.Image]:
    """Return the part that both pictures show, when the target is shifted by so many pixels."""
    width, height = source.width - abs(right), source.height - abs(down)
    corners = (max(0, -right), max(0, -down)), (max(0, right), max(0, down))
    source, target = (
        image.crop((left, top, left + width, top + height))
        for image, (left, top) in zip((source, target), corners, strict=True)
    )
    return source, target


def _by_text(notes: Sequence[Note]) -> list[str]:
    """Return one line for everything that is to be said, with the pairs or files that it is said of."""
    told: dict[str, list[Note]] = {}
    for note in notes:
        told.setdefault(note[0], []).append(note)
    return [
        f"{text.format(most=plural(max(number for *_, number in of), 'pixel'))}: {some([name for _, name, _ in of])}"
        for text, of in told.items()
    ]


def _open_image(label: str, data: Path | bytes) -> tuple[Image.Image, list[Note]]:
    try:
        photo = load_photo(data, label)
    except (*PILLOW_ERRORS, Image.DecompressionBombError) as error:
        raise WeightzooError(f"cannot read the image {label} ({reason_of(error)}); replace or remove it") from None
    return photo.on_white(), [(note, label, 0) for note in photo.notes]


def split_pairs(names: Sequence[str], fraction: float = 0.2) -> tuple[list[str], list[str]]:
    """Split pair names into train and test, `fraction` of them test: the first by sha256 of the name.

    The order of `names` does not matter; both lists are sorted. At least one name is on each side.
    """
    if len(names) < 2:
        raise WeightzooError(f"{plural(len(names), 'pair')} cannot be split; give at least 2, one to test on")
    if len(set(names)) < len(names):
        raise WeightzooError("two pairs have the same name; rename one")
    ranked = sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    count = min(max(1, round(len(names) * fraction)), len(names) - 1)
    return sorted(ranked[count:]), sorted(ranked[:count])


def write_pairs(path: PathLike, names: Sequence[str], sources: Tensor, targets: Tensor) -> None:
    """Write pairs as `path/source/NAME.png` and `path/target/NAME.png`.

    The folder appears complete or not at all.

    Args:
        path: a folder that is absent or empty.
        names: one plain name per pair.
        sources: `[N, 3, H, W]` in [0, 1]; values outside are clamped.
        targets: the same shape.
    """
    path = Path(path)
    if not len(names) == len(set(names)) == len(sources) == len(targets):
        raise WeightzooError(f"{len(names)} names for {len(sources)} sources, {len(targets)} targets; match them")
    if bad := [name for name in names if not name or name.startswith(".") or set(name) & set("/\\")]:
        raise WeightzooError(f"{bad[0]!r} cannot be a file name; give pairs plain names")
    if path.exists() and any(path.iterdir()):
        raise WeightzooError(f"{path} is not empty; choose another folder or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        for half, images in (("source", sources), ("target", targets)):
            (temporary / half).mkdir(parents=True)
            arrays = (images.detach().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
            for name, array in zip(names, arrays, strict=True):
                # a quarter of the time of Pillow's own level, for 7 % more bytes
                Image.fromarray(array).save(temporary / half / f"{name}.png", compress_level=1)
        os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror or error
        raise WeightzooError(f"cannot write {path}: {reason}; free some space or choose another folder") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
