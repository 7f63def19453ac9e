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
from weightgen.report.chart import chart
from weightgen.report.report import render, write_report
from weightgen.report.tables import budget_tables, number, tables
from zoo.errors import WeightzooError
from zoo.files import read_json
from zoo.pictures.pairs import write_pairs

VOID = {"meta", "img", "br"}


OVER_SCRATCH = ("polished", "scratch", 100, 1.0)
LINKS = ("src", "href", "xlink:href")


class Balanced(HTMLParser):
    """Checks that every tag is closed, and notes what refers to somewhere else."""

    def __init__(self):
        super().__init__()
        self.open, self.outside = [], []

    def handle_starttag(self, tag, attrs):
        self.outside += [
            value for name, value in attrs if name in LINKS and not value.startswith(("data:", "#"))
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


@pytest.fixture(scope="module")
def report(finished):
    return write_report(finished)


def test_the_report_is_one_complete_file(finished, report):
    assert report == finished / "report" / "index.html"
    text = report.read_text(encoding="utf-8")
    parser = Balanced()
    parser.feed(text)
    assert parser.open == [] and parser.outside == []
    assert "<script" not in text and not re.search(r"url\((?!#)", text) and "{{" not in text
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
    assert all(max(size) >= report_pictures.SMALLEST for size in sizes)


def test_pictures_are_made_once(finished, report):
    before = {path: path.stat().st_mtime_ns for path in (finished / "pictures").rglob("*.png")}
    assert before and not list((finished / "pictures").rglob("*.safetensors"))
    write_report(finished, finished / "elsewhere")
    assert (finished / "elsewhere" / "index.html").exists()
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_the_picture_of_examples_has_a_row_per_story(finished, report):
    rows = len(list((finished / "pictures").glob("*/after-polished.png")))
    with Image.open(report.parent / "examples.jpg") as image:
        assert image.width > 5 * 256 and 0 < image.height - 256 * rows < 26 + 30 * rows + 10


def test_a_report_of_nothing_is_an_error(tmp_path):
    with pytest.raises(WeightzooError, match="evaluation.json"):
        write_report(tmp_path)


@pytest.fixture
def results(finished):
    return read_json(finished / "evaluation.json")


def test_what_is_missing_or_failed_is_said(results):
    assert 'class="note"' not in render(results)
    results |= {"absent": ["generated_unet1d"], "failures": [{"cell": "own-a", "reason": "diverged <here>"}]}
    results["cut"] = [{"split": "combination", "mode": "full", "pairs": 16, "concepts": 2, "planned": 6}]
    results["final"][0] |= {"diverged": 1, "l1": None}
    text = render(results)
    assert text.count('class="note"') == 4
    assert "absent: generated_unet1d" in text and "diverged &lt;here&gt;" in text and "Only 2 of 6" in text
    assert "1 fine-tuning diverged" in text


def test_an_evaluation_of_an_earlier_version_is_shown_without_the_figures_that_it_lacks(results):
    for rows in (results["zero_step"], results["final"], results["near_duplicates"]):
        for row in rows:
            for name in ("ssim", "fine_energy", "fine_correlation"):
                del row[name]
    for row in results["zero_step"]:
        del row["pairs"]
    text = render(results | {"format_version": 2})
    assert "fine energy" in text and "<td>–</td>" in text


def test_a_cell_that_failed_does_not_cost_the_report(finished, tmp_path):
    lost = next((finished / "cells").glob("zero-combination-base-1.json"))
    content = lost.read_bytes()
    lost.unlink()
    try:
        assert write_report(finished, tmp_path).is_file()
    finally:
        lost.write_bytes(content)


def test_misses_come_first(results):
    results["goals"] = [
        {"claim": "a", "wanted": "below 1", "value": 0.5, "holds": True, "n": 3},
        {"claim": "b", "wanted": "below 1", "value": 1.5, "holds": False, "n": 3, "interval": [1.2, 1.9]},
    ]
    text = render(results)
    assert "1 of 2 claims" in text and text.index("does not hold") < text.index(">holds<")
    assert '1.5 <span class="soft">[1.2, 1.9]</span>' in text
    assert "What was to be shown" not in render(results | {"goals": []})


@pytest.mark.parametrize(
    ("lower", "upper", "shown"), [(1, 0, "≥ 12"), (0, 1, "≤ 12"), (1, 1, "about 12"), (0, 0, "12")]
)
def test_a_speedup_that_is_only_a_bound_is_marked(results, lower, upper, shown):
    (row,) = [r for r in results["speedup"] if (r["init"], r["over"], r["quality_at"], r["l1_factor"]) == OVER_SCRATCH]
    row |= {"median": 12.0, "iqr": [8.0, None], "reached_count": 1, "n": 2}
    row |= {"lower_bounds": lower, "upper_bounds": upper}
    ((_, rows), *_) = tables(results)["speed"]
    (found,) = [r for r in rows if r["init"] == "polished"]
    assert (found["times"], found["spread"], found["who"]) == (shown, "8 – –", "1 of 2")
    assert f"<td>{shown}</td>" in render(results)


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
    (few, columns, cells), (many, _, others) = budget_tables(rows)
    assert "16 pairs" in few and "256 pairs, 2 concepts" in many
    assert [title for title, _ in columns] == ["start", "25 steps", "60 steps"]
    assert cells == [
        {"init": "base", "25 steps": "0.08 in 2.5 s", "60 steps": ""},
        {"init": "polished", "25 steps": "0.06 in 2.5 s", "60 steps": "0.035 in 6 s"},
    ]
    assert others == [{"init": "polished", "150 steps": "0.03 in 15 s"}]


def test_numbers_are_short_and_what_is_absent_is_a_dash():
    shown = [number(v) for v in (0.12345, 12345.0, None, float("nan"), 3)]
    assert shown == ["0.123", "12345", "–", "–", "3"]


def test_charts_leave_out_what_is_not_there():
    assert chart({"a": ([0, 1], [None, None])}, "x", "y") == ""
    curves = {"a<b": ([0, 1, 2], [0.3, None, 0.1]), "c": ([0, 2], [0.2, 0.15]), "d": ([0], [None])}
    svg = chart(curves, "s", "L1", ("level", 0.12))
    parser = Balanced()
    parser.feed(svg)
    assert parser.open == [] and parser.outside == [] and "nan" not in svg
    names = re.findall(r"(?<=>)(a&lt;b|c|d|level)(?=</text>)", svg)
    assert names == ["c", "a&lt;b", "level"]  # as their lines end, from above
    assert svg == chart(curves, "s", "L1", ("level", 0.12))
