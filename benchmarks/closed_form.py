"""Output layers solved on a few pairs at their own size: with the learned prior, and without anything learned.

    python -m benchmarks.closed_form EDITS [--pairs 1 4 16] [--edits charcoal sepia]

EDITS/NAME/{train,test}/{source,target}/ hold pictures of equal names; any program can have made the targets. Each row
has the mean over the test pictures: L1, and the energy and correlation of the fine band with the target's. Beside the
learned prior stand copying the source and the same bank with random ReLUs, pulled to zero: the closed form without a
network. The last line is the geometric mean over edits of the ratio of the two errors; errors below 0.004, one grey
level, count as 0.004.
"""

import argparse
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness.machine import write_result
from weightgen.finetuning.solved import load_prior, measured, pixels_of, scale_of
from zoo.closed_form import Prior, fit_output_layer
from zoo.gans.solved import PENALTY, SolvedConfig, SolvedGenerator
from zoo.pictures.pairs import Pair, read_pairs

LEAST = 0.004


def main() -> None:
    """Solve and measure every edit with every number of pairs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pairs", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--edits", nargs="+")
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    rows: list[dict[str, Any]] = []
    for count in options.pairs:
        ratios = []
        for edit in options.edits or sorted(path.name for path in options.folder.iterdir()):
            row = compare(options.folder / edit, count)
            ratios.append(math.log(max(row["l1"], LEAST) / max(row["plain_l1"], LEAST)))
            rows.append({"edit": edit, "pairs": count, **row})
            write_result("closed_form", rows, printed=len(rows) - 1)
        rows.append({"edit": "all", "pairs": count, "over_plain": round(math.exp(sum(ratios) / len(ratios)), 3)})
        write_result("closed_form", rows, printed=len(rows) - 1)


def compare(folder: Path, count: int) -> dict[str, Any]:
    """Return the row of one edit, solved on its first `count` pairs."""
    train, test = (read_pairs(folder / part, minimum=1, max_short_side=1024) for part in ("train", "test"))
    learned, random = load_prior(scale_of(train)), plain(scale_of(train))
    row: dict[str, Any] = {}
    for name, generator in (("", learned), ("plain_", random)):
        started = time.perf_counter()
        solve(generator, train[:count])
        seconds = time.perf_counter() - started
        result = measured(generator, test)
        row |= {f"{name}{key}": result[key] for key in ("l1", "fine_energy", "fine_correlation")}
        row |= {f"{name}seconds": round(seconds, 1), "source_l1": result["source_l1"]}
    return row


@torch.no_grad()
def solve(generator: SolvedGenerator, pairs: Sequence[Pair]) -> None:
    """Set the output layer to the one solved on pairs; without a learned prior features count by their size."""
    rows = [pixels_of(generator, pair, 0, len(pairs)) for pair in pairs]
    prior = generator.prior
    if not bool(prior.mean.any()):
        scale = sum(features.square().mean(0) for features, _ in rows) / len(rows)
        prior = Prior(prior.mean, (scale.clamp_min(1e-4) * PENALTY).log(), torch.zeros_like(prior.slope))
    generator.output.copy_(fit_output_layer(rows, prior).layer)


def plain(image_size: int) -> SolvedGenerator:
    """Return a generator with random ReLUs and a prior of zero: nothing is learned."""
    torch.manual_seed(3)
    generator = SolvedConfig(image_size=image_size).build().requires_grad_(False)
    generator.mean.zero_()
    return generator


if __name__ == "__main__":
    main()
