"""Comparisons over concepts: paired ratios with intervals, medians of censored values, pooled KID.

    ratio = paired_ratio(polished, {"copy": copy, "base": base})
    kid, interval = pooled_kid(features, target_features)

Everything is deterministic.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from zoo.pictures.metrics import kid, kid_interval

RESAMPLES = 2000


def mean_interval(values: Sequence[float], resamples: int = RESAMPLES) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the mean over concepts."""
    array = np.asarray(values, dtype=np.float64)
    return middle(array[draws(array.size, resamples)].mean(axis=1))


def draws(count: int, resamples: int) -> np.ndarray:
    """Return which of `count` concepts each bootstrap sample has, [resamples, count]; always the same."""
    return np.random.default_rng(0).integers(0, count, (resamples, count))


def middle(values: np.ndarray) -> tuple[float, float]:
    """Return the bounds of the middle 95 % of some values."""
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def l1_summary(values: Sequence[float], resamples: int = RESAMPLES) -> dict[str, Any]:
    """Return mean, deviation and interval over concepts as rows of `evaluation.json` have them."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"l1": float(np.mean(values)), "l1_sd": deviation, "l1_interval": list(mean_interval(values, resamples))}


@dataclass(frozen=True)
class PairedRatio:
    """Mean of one method over the mean of its best rival, the concepts resampled together.

    `rival` is the best one on the whole sample; each resample picks its own.
    """

    ratio: float
    low: float
    high: float
    rival: str
    n: int


def paired_ratio(values: Sequence[float], rivals: Mapping[str, Sequence[float]]) -> PairedRatio:
    """Return the ratio of mean(values) to the lowest mean among `rivals`, with its interval.

    Each list has one value per concept, in the same order.

    Raises:
        ValueError: the lists are empty or differ in length.
    """
    mine = np.asarray(values, dtype=np.float64)
    names = list(rivals)
    others = np.array([np.asarray(rivals[name], dtype=np.float64) for name in names])
    if mine.size == 0 or others.ndim != 2 or others.shape[1] != mine.size:
        raise ValueError("paired_ratio needs one value per concept for the method and for every rival")
    draw = draws(mine.size, RESAMPLES)
    low, high = middle(mine[draw].mean(axis=1) / others[:, draw].mean(axis=2).min(axis=0))
    means = others.mean(axis=1)
    ratio = float(mine.mean() / means.min())
    return PairedRatio(ratio, low, high, names[int(means.argmin())], int(mine.size))


def censored_quantile(values: Sequence[float], q: float) -> float:
    """Return a quantile of values of which some may be infinite (censored): linear between neighbours, never NaN.

    An infinite neighbour with weight makes the quantile infinite: a median needs more than half reached. It holds for
    either sign, so times (censored above) and their inverses (censored below) agree on it.
    """
    if not len(values):
        return math.nan
    low, high = (float(np.quantile(values, q, method=neighbour)) for neighbour in ("lower", "higher"))
    for bound in (low, high):
        if math.isinf(bound):
            return bound
    return low if low == high else float(np.quantile(values, q))


def pooled_kid(features: np.ndarray, targets: np.ndarray, resamples: int = 200) -> tuple[float, tuple[float, float]]:
    """Return the KID of all concepts' images pooled, with its bootstrap interval over concepts and photographs.

    The paired estimate: an image is not compared with its own target, so a perfect method has 0.

    Args:
        features, targets: [concepts, photographs, D], the same images in the same order.

    Returns:
        (kid, (low, high)); NaN where there are fewer than two images or a feature is not finite.
    """
    mine, truth = (torch.from_numpy(np.asarray(x, dtype=np.float32)) for x in (features, targets))
    if mine.shape[0] * mine.shape[1] < 2 or not bool(torch.isfinite(mine).all()):
        return math.nan, (math.nan, math.nan)
    value = kid(mine.flatten(0, 1), truth.flatten(0, 1), paired=True)
    return value, kid_interval(mine, truth, paired=True, resamples=resamples)
