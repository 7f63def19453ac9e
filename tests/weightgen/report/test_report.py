"""The report: one file without outside references, failures stated, charts that are right."""

import base64
import io
import re
import shutil
from html.parser import HTMLParser

import pytest
import torch
from PIL import Image

from tests.weightgen.evaluation.toy_evaluation import config_of, make_world, thumbnails
from weightgen.evaluation.evaluate import evaluate
from weightgen.evaluation.grid import FinetuneRow, Grid
from weightgen.report import pictures as report_pictures
from weightgen.report.chart import Axis, Line, chart, spread_labels, ticks
from weightgen.report.html import number, spread, table
from weightgen.report.report import claims, problems, write_report
from weightgen.report.tables import budget_section, speed_section
from zoo.errors import WeightzooError
from zoo.files import read_json
from zoo.pairs import write_pairs

VOID = {"meta", "img", "br", "path"}


class Balanced(HTMLParser):
    """Checks that every tag is closed, and notes what refers to somewhere else."""

    def __init__(self):
        super().__init__()
        self.open, self.outside = [], []

    def handle_starttag(self, tag, attrs):
        self.outside += [
            value for name, value in attrs if name in ("src", "href") and not value.startswith("data:")
        ]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a small evaluation; `apply` is replaced by a copy."""
    out = tmp_path_factory.mktemp("evaluation")
    row = FinetuneRow("combination", 8, "full", ("scratch", "base", "polished"), 2, 4, 2)
    inits = ("copy", "scratch", "base", "nearest", "polished", "shuffled")
    grid = Grid(
        "toy",
        inits,
        ("polished",),
        (row,),
        test_images=3,
        kid_images=2,
        own_concepts=0,
        points=(0, 2),
        timed_steps=2,
        fleet_sizes=(1, 2),
        resamples=50,
        picture_concepts=1,
        validation_concepts=1,
    )
    larger = tmp_path_factory.mktemp("pictures")
    for name in ("blue", "pink", "teal"):
        write_pairs(larger / f"combination-{name}", ["photo"], *[_pictures()] * 2)
    world = make_world(tmp_path_factory.mktemp("world"))
    with thumbnails(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(report_pictures, "apply_to_photo", lambda weights, photo, out: shutil.copy(photo, out))
        evaluate(config_of(world, grid=grid, pictures_dir=str(larger)), out)
        yield out


def _pictures():
    return torch.rand(1, 3, 400, 500, generator=torch.Generator().manual_seed(0))


def test_the_report_is_one_complete_file(finished):
    path = write_report(finished)
    assert path == finished / "report" / "index.html"
    text = path.read_text(encoding="utf-8")
    parser = Balanced()
    parser.feed(text)
    assert parser.open == [] and parser.outside == []
    assert "<script" not in text and "url(" not in text and "$" not in text
    for wanted in (
        "What was to be shown",
        "In pictures",
        "Zero steps",
        "Time to quality",
        "Not a copy",
        "reduced",
    ):
        assert wanted in text
    sizes = [
        Image.open(io.BytesIO(base64.b64decode(data))).size for data in re.findall(r"base64,([^\"]+)\"", text)
    ]
    # a combination with 2 + 3 pictures at zero steps and 3 after training; value and external with 2 + 3 each
    assert len(sizes) >= 5 + 3 + 5
    assert all(max(size) >= 384 for size in sizes)


def test_pictures_are_made_once(finished):
    write_report(finished)
    before = {path: path.stat().st_mtime_ns for path in (finished / "pictures").rglob("*.png")}
    assert before and not list((finished / "pictures").rglob("*.safetensors"))
    write_report(finished, finished / "elsewhere")
    assert (finished / "elsewhere" / "index.html").exists()
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_the_picture_of_examples_has_a_row_per_story(finished):
    write_report(finished)
    rows = len(list((finished / "pictures").glob("*/after-polished.png")))
    with Image.open(finished / "report" / "examples.jpg") as image:
        assert image.width > 5 * 256 and 0 < image.height - 256 * rows < 26 + 30 * rows + 10


def test_a_report_of_nothing_is_an_error(tmp_path):
    with pytest.raises(WeightzooError, match="evaluation.json"):
        write_report(tmp_path)


def test_what_is_missing_or_failed_is_said(finished):
    results = read_json(finished / "evaluation.json")
    assert problems(results) == []
    results |= {"absent": ["generated_unet1d"], "failures": [{"cell": "own-a", "reason": "diverged <here>"}]}
    results["cut"] = [{"split": "combination", "mode": "full", "pairs": 16, "concepts": 2, "planned": 6}]
    text = " ".join(problems(results))
    assert "generated_unet1d" in text and "diverged &lt;here&gt;" in text and "Only 2 of 6" in text


def test_a_cell_that_failed_does_not_cost_the_report(finished, tmp_path):
    lost = next((finished / "cells").glob("zero-combination-base-1.json"))
    content = lost.read_bytes()
    lost.unlink()
    try:
        assert write_report(finished, tmp_path).is_file()
    finally:
        lost.write_bytes(content)


def test_misses_come_first():
    rows = [
        {"claim": "a", "wanted": "below 1", "value": 0.5, "holds": True, "n": 3},
        {"claim": "b", "wanted": "below 1", "value": 1.5, "holds": False, "n": 3, "interval": [1.2, 1.9]},
    ]
    text = "".join(claims(rows))
    assert "1 of 2 claims" in text and text.index("does not hold") < text.index(">holds<")
    assert claims([]) == []


def test_a_speedup_that_is_only_a_bound_is_marked():
    row = {
        "init": "polished",
        "over": "scratch",
        "split": "combination",
        "pairs": 16,
        "mode": "full",
        "quality_at": 100,
        "l1_factor": 1.0,
        "median": 12.0,
        "iqr": [8.0, None],
        "median_seconds": 6.0,
        "median_first_reach": 11.0,
        "reached": 0.5,
        "reached_count": 1,
        "n": 2,
        "lower_bounds": 1,
        "upper_bounds": 0,
        "median_steps": None,
    }
    text = "".join(speed_section([row]))
    assert "≥ 12" in text and "1 of 2" in text and "8 – –" in text
    assert "≤ 12" in "".join(speed_section([row | {"lower_bounds": 0, "upper_bounds": 1}]))


def test_trainings_of_several_lengths_are_apart_by_pairs_and_may_lack_some():
    def row(init, pairs, steps, l1):
        about = {"split": "combination", "mode": "full", "n": 2, "seconds": steps / 10}
        return {**about, "init": init, "pairs": pairs, "steps": steps, "l1": l1}

    rows = [
        row("polished", 256, 150, 0.03),
        row("polished", 16, 60, 0.035),
        row("base", 16, 25, 0.08),
        row("polished", 16, 25, 0.06),
    ]
    few, many = "".join(budget_section(rows)).split("</table>")[:2]
    texts = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", part) for part in (few, many)]
    assert "16 pairs" in few and "256 pairs" in many
    assert texts[0][:6] == ["start", "25 steps", "60 steps", "base", "0.08 in 2.5 s", ""]
    assert texts[0][6:] == ["polished", "0.06 in 2.5 s", "0.035 in 6 s"]
    assert texts[1] == ["start", "150 steps", "polished", "0.03 in 15 s"]


def test_numbers_and_tables():
    assert [number(v) for v in (0.12345, 12345.0, None, float("nan"), 3, True)] == [
        "0.123",
        "12345",
        "–",
        "–",
        "3",
        "yes",
    ]
    assert "[0.1, 0.3]" in spread({"l1": 0.2, "l1_interval": [0.1, 0.3]}, "l1")
    html = table(["start", "L1"], [["polished", 0.1], ["base", 0.2]], mark="polished")
    assert html.count('class="ours"') == 1


def test_axes_and_ticks():
    axis = Axis(0.0, 100.0, 0.0, 500.0, "root")
    assert axis(0) == 0 and axis(100) == 500 and axis(25) == pytest.approx(250)
    marks = ticks(axis)
    assert marks[0] == 0 and all(b > a for a, b in zip(marks, marks[1:], strict=False)) and len(marks) <= 9
    log = Axis(0.02, 0.4, 400.0, 0.0, "log")
    assert log(0.02) == 400 and log(0.4) == 0


def test_charts_leave_out_what_is_not_there():
    assert chart([Line("a", [0, 1], [None, None])], "x", "y") == ""
    svg = chart(
        [Line("a<b", [0, 1, 2], [0.3, None, 0.1]), Line("c", [0, 2], [0.2, 0.1])], "s", "L1", ("level", 0.15)
    )
    parser = Balanced()
    parser.feed(svg)
    assert parser.open == [] and "a&lt;b" in svg and "nan" not in svg
    heights = [y for _, y in spread_labels({"a": 350.0, "b": 352.0, "c": 353.0})]
    assert all(b - a >= 14 for a, b in zip(heights, heights[1:], strict=False)) and heights[-1] <= 354
