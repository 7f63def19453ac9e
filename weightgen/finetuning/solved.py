"""A generator solved on a user's pairs at their own size, in seconds, and trained on for as long as it pays.

    summary = solve_pairs("my-pairs/", "out/")
    summary = solve_pairs("my-pairs/", "out/", reader=PairReader(load_model_folder("paired/")))

`out/` then holds what a fine-tuning of all weights holds: `generator.safetensors`, `config.json`, `finetune.json`,
`metrics.jsonl`. It is complete after the solve, and replaced when training has made it better.

The output layer is solved (`zoo.closed_form`) over a bank of features of the photograph (`zoo.gans.solved`), pulled to
a prior that was learned over many edits. Where no layer is better than the prior on pairs, or parts of pairs, that are
left out of the solve, the prior itself is the result. With a weight generator that reads pairs (`weightgen.pairs`) the
training starts from a mean of this and of the network that it makes. Then branches learn what is not linear in the bank
(`weightgen.finetuning.branches`), and what is fainter in its fine detail than the targets is trained on for that
(`weightgen.finetuning.texture`).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.progress import Progress

from weightgen.finetuning.branches import Schedule, seconds_of, steps_of
from weightgen.finetuning.loop import check_length
from weightgen.finetuning.measure import Row, errors
from weightgen.finetuning.mixture import lengths, mix_branches
from weightgen.finetuning.pairs import LoadedPairs, load_pairs
from weightgen.finetuning.texture import CROP, with_texture
from weightgen.pairs.closed_form import (
    CLOSED_FORM,
    Start,
    load_prior,
    median_short_side,
    picture,
    pixels_of_pictures,
    start_of,
)
from weightgen.pairs.network_folder import write_network
from weightgen.pairs.pixels import Pixels
from weightgen.training.stopping import stop_between_steps
from zoo.files import rounded, write_json, write_text
from zoo.gans.solved import SolvedGenerator
from zoo.pictures.metrics import fine_detail, psnr
from zoo.pictures.pair_layouts import DIRECTIONS
from zoo.pictures.pairs import Pair
from zoo.progress import bar, working
from zoo.results import check_free, fresh_folder

if TYPE_CHECKING:
    from weightgen.pairs.generate import PairReader

SOLVED = CLOSED_FORM  # the name of this way among the starts of fine-tuning
STEPS = 1200  # of each training of branches
FEWEST_PAIRS = 2  # that branches are trained on: of one, no other can be left out
FEWEST_FOR_TEXTURE, FAINT, MOST_L1 = 4, 0.75, 1.1  # pairs; fine energy below which it is trained; times the L1
TRAININGS = ("training on three quarters of the pairs", "training on all pairs")
TEXTURE = "training fine detail"
TEXTURE_LENGTH = 1 / 6  # in the steps asked for, as these are larger steps
TEXTURE_SHARE = 0.2  # of a time budget
KEPT = "holds the best network so far"


def solve_pairs(
    pairs: str | Path,
    out_dir: str | Path,
    prompts: Sequence[str] = (),
    test_pairs: str | Path | None = None,
    direction: str = DIRECTIONS[0],
    seed: int = 0,
    steps: int = STEPS,
    seconds: float | None = None,
    on_row: Callable[[Row], None] = lambda row: None,
    tell: Callable[[str], None] = lambda line: None,
    overwrite: bool = False,
    reader: PairReader | None = None,
) -> Row:
    """Solve a generator on a folder of pairs, then let branches learn what the solved layer cannot, and write it.

    Args:
        prompts: the edit in words: for the reader, and for the record.
        test_pairs: another folder to measure on; without it 20 % of `pairs`, chosen by name, are held out.
        seed: of the pixels that the layer is solved on, and of the branches.
        steps: of the training of branches on three quarters of the pairs; of those that follow in proportion
            (`weightgen.finetuning.mixture.lengths`), a sixth as many of fine detail; 0: the solved layer alone.
        seconds: for all of it, in place of `steps`; reading and measuring the pairs does not count.
        on_row: called with the prior's row, then with each one that what is in `out_dir` has.
        tell: called with each line that says what the pairs were taken for, and what the solve is worth.
        overwrite: replace an earlier result in `out_dir`.
        reader: generates the network to begin with; None begins with the bank alone.

    Returns:
        The content of `finetune.json`; its `first` row is the prior's, `solved` the solved layer's, `best` that of
        what is in `out_dir`.

    Raises:
        WeightzooError: unusable pairs, an earlier result, or a length that no training can have.
        Interrupted: Ctrl-C while it was trained; `out_dir` holds the best that was complete.
    """
    check_length(steps, seconds)
    check_free(out_dir, overwrite)
    loaded = load_pairs(pairs, test_pairs, direction)
    for line in (*loaded.read_as, *loaded.notes):
        tell(line)
    started = time.perf_counter()
    scale = median_short_side(source.size for _, source, _ in loaded.train)
    prior = load_prior(scale) if reader is None else reader.prior_network(scale)
    with working("solving"):
        pixels = [pixels_of(prior, pair, seed, len(loaded.train)) for pair in loaded.train]
        start = start_of(prior, pixels) if reader is None else reader.start(pixels, prompts, scale)
    taken = time.perf_counter() - started  # for solving, then for training too; measuring does not count
    generator = start.generator
    with bar() as display:
        first = measured(prior, loaded.test, display) | {"step": 0, "seconds": 0.0}
        solved = measured(generator, loaded.test, display) | {"step": 0, "seconds": round(taken, 3)}
    on_row(first)
    summary = account(loaded, prompts, direction, start) | {"seconds": solved["seconds"], "first": first}
    summary |= {"solved": solved, "best": solved}
    with fresh_folder(out_dir) as folder:
        save(folder, generator, summary)
    on_row(solved)
    left = None if seconds is None else seconds - taken
    if len(loaded.train) >= FEWEST_PAIRS and steps > 0 and (left is None or left > 0):
        tell(f"{out_dir} is usable: solved in {taken:.1f} s, test L1 {solved['l1']:.3f}; training goes on")
        train_on(Path(out_dir), start, pixels, loaded, summary, steps, left, seed, on_row, tell)
        write_json(Path(out_dir) / "finetune.json", summary)
    return summary


def train_on(
    out_dir: Path,
    start: Start,
    pixels: Sequence[Pixels],
    loaded: LoadedPairs,
    summary: Row,
    steps: int,
    seconds: float | None,
    seed: int,
    on_row: Callable[[Row], None],
    tell: Callable[[str], None],
) -> None:
    """Train branches beside a start, then fine detail, and keep in `out_dir` and the summary what is better.

    Args:
        summary: of the start; its seconds become those of solving and training.
        seconds: see `solve_pairs`; here, those that are left.
    """
    generator, taken = start.generator, summary["seconds"]
    with stop_between_steps(out_dir, KEPT) as stop, bar() as display:
        parts = lengths(len(pixels))
        shares = [(1 - TEXTURE_SHARE) * part / sum(parts) for part in parts] + [TEXTURE_SHARE]
        schedules = [
            partial(shown, display, name, max(1, round(steps * more)), None if seconds is None else seconds * share)
            for name, more, share in zip((*TRAININGS, TEXTURE), (*parts, TEXTURE_LENGTH), shares, strict=True)
        ]
        started = time.perf_counter()
        found = mix_branches(start.made(), start.remake, pixels, schedules[:2], seed, stop)
        taken += time.perf_counter() - started
        if found is not None:
            row = measured(found.generator, loaded.test, display)
            if row["l1"] is not None and row["l1"] <= summary["solved"]["l1"]:
                generator = found.generator
                summary |= {"steps": found.steps, "weights": found.weights}
                summary |= {"left_out_l1": rounded(found.error), "solved_left_out_l1": rounded(found.solved_error)}
                keep(out_dir, generator, summary, row, taken, on_row)
        best = summary["best"]
        large = [pair for pair in loaded.train if min(pair[1].size) >= CROP]
        if len(large) >= FEWEST_FOR_TEXTURE and (best["fine_energy"] or 1.0) < FAINT and not stop():
            pictures = [(picture(source), picture(target)) for _, source, target in large]
            started = time.perf_counter()
            detailed = with_texture(generator, pictures, pixels, schedules[2](), seed, stop)
            taken += time.perf_counter() - started
            row = best if stop() else measured(detailed, loaded.test, display)
            if pays(row, best):
                tell(f"fine detail {best['fine_energy']:.2f} -> {row['fine_energy']:.2f} of the targets'")
                summary |= {"before_texture": best}
                keep(out_dir, detailed, summary, row, taken, on_row)
    summary["seconds"] = round(taken, 3)


def keep(
    out_dir: str | Path,
    generator: SolvedGenerator,
    summary: Row,
    row: Row,
    seconds: float,
    on_row: Callable[[Row], None],
) -> None:
    """Put a better generator in the place of the one in `out_dir`, and its row into the summary."""
    row |= {"step": summary["steps"], "seconds": round(seconds, 3)}
    summary |= {"best": row, "seconds": row["seconds"]}
    with fresh_folder(out_dir) as folder:
        save(folder, generator, summary)
    on_row(row)


def pays(row: Row, best: Row) -> bool:
    """Return whether a generator with more fine detail is worth its error."""
    if row["l1"] is None or row["fine_energy"] is None or row["l1"] > min(MOST_L1 * best["l1"], row["source_l1"]):
        return False
    return abs(math.log(max(row["fine_energy"], 1e-6))) < abs(math.log(max(best["fine_energy"], 1e-6)))


def shown(display: Progress, name: str, steps: int, seconds: float | None) -> Schedule:
    """Return the schedule of a training that begins now, behind a progress display."""
    task = display.add_task(name, total=steps if seconds is None else None, unit="steps")
    schedule = steps_of(steps) if seconds is None else seconds_of(seconds)

    def counted(step: int) -> float:
        display.update(task, completed=step)
        return schedule(step)

    return counted


@torch.no_grad()
def pixels_of(generator: SolvedGenerator, pair: Pair, seed: int, count: int) -> Pixels:
    """Return pixels of one of `count` pairs, from the top of the picture to its bottom."""
    name, source, target = pair
    rng = np.random.default_rng([seed, *name.encode()])
    return pixels_of_pictures(generator, picture(source), picture(target), rng, count)


@torch.no_grad()
def measured(generator: SolvedGenerator, pairs: Sequence[Pair], display: Progress) -> Row:
    """Return the mean figures over pairs at their own size, and those of copying the source.

    Args:
        display: shows how many pairs are measured.

    Returns:
        what `weightgen.finetuning.measure.errors` gives, `psnr`, `fine_energy`, `fine_correlation`, `source_l1`.
    """
    rows: list[Row] = []
    task = display.add_task("measuring", total=len(pairs), unit="pairs")
    for _, source, target in pairs:
        wanted, given = picture(target)[None], picture(source)[None]
        edited = generator(given).clamp(0, 1)
        energy, correlation = fine_detail(edited, wanted)
        rows.append(
            errors(edited, wanted)
            | {"psnr": rounded(psnr(edited, wanted).mean()), "fine_energy": rounded(energy.mean())}
            | {
                "fine_correlation": rounded(correlation.mean()),
                "source_l1": rounded((given - wanted).abs().mean()),
            }
        )
        display.advance(task)
    return {key: mean_of([row[key] for row in rows]) for key in rows[0]}


def mean_of(values: Sequence[float | None]) -> float | None:
    """Return the mean of the figures that there are."""
    known = [value for value in values if value is not None]
    return round(sum(known) / len(known), 6) if known else None


def account(loaded: LoadedPairs, prompts: Sequence[str], direction: str, start: Start) -> Row:
    """Return what was solved on what: its part of `finetune.json`."""
    choice = start.choice
    return {
        "prompt": prompts[0] if prompts else "",
        "prompts": list(prompts),
        "init": start.by,
        "shares": start.shares,
        "mode": "full",
        "steps": 0,
        "pairs": len(loaded.train),
        "test_pairs": [name for name, _, _ in loaded.test],
        "held_out": loaded.held_out,
        "direction": direction,
        "read_as": loaded.read_as,
        "notes": loaded.notes,
        "chosen_by": "error on what was left out of the solve",
        "pulled_to": pulled_to(start),
        "penalty_factor": None if math.isinf(choice.pull.factor) else choice.pull.factor,
        "left_out_l1": rounded(choice.error),
        "prior_left_out_l1": rounded(choice.prior_error),
    }


def pulled_to(start: Start) -> str:
    """Return what the layer was pulled to: the source, the prior or what was generated."""
    return start.choice.pull.to if start.by == SOLVED else start.by


def save(out_dir: Path, generator: SolvedGenerator, summary: dict[str, Any]) -> None:
    """Write the generator and what is known of it."""
    write_network(out_dir, generator, summary["prompt"], summary["init"])
    write_text(out_dir / "metrics.jsonl", json.dumps(summary["best"], sort_keys=True) + "\n")
    write_json(out_dir / "finetune.json", summary)
