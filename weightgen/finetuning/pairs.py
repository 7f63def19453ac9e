"""A user's pairs as a fine-tuning takes them: read, divided into training and test pairs, cut into squares.

loaded = load_pairs("my-pairs", test_pairs=None)
tensors = pair_tensors(loaded, size=64, crops=None, seed=0)
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from weightgen.finetuning.measure import PairTensors
from zoo.pictures.pair_layouts import DIRECTIONS
from zoo.pictures.pair_squares import pairs_to_tensors
from zoo.pictures.pairs import Pair, read_pair_set, split_pairs

MAX_CROPS = 16
CROPS_TO_HAVE, SMALL_SIDE = 256, 64  # squares up to this side (pixels); of larger ones fewer, as each shows more


@dataclass(frozen=True)
class LoadedPairs:
    """A user's pairs.

    Attributes:
        train, test: the pairs to train on and to measure on.
        held_out: names of those that were held out of the training folder.
        read_as: for each folder a line that says what was taken for the source.
        notes: a line for everything that was left out, guessed, aligned or looks wrong.
    """

    train: list[Pair]
    test: list[Pair]
    held_out: list[str]
    read_as: list[str]
    notes: list[str]


def load_pairs(
    pairs: str | Path, test_pairs: str | Path | None, direction: str = DIRECTIONS[0], fraction: float = 0.2
) -> LoadedPairs:
    """Read the pairs to train on and those to measure on; without a folder for these some are held out."""
    read = read_pair_set(pairs, minimum=1, max_short_side=1024, direction=direction)
    everything, read_as = read.pairs, [f"{pairs}: {read.taken_as}"]
    notes = [f"{pairs}: {line}" for line in read.notes]
    if test_pairs is not None:
        test = read_pair_set(test_pairs, minimum=1, max_short_side=1024, direction=direction)
        notes += [f"{test_pairs}: {line}" for line in test.notes]
        return LoadedPairs(everything, test.pairs, [], [*read_as, f"{test_pairs}: {test.taken_as}"], notes)
    if len(everything) == 1:
        notes.append(f"{pairs}: the only pair is measured on as well; its error says nothing of other photographs")
        return LoadedPairs(everything, everything, [], read_as, notes)
    _, held_out = split_pairs([name for name, _, _ in everything], fraction)
    chosen = set(held_out)
    train, test_part = ([pair for pair in everything if (pair[0] in chosen) == held] for held in (False, True))
    return LoadedPairs(train, test_part, held_out, read_as, notes)


def default_crops(pairs: Sequence[Pair], size: int) -> int:
    """Return one square per pair when most of them are about the training size already, else enough to make many."""
    sides = sorted(min(source.size) for _, source, _ in pairs)
    if sides[len(sides) // 2] <= 1.5 * size:
        return 1
    return max(1, min(MAX_CROPS, CROPS_TO_HAVE * SMALL_SIDE // max(size, SMALL_SIDE) // len(pairs)))


def pair_tensors(loaded: LoadedPairs, size: int, crops: int | None, seed: int) -> PairTensors:
    """Return the pairs of one concept as squares of `size` pixels.

    Args:
        crops: training squares per pair; None takes `default_crops`. Test pairs give their centre.
        seed: of the training squares.
    """
    count = crops or default_crops(loaded.train, size)
    parts = (*pairs_to_tensors(loaded.train, size, count, seed), *pairs_to_tensors(loaded.test, size))
    return PairTensors(*(part[None] for part in parts))


def fingerprint(tensors: PairTensors) -> str:
    """Return the sha256 of all pairs, as they are trained on and measured on."""
    digest = hashlib.sha256()
    for each in fields(tensors):
        value = getattr(tensors, each.name).cpu().contiguous()
        digest.update(f"{each.name} {tuple(value.shape)}".encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()
