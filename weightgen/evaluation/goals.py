"""What the evaluation set out to show, each claim with its figure and whether it holds.

    rows = goals(zero, kids, speedup_rows, curves)    # [{"claim", "value", "wanted", "holds", "n", ...}]

A claim that the grid at hand says nothing about has no row. The report prints every row.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from weightgen.evaluation.grid import READ, TEST_SPLITS
from weightgen.evaluation.intervals import mean_interval, paired_ratio
from weightgen.evaluation.speedup import Curve
from weightgen.evaluation.zero_step import method_name
from weightgen.finetuning.closed_forms import PLAIN
from zoo.words import plural

Zero = Mapping[tuple[str, str], Mapping[str, float]]  # (split, method) -> {concept: L1}, one prompt
Row = dict[str, Any]
EXTERNAL_RIVALS = ("copy", "base", "nearest", "kernel_ridge")
TEXT_RIVALS = ("nearest", "ridge", "kernel_ridge")
# (over, floor, goal) of the ratios with 16 pairs at 100 % of scratch's budget
FLOORS = (("scratch", 10.0, 20.0), ("base", 2.0, 4.0))
FINAL_FLOOR, FINAL_GOAL = 0.9, 0.8
SHARES = (0.25, 0.5, 1.0)  # of base's seconds
# of the L1 of the solved start over that of the closed form without a network, by the number of pairs
SOLVED_GOALS = {1: 0.6, 4: 0.7, 16: 0.8}
# of what is generated from pairs and words: over the best closed form, and over the one with the learned prior
READ_GOALS = {1: (0.5, 0.75), 4: (0.6, 0.85), 16: (0.7, 0.95)}
LEAST_L1 = 0.004  # one grey level; what is lower counts as that in the ratios of closed forms
SPREADS = ("iqr", "reached", "median_seconds", "median_first_reach", "lower_bounds", "upper_bounds")


def goals(
    zero: Zero, kids: Mapping[tuple[str, str], float], speedup: Sequence[Row], curves: Iterable[Curve]
) -> list[Row]:
    """Return all claims of the evaluation, in the order of the report."""
    rows: list[Row | None] = []
    for split in ("combination", "value"):
        rows.append(_ratio(zero, split, "generated", TEXT_RIVALS, below=1.0))
        rows.append(_kid(kids, split, "generated", TEXT_RIVALS))
        rows.append(_ratio(zero, split, "polished", ("generated",), below=1.0))
        rows.append(_ratio(zero, split, "generated_unet1d", ("mean", "nearest"), below=1.0))
        rows.append(_ratio(zero, split, "shuffled", ("polished",), above=1.25))
    rows.append(_ratio(zero, "combination", "polished", ("own",), below=1.25))
    rows += _time_to_quality(speedup)
    rows.append(_ratio(zero, "external", "polished", EXTERNAL_RIVALS, below=0.9, whole_interval=True))
    rows.append(_equal_seconds(list(curves)))
    for split, pairs in itertools.product(TEST_SPLITS, SOLVED_GOALS):
        over_plain, over_start = READ_GOALS[pairs]
        rows.append(_of_pairs(zero, split, pairs, "closed-form", PLAIN, SOLVED_GOALS[pairs]))
        rows.append(_of_pairs(zero, split, pairs, READ, PLAIN, over_plain))
        rows.append(_of_pairs(zero, split, pairs, READ, "closed-form", over_start))
    return [row for row in rows if row is not None]


def _row(claim: str, wanted: str, value: float, holds: bool, n: int, **more: Any) -> Row:
    return {"claim": claim, "wanted": wanted, "value": value, "holds": bool(holds), "n": n, **more}


def _ratio(
    zero: Zero,
    split: str,
    init: str,
    rivals: Sequence[str],
    below: float | None = None,
    above: float = 1.0,
    whole_interval: bool = False,
) -> Row | None:
    """Claim something of the L1 of a method over that of its best rival, on the concepts that all of them have."""
    present = [rival for rival in rivals if (split, rival) in zero]
    if (split, init) not in zero or not present:
        return None
    ids = sorted(set.intersection(*(set(zero[split, name]) for name in (init, *present))))
    if not ids:
        return None
    l1 = {name: [zero[split, name][i] for i in ids] for name in (init, *present)}
    result = paired_ratio(l1[init], {rival: l1[rival] for rival in present})
    if below is None:
        wanted, holds = f"above {above:g}", result.low > 1 and result.ratio > above
    else:
        measured = result.high if whole_interval else result.ratio
        wanted = "below 1" if below == 1 else f"at most {below:g}"
        holds = measured < 1 if below == 1 else measured <= below
    wanted += ", the whole interval" if whole_interval else ""
    claim = f"zero steps, {split}: L1 of {init} over {_best_of(present)}"
    return _row(claim, wanted, result.ratio, holds, result.n, interval=[result.low, result.high], rival=result.rival)


def _of_pairs(zero: Zero, split: str, pairs: int, init: str, rival: str, goal: float) -> Row | None:
    """Claim something of the L1 of one method over that of another one on the same pairs."""
    mine, theirs = (zero.get((split, method_name(name, pairs)), {}) for name in (init, rival))
    ids = sorted(mine.keys() & theirs.keys())
    if not ids:
        return None
    logs = np.log([max(mine[i], LEAST_L1) / max(theirs[i], LEAST_L1) for i in ids])
    value, interval = float(np.exp(logs.mean())), [float(bound) for bound in np.exp(mean_interval(logs))]
    claim = f"{plural(pairs, 'pair')}, {split}: L1 of {init} over {rival}, geometric mean"
    more = {"interval": interval, "worst": float(np.exp(logs.max()))}
    return _row(claim, f"at most {goal:g}", value, value <= goal, len(ids), **more)


def _best_of(rivals: Sequence[str]) -> str:
    """Return what stands for several rivals, or the only one."""
    return rivals[0] if len(rivals) == 1 else f"the best of {', '.join(rivals)}"


def _kid(kids: Mapping[tuple[str, str], float], split: str, init: str, rivals: Sequence[str]) -> Row | None:
    present = {rival: kids[split, rival] for rival in rivals if (split, rival) in kids}
    mine = kids.get((split, init))
    if mine is None or not present or not np.isfinite([mine, *present.values()]).all():
        return None
    best = min(present, key=lambda rival: present[rival])
    claim = f"zero steps, {split}: KID of {init} minus the best of {', '.join(present)}"
    return _row(claim, "below 0", mine - present[best], mine < present[best], 0, rival=best)


def _time_to_quality(speedup: Sequence[Row]) -> list[Row]:
    rows = []
    for over, floor, goal in FLOORS:
        row = headline(speedup, "polished", over)
        if row is None:
            continue
        claim = f"time to quality, 16 pairs: polished over {over}, in steps"
        wanted, median = f"at least {floor:g} (goal {goal:g})", row["median"]
        spreads = {key: row[key] for key in SPREADS}
        rows.append(_row(claim, wanted, median, median >= floor, row["n"], goal=median >= goal, **spreads))
        if over == "scratch":
            claim, final = "final L1 of polished over scratch's, 16 pairs", row["final_l1_ratio"]
            wanted, more = f"at most {FINAL_FLOOR:g} (goal {FINAL_GOAL:g})", {"goal": final <= FINAL_GOAL}
            more["interval"] = row["final_l1_ratio_interval"]
            rows.append(_row(claim, wanted, final, final <= FINAL_FLOOR, row["n"], **more))
    return rows


def headline(speedup: Sequence[Row], init: str, over: str) -> Row | None:
    """Return the row of combinations, 16 pairs and full mode at 100 % of scratch's budget, or None."""
    wanted = {"init": init, "over": over, "split": "combination", "pairs": 16, "mode": "full"}
    wanted |= {"quality_at": 100, "l1_factor": 1.0}
    return next((row for row in speedup if wanted.items() <= row.items()), None)


