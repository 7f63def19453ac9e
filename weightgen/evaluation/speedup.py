"""Time to quality: how much sooner a start reaches the quality that training from scratch ends with.

    entries = speedups(curves)          # curves: one Curve per concept, init, mode and number of pairs

Definitions (also printed in the report):
- The wanted quality is scratch's test L1 at `quality_at` % of its own budget, times `l1_factor`. Over
  `pix2pix_unet`, the classic U-Net from scratch (the paper's baseline), it is that network's own.
- A curve reaches it where its L1 first falls to it, linearly interpolated between evaluation points.
- The ratio over scratch (or over the U-Net) is its budget (its steps at `quality_at`) over the start's steps;
  `median_first_reach` uses the step where scratch itself first had that quality: stricter where it
  overshoots.
- The ratio over base is base's steps over the start's steps.
- A start that never reaches the quality is censored: its time is infinite, its ratio 0; it stays in the
  median, which is 0 unless more than half get there.
- Whoever is already there at step 0 is counted with the first evaluation point after 0, and a rival that never
  gets there with its whole budget. `lower_bounds` counts the ratios that this makes too small, `upper_bounds`
  those that it makes too large.
- `final_l1_ratio` is the final L1 over that of the network whose quality is wanted.
- Seconds are initialisation + steps x the seconds a step takes for one network alone on one thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any

import numpy as np

from weightgen.evaluation.intervals import censored_quantile, l1_summary, mean_interval

QUALITIES: tuple[tuple[int, float], ...] = ((25, 1.0), (50, 1.0), (100, 1.1), (100, 1.0), (100, 0.9))
GROUP = ("split", "mode", "pairs", "init")  # what curves are summarised by


@dataclass(frozen=True)
class Curve:
    """Test quality of one fine-tuning: values at `steps`, and what its seconds are made of."""

    concept: str
    init: str
    mode: str
    pairs: int
    steps: tuple[int, ...]
    l1: tuple[float, ...]
    init_seconds: float = 0.0
    step_seconds: float = 0.0
    split: str = "combination"

    def seconds(self, step: float) -> float:
        """Return the wall-clock seconds at `step`: initialisation and training, evaluation excluded."""
        return self.init_seconds + step * self.step_seconds

    @property
    def budget(self) -> int:
        return self.steps[-1]

    @property
    def final(self) -> float:
        return self.l1[-1]

    def at(self, step: float) -> float:
        """Return the L1 at `step`, linear between evaluation points and constant beyond them."""
        return float(np.interp(step, self.steps, self.l1))


Concepts = dict[str, Curve]  # the curves of one start by their concept


@dataclass(frozen=True)
class Reach:
    """Where a curve first has a quality: the step (infinite if never); `at_start` if it was there at 0."""

    step: float
    at_start: bool = False


def reach(steps: Sequence[int], l1: Sequence[float], threshold: float) -> Reach:
    """Return the first step at which `l1` is at most `threshold`; NaN never counts as reached."""
    if l1[0] <= threshold:
        return Reach(0.0, at_start=True)
    for i in range(1, len(steps)):
        if l1[i] <= threshold:
            before = l1[i - 1]
            share = (before - threshold) / (before - l1[i]) if np.isfinite(before) else 1.0
            return Reach(steps[i - 1] + share * (steps[i] - steps[i - 1]))
    return Reach(float("inf"))


def _spent(curve: Curve, found: Reach) -> tuple[float, float]:
    """Return (steps, seconds) that a quality costs; those of the first evaluation point if it was there at 0."""
    first = float(curve.steps[1]) if len(curve.steps) > 1 else 1.0
    step = first if found.at_start else found.step
    return step, curve.seconds(step) if np.isfinite(step) else float("inf")


def _ratio(rival: float, mine: float) -> float:
    """Return how many times sooner a start gets there than its rival; 0 when it never does."""
    return 0.0 if np.isinf(mine) else rival / mine


def _quantile(ratios: list[float], q: float) -> float:
    """Return a quantile of ratios; 0 is censored: nothing is halfway between never and 3 times sooner."""
    return max(0.0, censored_quantile([ratio or -np.inf for ratio in ratios], q))


def _summary(ratios: list[float]) -> dict[str, Any]:
    return {"median": _quantile(ratios, 0.5), "iqr": [_quantile(ratios, q) for q in (0.25, 0.75)]}


@dataclass(frozen=True)
class _Comparison:
    """One concept's start against its rival at one quality; ratios are 0 where the start never gets there."""

    by_steps: float
    by_seconds: float
    by_first_reach: float
    steps: float
    final: float
    is_lower_bound: bool
    is_upper_bound: bool


def _compare(curve: Curve, reference: Curve, rival: Curve, quality_at: int, l1_factor: float) -> _Comparison:
    budget = reference.budget * quality_at / 100
    threshold = reference.at(budget) * l1_factor
    found, theirs = (reach(one.steps, one.l1, threshold) for one in (curve, rival))
    never = bool(np.isinf(theirs.step))
    steps, seconds = _spent(curve, found)
    first_steps, rival_seconds = _spent(rival, Reach(rival.budget) if never else theirs)
    rival_steps = first_steps
    # over a reference the numerator is its budget, whenever it was there
    rival_at_start = theirs.at_start and rival is not reference
    if rival is reference:
        rival_steps, rival_seconds = budget, rival.seconds(budget)
    reached = bool(np.isfinite(found.step))
    return _Comparison(
        by_steps=_ratio(rival_steps, steps),
        by_seconds=_ratio(rival_seconds, seconds),
        by_first_reach=_ratio(first_steps, steps),
        steps=found.step,
        final=curve.final / reference.final,
        is_lower_bound=reached and (never or (found.at_start and not rival_at_start)),
        is_upper_bound=reached and rival_at_start and not found.at_start,
    )


