"""The report of an evaluation: one self-contained HTML file with pictures, curves and tables.

    write_report("runs/evaluation")                 # -> runs/evaluation/report/{index.html, examples.jpg}

It shows first what a few pairs make of photographs, then what was reached and what was not, then everything else. Its
words stand in `report.html`, the rows of its tables come from `weightgen.report.tables`. Nothing in it needs a script,
a network or another file.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from weightgen.evaluation.context import load_context
from weightgen.evaluation.goals import headline
from weightgen.evaluation.grid import READ
from weightgen.finetuning.closed_forms import PLAIN
from weightgen.report.chart import chart
from weightgen.report.pair_pictures import PairStory, pair_stories
from weightgen.report.pictures import Story, make_pictures, write_mosaic
from weightgen.report.tables import Row, bound, by_l1, grouped, number, tables
from zoo.files import PathLike, read_json, write_text
from zoo.words import plural

OURS = "polished"
BASELINES_SHOWN = ("copy", "base", "mean", "nearest", "knn", "ridge", "kernel_ridge")
PICTURE_QUALITY = 82
AXES = {"seconds": "seconds, start-up included, one network on one thread", "steps": "training steps"}


def write_report(out_dir: PathLike, report_dir: PathLike | None = None) -> Path:
    """Write `index.html` to `report_dir` (`OUT/report` by default) and return its path.

    Beside it lies `examples.jpg`, a few edits in one picture for a README or a message.

    Raises:
        WeightzooError: `out_dir` holds no finished evaluation.
    """
    out_dir = Path(out_dir)
    results = read_json(out_dir / "evaluation.json")
    context = load_context(str(out_dir.resolve()))
    pairs, stories = pair_stories(context), make_pictures(context)
    path = Path(report_dir or out_dir / "report") / "index.html"
    if stories:
        write_mosaic(stories, path.with_name("examples.jpg"))
    write_text(path, render(results, stories, pairs))
    return path


def render(results: Row, stories: Sequence[Story] = (), pairs: Sequence[PairStory] = ()) -> str:
    """Return the document for the content of `evaluation.json` and the pictures of some concepts.

    Args:
        pairs: the pictures that it opens with.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "plural": plural, "embedded": embedded}
    return environment.get_template("report.html").render(
        ours=OURS,
        results=results,
        stories=stories,
        pair_stories=pairs,
        tables=tables(results),
        cards=cards(results),
        charts=charts(results["curves"]),
    )


def embedded(path: Path, side: int) -> dict[str, Any]:
    """Return a picture of at most `side` pixels as the attributes of an `img` that needs no other file."""
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=PICTURE_QUALITY, optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    return {"src": f"data:image/jpeg;base64,{data}", "width": image.width, "height": image.height}


def cards(results: Row) -> list[tuple[str, str]]:
    """Return the headline figures, each with what it says."""
    return [
        *pair_card(results),
        *zero_card(results),
        *speed_cards(results["speedup"]),
        *external_card(results["goals"]),
    ]


def pair_card(results: Row) -> list[tuple[str, str]]:
    """Return the card of networks that are generated from pairs and words, on edits that other tools made."""
    rows = [r for r in results["zero_step"] if r["split"] == "external" and r.get("pairs")]
    most = max((r["pairs"] for r in rows if r["init"] == READ), default=0)
    found = {r["init"]: r for r in rows if r["pairs"] == most}
    if READ not in found or PLAIN not in found:
        return []
    text = (
        f"L1 from {plural(most, 'pair')} and words on edits made by other tools, without training; "
        f"{PLAIN}: {number(found[PLAIN]['l1'])}"
    )
    return [(number(found[READ]["l1"]), text)]


def zero_card(results: Row) -> list[tuple[str, str]]:
    """Return the card of figures at zero training steps."""
    zero = {r["init"]: r for r in results["zero_step"] if (r["split"], r["prompts"]) == ("combination", 1)}
    if OURS not in zero:
        return []
    text = f"L1 of {OURS} at zero steps on new combinations"
    if rivals := [zero[name] for name in BASELINES_SHOWN if name in zero]:
        best = min(rivals, key=by_l1)
        text += f"; best baseline: {best['init']} {number(best['l1'])}"
    if "own" in zero:
        text += f"; an adapter trained for the concept: {number(zero['own']['l1'])}"
    return [(number(zero[OURS]["l1"]), text)]


def speed_cards(speedup: Sequence[Row]) -> list[tuple[str, str]]:
    """Return a card of each speed-up over training from scratch."""
    rows = {over: row for over in ("scratch", "base") if (row := headline(speedup, OURS, over)) is not None}
    found = []
    for over, row in rows.items():
        reached = f"reached by {row['reached_count']} of {plural(row['n'], 'concept')}"
        if not row["median"]:
            found.append(("not reached", f"the quality that scratch ends with, 16 pairs: {reached}"))
            break
        text = (
            f"fewer steps than {over} to the quality that scratch ends with, 16 pairs; "
            f"{number(row['median_seconds'])} times less time, start-up included; {reached}"
        )
        found.append((f"{bound(row)}{number(row['median'])} times", text))
    if "scratch" in rows:
        text = "final L1 over that of training from scratch, 16 pairs"
        found.append((number(rows["scratch"]["final_l1_ratio"]), text))
    return found


def external_card(goals: Sequence[Row]) -> list[tuple[str, str]]:
    """Return the card of the edits that other tools made."""
    text = "L1 of {ours} at zero steps over the best baseline ({rival}) on {edits} made by other tools"
    return [
        (number(row["value"]), text.format(ours=OURS, rival=row["rival"], edits=plural(row["n"], "edit")))
        for row in goals
        if row["claim"].startswith("zero steps, external")
    ]


def charts(curves: list[Row]) -> list[tuple[str, list[str]]]:
    """Return a title and two charts for each kind of fine-tuning: quality against seconds and against steps."""
    found = []
    for (split, mode, pairs), rows in grouped(curves, "split", "mode", "pairs").items():
        finals = [r["l1"][-1] for r in curves if (r["split"], r["pairs"], r["init"]) == (split, pairs, "scratch")]
        level = ("final quality of scratch", finals[0]) if finals and finals[0] else None
        title = f"{split}, {plural(pairs, 'pair')}, {mode} mode, mean of {plural(rows[0]['n'], 'concept')}"
        drawn = [
            chart({row["init"]: (row[key], row["l1"]) for row in rows}, label, "test L1", level)
            for key, label in AXES.items()
        ]
        found.append((title, drawn))
    return found
