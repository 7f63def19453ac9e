"""Ours beside `modulaic` and pix2pix as published, on a user's pairs: the same pairs, the same seconds, one table.

    pip install --no-deps modulaic==0.1.0 pyyaml        # brings no other torch along
    python -m benchmarks.peer my-pairs [my-pairs-2 ...] --seconds 10 600 --picture peers.jpg
    python -m benchmarks.peer my-pairs --ours 0 10 --seconds 600    # ours at once and after 10 s, the peers after 600 s

Each folder has pairs as `weightzoo finetune --pairs` takes them: a fifth of them is held out. A folder that holds
`train/` and `test/` is measured on the latter. All methods see the same squares of `--size` pixels, and are measured
on the held-out ones after each of the `--seconds` of training; reading and measuring do not count. *Ours* is what
`weightzoo finetune --pairs DIR --seconds S` does without a prompt, begun anew for each number of seconds; at 0 s, what
`weightzoo generate --pairs DIR` does. The peers
train once, for the longest time; their seconds are the processor's, so that other work on the machine costs them
nothing. *Copying* is the source itself. *Plain*, and *colour* if it is named among the methods, are closed forms
without a network (`weightgen.finetuning.closed_forms`), which take what they take.

Each row has the means over the held-out pictures: L1, PSNR, SSIM, energy of the fine band over the target's and
correlation with it. Rows go to benchmarks/results/peer.json as they come; a row that is there is not measured again.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from benchmarks.harness import machine
from benchmarks.harness.recipes import RECIPES, Clock, Edit, Squares
from weightgen.finetuning.pairs import load_pairs
from zoo.errors import WeightzooError
from zoo.files import atomic_path, read_json, rounded
from zoo.pictures.metrics import figures
from zoo.pictures.pair_squares import pairs_to_tensors
from zoo.progress import say

DEFAULT = ("plain", "ours", "modulaic", "pix2pix")
SHOWN = 3  # held-out pictures of each folder
SAME = ("pairs", "count", "size", "method", "seed")  # by which rows are told apart, with their seconds
Row = dict[str, Any]
Shown = dict[str, Tensor]  # pictures [SHOWN, 3, S, S] by what stands above them


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and measure every method on every folder."""
    options = parser().parse_args(arguments)
    torch.set_flush_denormal(True)
    rows: list[Row] = stored_rows()
    sheet: list[Shown] = []
    for folder in options.pairs:
        pairs = squares_of(folder, options)
        shown = {"photograph": pairs.test_sources[:SHOWN], "wanted": pairs.test_targets[:SHOWN]}
        sheet.append(shown)
        for method in ("copying", *options.methods):
            compare(folder, pairs, method, options, rows, shown)
            if options.picture:
                write_sheet(sheet, options.picture)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    found = machine.arguments_of(__doc__)
    found.add_argument("pairs", type=Path, nargs="+", metavar="PAIRS")
    found.add_argument("--count", type=int, help="train on the first so many pairs")
    found.add_argument("--size", type=int, default=256)
    found.add_argument("--seconds", type=float, nargs="+", default=[10.0, 600.0])
    found.add_argument("--ours", type=float, nargs="+", metavar="SECONDS", help="for ours, in place of --seconds")
    found.add_argument("--methods", nargs="*", choices=list(RECIPES), default=DEFAULT)
    found.add_argument("--seed", type=int, default=0)
    found.add_argument("--picture", type=Path)
    return found


def squares_of(folder: Path, options: argparse.Namespace) -> Squares:
    """Return the pairs of a folder as squares."""
    divided = all((folder / part).is_dir() for part in ("train", "test"))
    loaded = load_pairs(folder / "train", folder / "test") if divided else load_pairs(folder, None)
    train = loaded.train[: options.count]
    return Squares(*pairs_to_tensors(train, options.size), *pairs_to_tensors(loaded.test, options.size))


def compare(
    folder: Path, pairs: Squares, method: str, options: argparse.Namespace, rows: list[Row], shown: Shown
) -> None:
    """Train one method and add its rows and pictures; nothing is done where all its rows are there."""
    about = {"pairs": folder.name, "count": len(pairs.sources), "size": pairs.size}
    head = about | {"method": method, "seed": options.seed}
    own = {"copying": [0.0], "plain": [0.0], "colour": [0.0], "ours": options.ours}
    marks = own.get(method) or options.seconds
    missing = [seconds for seconds in marks if not is_stored(rows, head, seconds)]
    # pictures are not stored: whoever wants them trains again
    if not missing and not options.picture:
        return

    def measure(seconds: float, edit: Edit) -> None:
        spent = clock.seconds
        edited = edit(pairs.test_sources)
        shown[f"{method}, {seconds:g} s"] = edited[:SHOWN]
        if seconds not in missing:
            return
        counted = {"seconds": seconds, "processor_seconds": round(spent, 1), "steps": clock.steps}
        means = {name: rounded(values.mean()) for name, values in figures(edited, pairs.test_targets).items()}
        rows.append(head | counted | {"n": len(edited), **means})
        machine.write_result("peer", rows, printed=len(rows) - 1)

    if method == "copying":
        clock = Clock([0.0], measure)
        measure(0.0, lambda pictures: pictures)
        shown.pop("copying, 0 s")
        return
    say(f"{folder}: {method}, {max(marks):g} s")
    clock = Clock(marks, measure)
    RECIPES[method](pairs, clock, options.seed)


def stored_rows() -> list[Row]:
    """Return the rows of earlier calls."""
    path = machine.RESULTS / "peer.json"
    return list(read_json(path)["rows"]) if path.exists() else []


def is_stored(rows: Sequence[Row], head: Row, seconds: float) -> bool:
    """Return whether a row was measured before."""
    return any(row["seconds"] == seconds and all(row[key] == head[key] for key in SAME) for row in rows)


def write_sheet(sheet: Sequence[Shown], path: Path) -> None:
    """Write the pictures of all folders, a row for each photograph, a column for each method."""
    titles = list(dict.fromkeys(title for shown in sheet for title in shown))
    size = sheet[0]["photograph"].shape[-1]
    gap, head = 4, 22
    lines = [(shown, k) for shown in sheet for k in range(len(shown["photograph"]))]
    canvas = Image.new("RGB", (len(titles) * (size + gap) + gap, head + len(lines) * (size + gap)), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(14)
    for column, title in enumerate(titles):
        left = gap + column * (size + gap)
        draw.text((left + size / 2, 3), title, fill="#1c2430", font=font, anchor="ma")
        for line, (shown, k) in enumerate(lines):
            if title in shown:
                pixels = (shown[title][k].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
                canvas.paste(Image.fromarray(pixels), (left, head + line * (size + gap)))
    with atomic_path(path) as temporary:
        canvas.save(temporary, quality=88)


if __name__ == "__main__":
    try:
        main()
    except WeightzooError as error:
        raise SystemExit(f"error: {error}") from None
