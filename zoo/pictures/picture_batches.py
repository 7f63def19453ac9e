"""Batches of pictures, as the pipeline renders them and a weight generator is polished on them.

    batch = PictureBatch(["a charcoal drawing"], sources, targets)
    loss = picture_loss(images, batch.targets)

This is a contract between two packages that do not know each other: whoever trains takes `Batches`, whoever renders
gives them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor

from zoo.errors import WeightzooError
from zoo.words import plural


@dataclass(frozen=True)
class PictureBatch:
    """P concepts with n photographs each.

    Attributes:
        prompts: one wording of each concept, P texts.
        sources: [P, n, 3, S, S], or [n, 3, S, S] shared by all concepts; RGB in [0, 1].
        targets: the teacher's edits, [P, n, 3, S, S].
    """

    prompts: list[str]
    sources: Tensor
    targets: Tensor


# An iterable, or a function from a step to an iterable that begins with that step's batch.
Batches = Iterable[PictureBatch] | Callable[[int], Iterable[PictureBatch]]


def picture_loss(images: Tensor, targets: Tensor) -> Tensor:
    """Return the mean L1 of [P, n, 3, S, S]."""
    return (images - targets).abs().mean()


def check_batch(batch: PictureBatch) -> None:
    """Raise `WeightzooError` when prompts, sources and targets do not belong together."""
    count, targets, sources = len(batch.prompts), batch.targets.shape, batch.sources.shape
    if len(targets) != 5 or targets[0] != count or tuple(targets)[5 - len(sources) :] != tuple(sources):
        raise WeightzooError(
            f"a batch of {plural(count, 'prompt')} has sources {list(sources)} and targets {list(targets)}; "
            "give [prompts, crops, 3, S, S] each"
        )


def batches_from(batches: Batches, step: int) -> Iterator[PictureBatch]:
    """Return the batches from number `step` on."""
    if callable(batches):
        return iter(batches(step))
    return itertools.islice(batches, step, None)