def _entry(
    starts: list[Curve], references: Concepts, rivals: Concepts, quality_at: int, l1_factor: float
) -> dict[str, Any] | None:
    """Summarise the curves of one start against their rivals at one quality; None when no concept has all curves."""
    found = [
        _compare(curve, references[curve.concept], rivals[curve.concept], quality_at, l1_factor)
        for curve in starts
        if curve.concept in references and curve.concept in rivals
    ]
    if not found:
        return None
    seconds = _summary([one.by_seconds for one in found])
    steps, final_ratios = [one.steps for one in found], [one.final for one in found]
    reached = int(np.isfinite(steps).sum())
    return {
        "quality_at": quality_at,
        "l1_factor": l1_factor,
        **_summary([one.by_steps for one in found]),
        "median_seconds": seconds["median"],
        "iqr_seconds": seconds["iqr"],
        "median_first_reach": _quantile([one.by_first_reach for one in found], 0.5),
        "median_steps": censored_quantile(steps, 0.5),
        "reached": reached / len(found),
        "reached_count": reached,
        "lower_bounds": sum(one.is_lower_bound for one in found),
        "upper_bounds": sum(one.is_upper_bound for one in found),
        "n": len(found),
        "final_l1_ratio": float(np.mean(final_ratios)),
        "final_l1_ratio_interval": list(mean_interval(final_ratios)),
    }


def group(curves: Iterable[Curve]) -> dict[tuple[str, str, int, str], list[Curve]]:
    """Group curves by (split, mode, pairs, init), each list sorted by concept."""
    ordered = sorted(curves, key=attrgetter(*GROUP, "concept"))
    return {key: list(members) for key, members in groupby(ordered, attrgetter(*GROUP))}


def by_concept(groups: Mapping[Any, list[Curve]], *key: Any) -> Concepts:
    """Return the curves of one group by their concept; none where there is no such group."""
    return {curve.concept: curve for curve in groups.get(key, [])}


def speedups(curves: Iterable[Curve], qualities: Sequence[tuple[int, float]] = QUALITIES) -> list[dict[str, Any]]:
    """Return all rows of "speedup" in `evaluation.json`."""
    groups = group(curves)
    rows = []
    for (split, mode, pairs, init), starts in groups.items():
        if init == "scratch" or not starts[0].budget:  # without a step there is nothing to be sooner with
            continue
        scratch = by_concept(groups, split, "full", pairs, "scratch")
        unet = by_concept(groups, split, "full", pairs, "pix2pix_unet")
        compared = {
            "scratch": (scratch, scratch),
            "base": (scratch, by_concept(groups, split, mode, pairs, "base")),
            "pix2pix_unet": (unet, unet),
        }
        compared.pop(init, None)
        for over, (references, rivals) in compared.items():
            for quality_at, l1_factor in qualities:
                row = _entry(starts, references, rivals, quality_at, l1_factor)
                if row is not None:
                    head = {"init": init, "over": over, "mode": mode, "pairs": pairs, "split": split}
                    rows.append(head | row)
    return rows


def finals(curves: Iterable[Curve]) -> list[dict[str, Any]]:
    """Return the mean final L1 per (split, mode, pairs, init), with an interval and the ratio to scratch's."""
    groups = group(curves)
    rows = []
    for key, starts in groups.items():
        split, _, pairs, _ = key
        scratch = by_concept(groups, split, "full", pairs, "scratch")
        l1 = [c.final for c in starts]
        ratios = [c.final / scratch[c.concept].final for c in starts if c.concept in scratch]
        rows.append(
            {
                **dict(zip(GROUP, key, strict=True)),
                "steps": starts[0].budget,
                "seconds": float(np.mean([c.seconds(c.budget) for c in starts])),
                "init_seconds": float(np.mean([c.init_seconds for c in starts])),
                "step_seconds": float(np.mean([c.step_seconds for c in starts])),
                **l1_summary(l1),
                "l1_over_scratch": float(np.mean(ratios)) if ratios else None,
                "n": len(l1),
            }
        )
    return rows


def mean_curves(curves: Iterable[Curve]) -> list[dict[str, Any]]:
    """Return the mean curve per (split, mode, pairs, init): all curves of a group share their evaluation steps.

    What has no steps, a closed form, has no curve.
    """
    rows = []
    for key, members in group(curve for curve in curves if curve.budget).items():
        steps = list(members[0].steps)
        l1 = np.array([[c.at(step) for step in steps] for c in members])
        rows.append(
            {
                **dict(zip(GROUP, key, strict=True)),
                "steps": steps,
                "seconds": [float(np.mean([c.seconds(step) for c in members])) for step in steps],
                "l1": l1.mean(axis=0).tolist(),
                "l1_sd": l1.std(axis=0, ddof=1 if len(members) > 1 else 0).tolist(),
                "n": len(members),
            }
        )
    return rows
