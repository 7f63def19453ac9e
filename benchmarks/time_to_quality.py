"""Time to quality on a few pairs: how much sooner a network that is generated from them has what its rivals end with.

    python -m benchmarks.time_to_quality PAIRS [--concepts 16] [--split combination] [--pairs 16] [--steps 0]

The concepts are those of a held-out split in the order of the evaluation, their pairs (kept in PAIRS) are of 256 x 256
pixels, and the test pictures are of other photographs. Everything is on the clock but reading files and measuring:

- *scratch*: random weights, the adversarial training of `weightzoo finetune --init scratch`, 600 steps, the best of
  three learning rates for each concept by its test error, which favours it.
- *plain*: the closed form without anything learned (`weightgen.finetuning.closed_forms`), then branches.
- *closed-form*: the closed form with the learned prior, then branches.
- *paired*, *paired-words*: the network that a weight generator makes of the pairs, without and with the prompt, then
  branches.

Branches are trained for each number of `STEPS` anew, as a schedule belongs to its length. Seconds are those of the
processor on one thread. What a method never reaches is censored: its ratio counts as 0 in the median. It reaches a
quality at the first of its points that has it. Rows that are in the results already are not measured again (`--anew`
does it).
"""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.harness.machine import EMBEDDED_MODEL, EMBEDDED_ZOO, arguments_of, read_rows, write_result
from pipeline.heldout import HeldOutRequest, held_out_pairs
from weightgen.evaluation.held_out_pairs import HeldOut, wordings
from weightgen.finetuning.closed_forms import learned, plain, trained
from weightgen.finetuning.loop import FinetuneConfig, finetune_many
from weightgen.finetuning.measure import PairTensors
from weightgen.finetuning.origins import Origins
from weightgen.finetuning.starts import make_start
from weightgen.model_folder import load_model_folder
from weightgen.pairs.closed_form import CLOSED_FORM, MAX_PIXELS, SOLVED_ON, Pictures, Start, sampled, scale_of
from weightgen.pairs.generate import PairReader
from weightgen.pairs.pixels import Pixels
from zoo.concepts import Concept
from zoo.training.train_gan import clock

SCRATCH_STEPS, RATES = 600, (1e-2, 2e-2, 4e-2)
STEPS = (0, 75, 300, 1200)  # of each training of branches
TEST_PICTURES = 8
NAME = "time_to_quality"
RIVALS = ("scratch", "plain", CLOSED_FORM)
OURS = ("paired", "paired-words")
LEAST = 0.004  # one grey level: smaller errors count as this


def main() -> None:
    """Measure what is missing, then print how the methods compare."""
    parser = arguments_of(__doc__)
    parser.add_argument("folder", type=Path, help="where pairs are kept")
    parser.add_argument("--concepts", type=int, default=16)
    parser.add_argument("--split", default="combination")
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--model", type=Path, default=EMBEDDED_MODEL)
    parser.add_argument("--methods", nargs="+", default=[*RIVALS, *OURS], choices=[*RIVALS, *OURS])
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS, help="0: starts alone, in a file of their own")
    parser.add_argument("--anew", action="store_true", help="measure the methods again")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    held_out = pairs_in(options.folder, options.split, options.concepts, options.pairs)
    concepts = held_out.concepts(options.split, options.concepts)
    steps = tuple(options.steps)
    name = NAME if steps == STEPS else f"{NAME}_{'_'.join(map(str, steps))}"
    rows = [row for row in read_rows(name) if "method" in row]
    rows = [row for row in rows if not (options.anew and row["method"] in options.methods)]
    known = {(row["concept"], row["method"], row["pairs"]) for row in rows}
    reader = PairReader(load_model_folder(options.model))
    for concept in concepts:
        for method in options.methods:
            if (concept.id, method, options.pairs) in known:
                continue
            curve = curve_of(method, concept, held_out, options.pairs, reader, steps)
            rows.append(
                {
                    "concept": concept.id,
                    "split": concept.split,
                    "method": method,
                    "pairs": options.pairs,
                    "curve": curve,
                }
            )
            write_result(name, rows, printed=len(rows) - 1)
    here = [row for row in rows if row["pairs"] == options.pairs and row["split"] == options.split]
    write_result(name, [*rows, *compared(here)], printed=len(rows))


def pairs_in(folder: Path, split: str, concepts: int, pairs: int) -> HeldOut:
    """Return the first concepts of a split with so many pairs; they are made if they are not there."""
    request = HeldOutRequest({split: concepts}, lambda *_: pairs, TEST_PICTURES)
    return HeldOut.open(held_out_pairs(folder, EMBEDDED_ZOO, request).folders)


