"""Output layers solved on a few pairs at their own size, with the learned prior and without, and trained branches.

    python -m benchmarks.closed_form EDITS [--pairs 1 4 16] [--edits charcoal sepia] [--steps 400]

EDITS/NAME/{train,test}/{source,target}/ hold pictures of equal names; any program can have made the targets. Each row
has the mean over the test pictures: L1, and the energy and correlation of the fine band with the target's. Beside the
learned prior stand copying the source and the same bank with random ReLUs, pulled to zero: the closed form without a
network. *Trained* is the first of them once branches were trained (`weightgen.finetuning.branches`), from two pairs
on; test pictures decide nothing. The last line is the geometric mean over edits of the ratio of the two errors; errors
below 0.004, one grey level, count as 0.004.
"""

import argparse
import math
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness.machine import write_result
from weightgen.finetuning.branches import Pixels, mix_branches, steps_of
from weightgen.finetuning.solved import FEWEST_PAIRS, STEPS, load_prior, measured, pixels_of, scale_of
from zoo.closed_form import Fit, Prior, fit_output_layer
from zoo.gans.solved import PENALTY, SolvedConfig, SolvedGenerator
from zoo.pictures.pairs import Pair, read_pairs

LEAST = 0.004


def main() -> None:
    """Solve and measure every edit with every number of pairs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pairs", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--edits", nargs="+")
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    rows: list[dict[str, Any]] = []
    for count in options.pairs:
        ratios: dict[str, list[float]] = {"": [], "trained_": []}
        for edit in options.edits or sorted(path.name for path in options.folder.iterdir()):
            row = compare(options.folder / edit, count, options.steps)
            for name, known in ratios.items():
                if f"{name}l1" in row:
                    known.append(math.log(max(row[f"{name}l1"], LEAST) / max(row["plain_l1"], LEAST)))
            rows.append({"edit": edit, "pairs": count, **row})
            write_result("closed_form", rows, printed=len(rows) - 1)
        means = {f"{name}over_plain": math.exp(sum(all_) / len(all_)) for name, all_ in ratios.items() if all_}
        rows.append({"edit": "all", "pairs": count} | {name: round(mean, 3) for name, mean in means.items()})
        write_result("closed_form", rows, printed=len(rows) - 1)


def compare(folder: Path, count: int, steps: int) -> dict[str, Any]:
    """Return the row of one edit, solved on its first `count` pairs."""
    train, test = (read_pairs(folder / part, minimum=1, max_short_side=1024) for part in ("train", "test"))
    learned, random = load_prior(scale_of(train)), plain(scale_of(train))
    row: dict[str, Any] = {}
    for name, generator in (("", learned), ("plain_", random)):
        started = time.perf_counter()
        pixels, fit = solve(generator, train[:count])
        row |= figures(name, generator, test, time.perf_counter() - started)
        if name or count < FEWEST_PAIRS:
            continue
        started = time.perf_counter()
        found = mix_branches(generator, pixels, fit, [partial(steps_of, steps)] * 2)
        seconds = time.perf_counter() - started
        row |= figures("trained_", found.generator if found else generator, test, seconds)
        row |= {f"weight_{part}": weight for part, weight in (found.weights if found else {"solved": 1.0}).items()}
    return row


def figures(name: str, generator: SolvedGenerator, test: Sequence[Pair], seconds: float) -> dict[str, Any]:
    """Return what a generator is worth on the test pictures."""
    result = measured(generator, test)
    row = {f"{name}{key}": result[key] for key in ("l1", "fine_energy", "fine_correlation")}
    return row | {f"{name}seconds": round(seconds, 1), "source_l1": result["source_l1"]}


@torch.no_grad()
def solve(generator: SolvedGenerator, pairs: Sequence[Pair]) -> tuple[list[Pixels], Fit]:
    """Set the output layer to the one solved on pairs; without a learned prior features count by their size."""
    pixels = [pixels_of(generator, pair, 0, len(pairs)) for pair in pairs]
    prior = generator.prior
    if not bool(prior.mean.any()):
        scale = sum(p.features.square().mean(0) for p in pixels) / len(pixels)
        prior = Prior(prior.mean, (scale.clamp_min(1e-4) * PENALTY).log(), torch.zeros_like(prior.slope))
    fit = fit_output_layer([(p.features, p.targets) for p in pixels], prior)
    generator.output.copy_(fit.layer)
    return pixels, fit


def plain(image_size: int) -> SolvedGenerator:
    """Return a generator with random ReLUs and a prior of zero: nothing is learned."""
    torch.manual_seed(3)
    generator = SolvedConfig(image_size=image_size).build().requires_grad_(False)
    generator.mean.zero_()
    return generator


if __name__ == "__main__":
    main()
