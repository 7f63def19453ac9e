"""Output layers solved on a few pairs at their own size, with the learned prior and without, and trained branches.

    python -m benchmarks.closed_form EDITS [--pairs 1 4 16] [--steps 1200] [--model MODEL] [--draw 0]

EDITS/NAME/{train,test}/{source,target}/ hold pictures of equal names; any program can have made the targets. Each row
has the means over the test pictures: L1, PSNR, SSIM, and the energy and correlation of the fine band with the target's.
Beside the layer that is pulled to the learned prior stand copying the source and two rivals without a network, whose
penalty is chosen by folds over the pairs (`weightgen.finetuning.closed_forms`): *plain*, a ridge on the same bank with
random ReLUs, and *colour*, a ridge on the features of a pixel's colour alone. *Trained* is the first of them once
branches were trained (`weightgen.finetuning.mixture`), from two pairs on. *Generated* is the start that a weight
generator makes of the pairs without words (`weightgen.pairs`). Test pictures decide nothing. The last line
has the geometric means over edits of the errors over those of the rivals; errors below 0.004, one grey level, count as
0.004. `over_colour` is for edits of colour: those that the row's `colour_l1` is lowest for. Rows of other numbers of
pairs stay in the results. Each draw but the first takes other pairs of the folder, and has results of its own.
"""

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness.machine import read_rows, write_result
from weightgen.finetuning.closed_forms import CLOSED_FORMS, PLAIN, learned, trained
from weightgen.finetuning.solved import FEWEST_PAIRS, STEPS, picture
from weightgen.model_folder import load_model_folder
from weightgen.pairs.closed_form import Pictures, scale_of
from weightgen.pairs.generate import PairReader
from zoo.pictures.metrics import figures
from zoo.pictures.pairs import read_pairs

NAME = "closed_form"
LEAST = 0.004
OURS = ("", "trained_", "generated_", "generated_trained_")
RIVALS = {"plain_": PLAIN, "colour_": "closed-form-colour"}
OVER = {f"{own}over_{rival[:-1]}": (f"{own}l1", f"{rival}l1") for own in OURS for rival in RIVALS}
OVER["generated_over_start"] = ("generated_l1", "l1")
OVER["generated_trained_over_trained"] = ("generated_trained_l1", "trained_l1")


def main() -> None:
    """Solve and measure every edit with every number of pairs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pairs", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--edits", nargs="+")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--model", type=Path, help="a weight generator that reads pairs")
    parser.add_argument("--draw", type=int, default=0, help="which pairs of the folder; 0: the first ones")
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    reader = None if options.model is None else PairReader(load_model_folder(options.model))
    results = f"{NAME}_draw_{options.draw}" if options.draw else NAME
    rows = [row for row in read_rows(results) if row["pairs"] not in options.pairs]
    printed = len(rows)
    for count in options.pairs:
        ratios: dict[str, list[float]] = {name: [] for name in OVER}
        for edit in options.edits or sorted(path.name for path in options.folder.iterdir()):
            row = compare(options.folder / edit, count, options.steps, reader, options.draw)
            for name, (mine, theirs) in OVER.items():
                if mine in row:
                    row[name] = round(max(row[mine], LEAST) / max(row[theirs], LEAST), 3)
                    ratios[name].append(math.log(row[name]))
            rows.append({"edit": edit, "pairs": count, **row})
            write_result(results, rows, printed=printed)
            printed = len(rows)
        means = {name: round(math.exp(sum(logs) / len(logs)), 3) for name, logs in ratios.items() if logs}
        rows.append({"edit": "all", "pairs": count} | means)
        write_result(results, rows, printed=printed)
        printed = len(rows)


def compare(folder: Path, count: int, steps: int, reader: PairReader | None, draw: int = 0) -> dict[str, Any]:
    """Return the row of one edit, solved on `count` of its pairs."""
    train, test = (pictures_of(folder / part) for part in ("train", "test"))
    if draw:
        train = [train[k] for k in np.random.default_rng(draw).permutation(len(train))]
    row = measured("source_", lambda photograph: photograph, test)
    for name, rival in RIVALS.items():
        started = time.perf_counter()
        generator = CLOSED_FORMS[rival](train[:count])
        row |= {f"{name}seconds": round(time.perf_counter() - started, 1)} | measured(name, generator, test)
    started = time.perf_counter()
    start, pixels = learned(train[:count])
    starts = {"": (start, time.perf_counter() - started)}
    if reader is not None:
        started = time.perf_counter()
        starts["generated_"] = (reader.start(pixels, (), scale_of(train[:count])), time.perf_counter() - started)
    for name, (start, seconds) in starts.items():
        row |= {f"{name}seconds": round(seconds, 1), f"{name}by": start.by} | measured(name, start.generator, test)
        if count < FEWEST_PAIRS or steps == 0:
            continue
        started = time.perf_counter()
        network = trained(start, pixels, steps=steps)
        row[f"{name}trained_seconds"] = round(time.perf_counter() - started, 1)
        row |= measured(f"{name}trained_", network, test)
    return row


def pictures_of(folder: Path) -> Pictures:
    """Return the pairs of a folder at their own size."""
    pairs = read_pairs(folder, minimum=1, max_short_side=1024)
    return [(picture(source), picture(target)) for _, source, target in pairs]


@torch.no_grad()
def measured(name: str, edit: Callable[[Tensor], Tensor], test: Pictures) -> dict[str, float]:
    """Return the mean figures of what an edit makes of the test pictures, which may differ in size."""
    found = [figures(edit(source[None]), target[None]) for source, target in test]
    return {f"{name}{key}": round(float(torch.cat([row[key] for row in found]).mean()), 6) for key in found[0]}


if __name__ == "__main__":
    main()
