"""Zero steps: how good the weights of each method are before any training, on held-out concepts.

One cell is one (split, method, number of prompts or of example pairs): the figures of `zoo.pictures.metrics` per
concept, and the KID of all its images pooled.

    cell = zero_step(context, ZeroStepCell(out_dir, "combination", "polished", 1, ids))

What is measured of a cell is plain JSON; `summarise` turns them into the rows of `evaluation.json`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from weightgen.evaluation.context import EvaluationContext
from weightgen.evaluation.grid import PAIR_METHODS
from weightgen.evaluation.intervals import l1_summary, pooled_kid
from weightgen.evaluation.pair_methods import network_of_pairs
from weightgen.finetuning.measure import render
from weightgen.finetuning.starts import RANDOM, random_start
from zoo.pictures.features import load_features
from zoo.pictures.metrics import FIGURES, figures
from zoo.words import plural

# of the test images that are edited at once: eight concepts of eight images of 256 x 256 pixels, whose features, where
# the concepts share their images, are computed once
PIXELS = 1 << 22


@dataclass(frozen=True)
class ZeroStepCell:
    """One method on concepts of one split, prompted with so many paraphrases, of the evaluation in `out_dir`.

    Args:
        pairs: training pairs of each concept, which closed forms are solved on; 0: the method reads none.
    """

    out_dir: str
    split: str
    init: str
    prompts: int
    concepts: tuple[str, ...]
    pairs: int = 0

    @property
    def name(self) -> str:
        pairs = f"-on-{self.pairs}" if self.pairs else ""
        return f"zero-{self.split}-{self.init}-{self.prompts}{pairs}"

    @property
    def path(self) -> Path:
        return Path(self.out_dir) / "cells" / f"{self.name}.json"

    @property
    def paths(self) -> tuple[Path, ...]:
        return (self.path,)


def method_name(init: str, pairs: int) -> str:
    """Return what a method is called in tables; one that reads pairs, with their number."""
    return f"{init}, {plural(pairs, 'pair')}" if pairs else init


@torch.no_grad()
def features(network: str, images: Tensor) -> np.ndarray:
    """Return perceptual features of images [K, N, 3, H, W] as float16 [K, N, D]."""
    flat = load_features(network)(images.flatten(0, 1))
    return flat.unflatten(0, images.shape[:2]).half().numpy()


def edit(context: EvaluationContext, cell: ZeroStepCell, ids: Sequence[str], sources: Tensor) -> Tensor:
    """Return what a method makes of pictures [K, N, 3, S, S] of K concepts before any training."""
    if cell.init == "copy":
        return sources
    if cell.init in RANDOM:
        start = random_start(cell.init, len(ids), context.origins)
        return render(start.generator, start.params, sources)
    if cell.init in PAIR_METHODS:
        return solved_edit(context, cell.init, ids, cell.pairs, sources)
    return render(context.origins.base, context.start(cell.init, ids, cell.prompts), sources)


def solved_edit(context: EvaluationContext, init: str, ids: Sequence[str], pairs: int, sources: Tensor) -> Tensor:
    """Return what closed forms on so many training pairs of each concept make of pictures [K, N, 3, S, S]."""
    edited = []
    for concept_id, pictures in zip(ids, sources, strict=True):
        (befores,), (afters,) = context.held_out.stacked((concept_id,), "train", context.size, pairs)
        generator = network_of_pairs(context, init, concept_id, list(zip(befores, afters, strict=True)))
        edited.append(edit_all(generator, pictures))
    return torch.stack(edited)


@torch.no_grad()
def edit_all(generator: torch.nn.Module, pictures: Tensor) -> Tensor:
    """Return pictures [N, 3, S, S] edited one after another, clamped to [0, 1]."""
    return torch.cat([generator(one).clamp(0, 1) for one in pictures.split(1)])


def concepts_at_once(images: int, size: int) -> int:
    """Return how many concepts are edited at once, so that memory is bounded whatever the images' size."""
    return max(1, PIXELS // (images * size * size))


def zero_step(context: EvaluationContext, cell: ZeroStepCell) -> dict[str, Any]:
    """Measure the quality of a method without training on the test images of a cell's concepts.

    KID leaves near-duplicates out; their L1 is reported apart.
    """
    grid, ids = context.config.grid, cell.concepts
    count = context.held_out.smallest(ids, "test", grid.test_images)
    measured: dict[str, list[float]] = {name: [] for name in FIGURES}
    mine, truth = [], []
    chunk = concepts_at_once(count, context.size)
    for start in range(0, len(ids), chunk):
        part = ids[start : start + chunk]
        sources, targets = context.held_out.stacked(part, "test", context.size, count)
        edited = edit(context, cell, part, sources)
        for a, b in zip(edited, targets, strict=True):
            for name, values in figures(a, b).items():
                measured[name].append(float(values.mean()))
        mine.append(features(context.feature_network, edited[:, : grid.kid_images]))
        truth.append(target_features(context, part, count, grid.kid_images))
    kept = [i for i, concept_id in enumerate(ids) if concept_id not in context.near_duplicates]
    kid, interval = pooled_kid(
        np.concatenate(mine)[kept], np.concatenate(truth)[kept], resamples=max(50, grid.resamples // 10)
    )
    return {
        "split": cell.split,
        "init": cell.init,
        "prompts": cell.prompts,
        "pairs": cell.pairs,
        "concepts": list(ids),
        **measured,
        "kid": kid,
        "kid_interval": list(interval),
        "feature_network": context.feature_network,
        "images": count,
        "kid_images": min(count, grid.kid_images),
    }


@lru_cache(maxsize=512)
def target_features(context: EvaluationContext, ids: tuple[str, ...], images: int, count: int) -> np.ndarray:
    """Return the features of the first `count` of `images` targets of concepts, the same for every method."""
    targets = context.held_out.stacked(ids, "test", context.size, images)[1]
    return features(context.feature_network, targets[:, :count])


def summarise(
    cells: Iterable[Mapping[str, Any]], near_duplicates: frozenset[str], resamples: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rows of "zero_step" without the near-duplicates, and rows of those alone (without KID)."""
    rows: list[dict[str, Any]] = []
    apart: list[dict[str, Any]] = []
    for cell in cells:
        for chosen, keep in ((rows, False), (apart, True)):
            index = [i for i, name in enumerate(cell["concepts"]) if (name in near_duplicates) == keep]
            if not index:
                continue
            # null, a picture that was not finite, makes the mean null too
            values = {key: np.array(cell[key], dtype=float)[index] for key in FIGURES}
            row = {
                "split": cell["split"],
                "init": cell["init"],
                "prompts": cell["prompts"],
                "pairs": cell["pairs"],
                "n": len(index),
                **l1_summary(values["l1"], resamples),
                **middle_figures(values),
            }
            if not keep:
                row |= {key: cell[key] for key in ("kid", "kid_interval", "feature_network", "kid_images")}
            chosen.append(row)
    return rows, apart


def middle_figures(values: Mapping[str, Sequence[float] | np.ndarray]) -> dict[str, float]:
    """Return the means over concepts of all figures but L1.

    The energy of the fine band is a ratio that is large where a target has none, a blur for example: its median.
    """
    means = {name: float(np.mean(values[name])) for name in FIGURES if name not in ("l1", "fine_energy")}
    return means | {"fine_energy": float(np.median(values["fine_energy"]))}
