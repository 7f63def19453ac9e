"""The report of an evaluation: one self-contained HTML file with pictures, curves and tables.

    write_report("runs/evaluation")                 # -> runs/evaluation/report/{index.html, examples.jpg}

It says first what was reached and what was not, then shows pictures, then everything else
(`weightgen.report_tables`). Nothing in it needs a script, a network or another file.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from weightgen.bench import bench_of
from weightgen.goals import headline
from weightgen.report_chart import Line, chart
from weightgen.report_html import number, page, picture, pictures, spread, table
from weightgen.report_pictures import Story, make_pictures, write_mosaic
from weightgen.report_tables import OURS, SPLIT_WORDS, bound, tables
from zoo.files import PathLike, read_json, write_text
from zoo.words import plural

Row = dict[str, Any]
BASELINES_SHOWN = ("copy", "base", "mean", "nearest", "knn", "ridge", "kernel_ridge")


def write_report(out_dir: PathLike, report_dir: PathLike | None = None) -> Path:
    """Writes `index.html` to `report_dir` (`OUT/report` by default) and returns its path.

    Beside it lies `examples.jpg`, a few edits in one picture for a README or a message.

    Raises:
        WeightzooError: `out_dir` holds no finished evaluation.
    """
    out_dir = Path(out_dir)
    results = read_json(out_dir / "evaluation.json")
    stories = make_pictures(bench_of(str(out_dir.resolve())))
    body = [
        *opening(results),
        *cards(results),
        *claims(results["goals"]),
        *story_section(stories),
        *curve_section(results["curves"]),
        *tables(results),
    ]
    path = Path(report_dir or out_dir / "report") / "index.html"
    if stories:
        write_mosaic(stories, path.with_name("examples.jpg"))
    write_text(path, page("weightzoo: evaluation", "\n".join(body)))
    return path


def opening(results: Row) -> list[str]:
    """Title, what was run, and what was left out or went wrong."""
    size, network = results["image_size"], escape(results["feature_network"])
    return [
        "<h1>Weights from words: does it pay?</h1>",
        "<p>A sentence goes in, the weights of an image-to-image GAN come out. Every figure is measured "
        "on concepts that the zoo does not have and on photographs that nothing was trained on, beside the "
        "obvious alternatives.</p>",
        f'<p class="soft">{grid_words(results)} {size} x {size} pixels; KID on {network}.</p>',
        *(f'<p class="note">{problem}</p>' for problem in problems(results)),
    ]


def grid_words(results: Row) -> str:
    """What the grid at hand covers, in words."""
    grid = results["grid"]
    counts = {row["split"]: row["n"] for row in results["zero_step"] if row["init"] == "copy"}
    concepts = ", ".join(f"{plural(count, 'concept')} of {split}" for split, count in counts.items())
    words = (
        f"Grid <b>{escape(grid['name'])}</b>. Zero steps: {concepts}; {plural(grid['test_images'], 'test image')} each."
    )
    for row in grid["finetune"]:
        inits = ", ".join(row["inits"])
        what = f"{plural(row['concepts'], 'concept')} of {row['split']}, {plural(row['pairs'], 'pair')}"
        words += f" Fine-tuning: {what}, {row['mode']} mode ({inits})."
    if not grid["finetune"]:
        words += " No fine-tuning."
    if grid["name"] != "full":
        words += " This grid is reduced; the README has the figures of the full one."
    return words


def problems(results: Row) -> list[str]:
    """Everything that keeps the figures from being complete, one sentence each."""
    found = [
        f"Only {row['concepts']} of {plural(row['planned'], 'concept')} were fine-tuned in the given time "
        f"({row['split']}, {row['mode']} mode, {plural(row['pairs'], 'pair')}); the figures are for these only."
        for row in results["cut"]
    ]
    if results["absent"]:
        found.append(f"Not evaluated, because the model is absent: {escape(', '.join(results['absent']))}.")
    found += [f"Failed: {escape(row['cell'])} ({escape(row['reason'])})." for row in results["failures"]]
    if diverged := sum(row["diverged"] for row in results["final"]):
        found.append(
            f"{plural(diverged, 'fine-tuning')} diverged; quality that was not reached before counts as never reached."
        )
    return found


def cards(results: Row) -> list[str]:
    """The headline figures."""
    found = [*zero_card(results), *speed_cards(results["speedup"]), *external_card(results["goals"])]
    shown = [f'<div class="card"><b>{figure}</b><span>{text}</span></div>' for figure, text in found]
    return ['<div class="cards">', *shown, "</div>"]


def zero_card(results: Row) -> list[tuple[str, str]]:
    zero = {r["init"]: r for r in results["zero_step"] if (r["split"], r["prompts"]) == ("combination", 1)}
    if OURS not in zero:
        return []
    text = f"L1 of {OURS} at zero steps on new combinations"
    if rivals := [zero[name] for name in BASELINES_SHOWN if name in zero]:
        best = min(rivals, key=lambda row: row["l1"])
        text += f"; best baseline: {best['init']} {number(best['l1'])}"
    if "own" in zero:
        text += f"; an adapter trained for the concept: {number(zero['own']['l1'])}"
    return [(number(zero[OURS]["l1"]), text)]


def speed_cards(speedup: Sequence[Row]) -> list[tuple[str, str]]:
    found = []
    for over in ("scratch", "base"):
        row = headline(speedup, OURS, over)
        if row is None:
            continue
        reached = f"reached by {row['reached_count']} of {plural(row['n'], 'concept')}"
        if not row["median"]:
            found.append(("not reached", f"the quality that scratch ends with, 16 pairs: {reached}"))
            break
        text = (
            f"fewer steps than {over} to the quality that scratch ends with, 16 pairs; "
            f"{number(row['median_seconds'])} times less time, start-up included; {reached}"
        )
        found.append((f"{bound(row)}{number(row['median'])} times", text))
    row = headline(speedup, OURS, "scratch")
    if row is not None:
        final = number(row["final_l1_ratio"])
        found.append((final, "final L1 over that of training from scratch, 16 pairs"))
    return found


def external_card(goals: Sequence[Row]) -> list[tuple[str, str]]:
    return [
        (
            number(row["value"]),
            f"L1 of {OURS} at zero steps over the best baseline ({escape(row['rival'])}) on {plural(row['n'], 'edit')} "
            "made by other tools",
        )
        for row in goals
        if row["claim"].startswith("zero steps, external")
    ]


def claims(goals: Sequence[Row]) -> list[str]:
    """What was to be shown, the misses first."""
    if not goals:
        return []
    verdicts = {True: '<span class="good">holds</span>', False: '<span class="bad">does not hold</span>'}
    rows = [
        [
            verdicts[bool(row["holds"])],
            escape(row["claim"]),
            spread({"value": row["value"], "value_interval": row.get("interval")}, "value"),
            escape(row["wanted"]),
            row["n"] or None,
        ]
        for row in sorted(goals, key=lambda row: bool(row["holds"]))
    ]
    held = sum(bool(row["holds"]) for row in goals)
    intervals = "Intervals are 95 % by bootstrap over concepts."
    return [
        "<h2>What was to be shown</h2>",
        f"<p>{held} of {len(goals)} claims hold on this grid. {intervals}</p>",
        table(["", "claim", "measured", "wanted", "concepts"], rows),
    ]


def story_section(stories: Sequence[Story]) -> list[str]:
    """Before and after, in pictures."""
    if not stories:
        return []
    lines = [
        "<h2>In pictures</h2>",
        "<p>Each photograph is edited at its own size by the network that the method gives. L1 below it "
        "is the network's L1 on all test images of the concept; lower is better.</p>",
    ]
    for story in stories:
        split = story.concept.split
        about = f'<span class="soft">({split}: {SPLIT_WORDS.get(split, split)})</span>'
        lines.append(f"<h3>“{escape(story.words)}” {about}</h3>")
        lines.append(
            pictures(
                [figure(story.source, "the photograph"), figure(story.target, "what it should become")],
            )
        )
        lines += stage("Zero steps", [(path, init_words(story, "zero", init)) for init, path in story.zero])
        after = [(path, init_words(story, "after", init)) for init, path in story.after]
        lines += stage("After fine-tuning", after)
    return lines


def stage(title: str, shown: Sequence[tuple[Path, str]]) -> list[str]:
    """One row of pictures with a title; nothing when there are none."""
    if not shown:
        return []
    return [f'<p class="stage">{title}</p>', pictures(figure(path, caption) for path, caption in shown)]


def init_words(story: Story, when: str, init: str) -> str:
    """What stands under a picture: the start, its steps and its test L1."""
    steps = f", {plural(story.steps[init], 'step')}" if when == "after" else ""
    value = story.l1.get((when, init))
    return f"{init}{steps}" + ("" if value is None else f": L1 {number(value)}")


def figure(path: Path, caption: str) -> str:
    with Image.open(path) as image:
        return picture(image, caption)


def curve_section(curves: Sequence[Row]) -> list[str]:
    """Quality against seconds and against steps, two charts per row of the grid."""
    groups: dict[tuple[str, str, int], list[Row]] = {}
    for row in curves:
        groups.setdefault((row["split"], row["mode"], row["pairs"]), []).append(row)
    lines = ["<h2>Quality against time</h2>"] if groups else []
    axes = {"seconds": "seconds, start-up included, one network on one thread", "steps": "training steps"}
    for (split, mode, pairs), rows in groups.items():
        finals = [
            r["l1"][-1] for r in curves if (r["split"], r["pairs"], r["init"]) == (split, pairs, "scratch")
        ]
        level = ("final quality of scratch", finals[0]) if finals and finals[0] else None
        lines.append(
            f"<h3>{split}, {plural(pairs, 'pair')}, {mode} mode, mean of {plural(rows[0]['n'], 'concept')}</h3>"
        )
        for key, label in axes.items():
            drawn = [Line(row["init"], row[key], row["l1"]) for row in rows]
            lines.append(f"<p>{chart(drawn, label, 'test L1', level)}</p>")
    return lines
