"""Zero steps: how good the weights of each method are before any training, on held-out concepts.

One cell is one (split, method, number of prompts): L1, PSNR and SSIM per concept, and the KID of all its images
pooled.

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
from weightgen.evaluation.intervals import l1_summary, pooled_kid
from weightgen.finetuning.measure import render
from weightgen.finetuning.starts import RANDOM, random_start
from zoo.pictures.features import load_features
from zoo.pictures.metrics import l1, psnr, ssim

CHUNK = 8  # concepts that are edited at once
FIGURES = {"l1": l1, "psnr": psnr, "ssim": ssim}  # means over the images of a concept


@dataclass(frozen=True)
class ZeroStepCell:
    """One method on concepts of one split, prompted with so many paraphrases, of the evaluation in `out_dir`."""

    out_dir: str
    split: str
    init: str
    prompts: int
    concepts: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"zero-{self.split}-{self.init}-{self.prompts}"

    @property
    def path(self) -> Path:
        return Path(self.out_dir) / "cells" / f"{self.name}.json"

    @property
    def paths(self) -> tuple[Path, ...]:
        return (self.path,)


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
    return render(context.origins.base, context.start(cell.init, ids, cell.prompts), sources)


def zero_step(context: EvaluationContext, cell: ZeroStepCell) -> dict[str, Any]:
    """Measure the quality of a method without training on the test images of a cell's concepts.

    KID leaves near-duplicates out; their L1 is reported apart.
    """
    grid, ids = context.config.grid, cell.concepts
    count = context.held_out.smallest(ids, "test", grid.test_images)
    figures: dict[str, list[float]] = {name: [] for name in FIGURES}
    mine, truth = [], []
    for start in range(0, len(ids), CHUNK):
        part = ids[start : start + CHUNK]
        sources, targets = context.held_out.stacked(part, "test", context.size, count)
        edited = edit(context, cell, part, sources)
        for name, figure in FIGURES.items():
            figures[name] += [float(figure(a, b).mean()) for a, b in zip(edited, targets, strict=True)]
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
        "concepts": list(ids),
        **figures,
        "kid": kid,
        "kid_interval": list(interval),
        "feature_network": context.feature_network,
        "images": count,
        "kid_images": min(count, grid.kid_images),
    }


@lru_cache(maxsize=64)
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
            l1_values, *others = (np.array(cell[key], dtype=float)[index] for key in FIGURES)
            row = {
                "split": cell["split"],
                "init": cell["init"],
                "prompts": cell["prompts"],
                "n": len(index),
                **l1_summary(l1_values, resamples),
                **{key: float(np.mean(values)) for key, values in zip(("psnr", "ssim"), others, strict=True)},
            }
            if not keep:
                row |= {key: cell[key] for key in ("kid", "kid_interval", "feature_network", "kid_images")}
            chosen.append(row)
    return rows, apart