def _equal_seconds(curves: Sequence[Curve]) -> Row | None:
    """Claim that after equal seconds, initialisation included, polished beats base on external edits with 16 pairs."""
    chosen: dict[str, dict[str, Curve]] = {"polished": {}, "base": {}}
    for c in curves:
        if (c.split, c.mode, c.pairs) == ("external", "full", 16) and c.init in chosen:
            chosen[c.init][c.concept] = c
    ids = sorted(chosen["polished"].keys() & chosen["base"].keys())
    if not ids:
        return None
    ratios = []
    for share in SHARES:
        mine, theirs = [], []
        for base, polished in ((chosen["base"][i], chosen["polished"][i]) for i in ids):
            step = share * base.budget
            theirs.append(base.at(step))
            left = base.seconds(step) - polished.init_seconds
            mine.append(polished.at(max(left / polished.step_seconds, 0.0) if polished.step_seconds else base.budget))
        ratios.append(paired_ratio(mine, {"base": theirs}))
    worst = max(ratios, key=lambda r: r.ratio)
    claim = "external, 16 pairs: L1 of polished over base's at 25, 50 and 100 % of base's seconds (the worst)"
    more = {"ratios": {f"{share:.0%}": r.ratio for share, r in zip(SHARES, ratios, strict=True)}}
    return _row(claim, "below 1", worst.ratio, worst.ratio < 1, len(ids), interval=[worst.low, worst.high], **more)