def curve_of(
    method: str, concept: Concept, held_out: HeldOut, pairs: int, reader: PairReader, all_steps: Sequence[int]
) -> list[dict[str, Any]]:
    """Return {steps, seconds, l1} along a training; *scratch* has points of its own."""
    size = reader.base.config.image_size
    sources, targets = held_out.pairs(concept.id, "train", size, pairs)
    test = held_out.pairs(concept.id, "test", size, TEST_PICTURES)
    if method == "scratch":
        tensors = PairTensors(sources[None], targets[None], test[0][None], test[1][None])
        return min((scratch(tensors, rate) for rate in RATES), key=lambda curve: curve[-1]["l1"])
    pictures = list(zip(sources, targets, strict=True))
    texts = wordings(concept, 1) if method == "paired-words" else ()
    curve = []
    for steps in all_steps:
        began = time.process_time()
        start, pixels = BEGIN[method](pictures, reader, texts, MAX_PIXELS if steps else SOLVED_ON)
        network = trained(start, pixels, steps=steps) if steps else start.generator
        seconds = time.process_time() - began
        curve.append({"steps": steps, "seconds": round(seconds, 2), "l1": error(network, *test)})
    return curve


def scratch(tensors: PairTensors, rate: float) -> list[dict[str, Any]]:
    """Return the curve of a network that begins with random weights, at one learning rate."""
    config = FinetuneConfig(steps=SCRATCH_STEPS, learning_rate=rate, feature_network=None, keeps_state=False)
    start = make_start("scratch", [[""]], Origins(EMBEDDED_ZOO))
    began, spent = clock(torch.device("cpu")), time.process_time()
    done = finetune_many(start, tensors, config)
    # what the other core's work took away from the wall's seconds is given back
    share = (time.process_time() - spent) / (clock(torch.device("cpu")) - began)
    return [
        {"steps": row["step"], "seconds": round(row["seconds"] * share, 2), "l1": row["l1"], "rate": rate}
        for row in done.rows[0]
    ]


def generated(pictures: Pictures, reader: PairReader, texts: Sequence[str], most: int) -> tuple[Start, list[Pixels]]:
    """Return the start that a weight generator makes, and what it was made from: at most so many pixels."""
    pixels = sampled(reader.base, pictures, 0, most)
    return reader.start(pixels, texts, scale_of(pictures)), pixels


BEGIN: dict[str, Callable[[Pictures, PairReader, Sequence[str], int], tuple[Start, list[Pixels]]]] = {
    "plain": lambda pictures, reader, texts, most: plain(pictures),
    CLOSED_FORM: lambda pictures, reader, texts, most: learned(pictures),
    "paired": generated,
    "paired-words": generated,
}


def compared(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what each of ours is worth beside each rival, over the concepts that both were measured on."""
    curves = {(row["method"], row["concept"]): row["curve"] for row in rows}
    found = []
    for mine in OURS:
        for rival in RIVALS:
            both = [concept for method, concept in curves if method == mine and (rival, concept) in curves]
            if not both:
                continue
            ratios, finals, starts = [], [], []
            for concept in both:
                wanted, ours = curves[rival, concept][-1], curves[mine, concept]
                reached = next((p["seconds"] for p in ours if p["l1"] <= max(wanted["l1"], LEAST)), math.inf)
                ratios.append(wanted["seconds"] / reached)  # 0 where it is never reached
                finals.append(math.log(max(ours[-1]["l1"], LEAST) / max(wanted["l1"], LEAST)))
                starts.append(math.log(max(ours[0]["l1"], LEAST) / max(wanted["l1"], LEAST)))
            found.append(
                {
                    "summary": f"{mine} against {rival}",
                    "concepts": len(both),
                    "reached": sum(ratio > 0 for ratio in ratios),
                    "median_times_sooner": round(median(ratios), 2),
                    "quartiles": [round(float(np.quantile(ratios, q)), 2) for q in (0.25, 0.75)],
                    "final_l1_ratio": round(math.exp(fmean(finals)), 3),
                    "start_l1_ratio": round(math.exp(fmean(starts)), 3),
                }
            )
    return found


@torch.no_grad()
def error(network: nn.Module, sources: Tensor, targets: Tensor) -> float:
    """Return the mean absolute error on test pictures, [N, 3, S, S] in [0, 1]."""
    return round(float((network(sources).clamp(0, 1) - targets).abs().mean()), 6)


if __name__ == "__main__":
    main()
