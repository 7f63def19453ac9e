"""Zero steps: how good the weights of each method are before any training, on held-out concepts.

One cell is one (split, method, number of prompts): L1, PSNR and SSIM per concept, and the KID of all its images
pooled.

    cell = evaluate_networks(ZeroStepTask("combination", "polished", 1), ids, near_duplicates, outputs, ...)

Cells are plain JSON; `summarise` turns them into the rows of `evaluation.json`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from weightgen.evaluation.grid import Grid
from weightgen.evaluation.held_out_pairs import HeldOut, stable_order
from weightgen.evaluation.intervals import mean_interval, pooled_kid
from weightgen.finetuning.starts import seeded
from zoo.features import load_features
from zoo.lora import plain_config
from zoo.metrics import l1, psnr, ssim


@dataclass(frozen=True)
class ZeroStepTask:
    """What is measured in one cell: which split, by which method, prompted with how many paraphrases."""

    split: str
    init: str
    prompts: int

    @property
    def name(self) -> str:
        return f"zero-{self.split}-{self.init}-{self.prompts}"


def scratch_networks(generator: nn.Module, ids: Sequence[str], seed: int = 0) -> list[nn.Module]:
    """Return networks of the same architecture from random initialisation, one per concept, seeded by its id."""
    config = plain_config(generator.config)
    return [seeded(config.build, seed + int(stable_order(name)[:8], 16)) for name in ids]


def quality(output: Tensor, targets: Tensor) -> tuple[list[float], list[float]]:
    """Return mean L1 and PSNR of each network over its images; both [K, N, 3, H, W]."""
    pairs = list(zip(output, targets, strict=True))
    return [float(l1(a, b).mean()) for a, b in pairs], [float(psnr(a, b).mean()) for a, b in pairs]


@torch.no_grad()
def features(network: str, images: Tensor) -> np.ndarray:
    """Return perceptual features of images [K, N, 3, H, W] as float16 [K, N, D]."""
    flat = load_features(network)(images.flatten(0, 1))
    return flat.unflatten(0, images.shape[:2]).half().numpy()


def evaluate_networks(
    task: ZeroStepTask,
    ids: Sequence[str],
    near_duplicates: frozenset[str],
    outputs: Callable[[Sequence[str], Tensor], Tensor],
    held_out: HeldOut,
    grid: Grid,
    size: int,
    feature_name: str,
    chunk: int = 8,
) -> dict[str, Any]:
    """Run a method on the test images of concepts and measure it.

    Args:
        outputs: (concept ids, sources [K, N, 3, S, S]) -> edited images [K, N, 3, S, S] in [0, 1].
        near_duplicates: concepts that KID leaves out (their L1 is reported apart).
    """
    count = held_out.smallest(ids, "test", grid.test_images)
    l1s: list[float] = []
    psnrs: list[float] = []
    ssims: list[float] = []
    mine, truth = [], []
    for start in range(0, len(ids), chunk):
        part = list(ids[start : start + chunk])
        sources, targets = held_out.stacked(part, "test", size, count)
        edited = outputs(part, sources)
        l1_part, psnr_part = quality(edited, targets)
        l1s += l1_part
        psnrs += psnr_part
        ssims += [float(ssim(a, b).mean()) for a, b in zip(edited, targets, strict=True)]
        mine.append(features(feature_name, edited[:, : grid.kid_images]))
        truth.append(target_features(feature_name, held_out, tuple(part), size, count, grid.kid_images))
    kept = [i for i, concept_id in enumerate(ids) if concept_id not in near_duplicates]
    kid, interval = pooled_kid(
        np.concatenate(mine)[kept], np.concatenate(truth)[kept], resamples=max(50, grid.resamples // 10)
    )
    return {
        "split": task.split,
        "init": task.init,
        "prompts": task.prompts,
        "concepts": list(ids),
        "l1": l1s,
        "psnr": psnrs,
        "ssim": ssims,
        "kid": kid,
        "kid_interval": list(interval),
        "feature_network": feature_name,
        "images": count,
        "kid_images": min(count, grid.kid_images),
    }


@lru_cache(maxsize=64)
def target_features(
    name: str, held_out: HeldOut, ids: tuple[str, ...], size: int, images: int, count: int
) -> np.ndarray:
    """Return the features of the targets of some concepts, which are the same for every method."""
    return features(name, held_out.stacked(ids, "test", size, images)[1][:, :count])


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
            l1_values, *others = (np.array(cell[key], dtype=float)[index] for key in ("l1", "psnr", "ssim"))
            row = {
                "split": cell["split"],
                "init": cell["init"],
                "prompts": cell["prompts"],
                "n": len(index),
                "l1": float(np.mean(l1_values)),
                "l1_sd": float(np.std(l1_values, ddof=1)) if len(index) > 1 else 0.0,
                "l1_interval": list(mean_interval(l1_values, resamples)),
                **{key: float(np.mean(values)) for key, values in zip(("psnr", "ssim"), others, strict=True)},
            }
            if not keep:
                row |= {key: cell[key] for key in ("kid", "kid_interval", "feature_network", "kid_images")}
            chosen.append(row)
    return rows, apart
