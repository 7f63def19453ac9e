"""weightzoo evaluate and demo: the tables, the report, resumption, and what a person can get wrong."""

import shutil

import pytest

import cli.demo
import pipeline.executors.ray
import weightgen.evaluation.grid
import weightgen.report.pictures
from cli.console.tables import show
from tests.pipeline.conftest import run_inline
from tests.weightgen.evaluation.toy_evaluation import make_world, thumbnails, toy_grid
from weightgen.evaluation.grid import FinetuneRow
from zoo.manifest import collect_manifest, write_manifest


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    world = make_world(tmp_path_factory.mktemp("toy"))
    write_manifest(world / "zoo", collect_manifest(world / "zoo"))  # the world has changed the zoo's config
    return world


def small_grid():
    row = FinetuneRow("combination", 8, "full", ("scratch", "base", "polished"), 1, 4, 4)
    inits = ("copy", "scratch", "base", "kernel_ridge", "polished")
    return toy_grid(inits=inits, finetune=(row,), four_prompts=(), own_concepts=0, fleet_sizes=(1,))


@pytest.fixture
def inline(monkeypatch):
    """Cells run inside the test's process; KID is measured on thumbnails; pictures are not edited."""
    monkeypatch.setattr(
        weightgen.report.pictures, "apply_to_photo", lambda w, photo, out: shutil.copy(photo, out)
    )
    monkeypatch.setattr(pipeline.executors.ray, "run_local", run_inline)
    monkeypatch.setitem(weightgen.evaluation.grid.GRIDS, "tiny", small_grid)
    with thumbnails():
        yield


@pytest.fixture
def evaluate(run, toy, tmp_path):
    def call(*more):
        common = ("--model", toy / "models", "--data", toy / "zoo", "--grid", "tiny", "-o", tmp_path / "out")
        return run("evaluate", *common, "--pairs", toy / "heldout", "--pairs", toy / "external", *more)

    return call


def test_tables_report_and_resumption(evaluate, inline, tmp_path):
    first = evaluate()
    assert first.code == 0, first.err
    assert "combination, 3 concepts: 0 steps" in first.out and "kernel_ridge" in first.out
    assert "fine correlation" in first.out and "SSIM" in first.out
    assert "How much sooner" in first.out
    report = tmp_path / "out" / "report" / "index.html"
    assert report.is_file() and str(report) in first.out
    cells = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "cells").iterdir()}
    again = evaluate("--json")
    assert again.json["grid"]["name"] == "toy" and again.json["zero_step"]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "cells").iterdir()} == cells


def test_one_split_without_fine_tuning(evaluate, inline):
    result = evaluate("--split", "external", "--zero-steps-only", "--json")
    assert result.code == 0, result.err
    assert {row["split"] for row in result.json["zero_step"]} == {"external"} and not result.json["curves"]


def test_wrong_input(evaluate, run, toy, tmp_path):
    assert "is not one of 'tiny', 'reduced', 'full'" in evaluate("--grid", "huge").err
    assert "takes no --choose-rates" in evaluate("--zero-steps-only", "--choose-rates").error
    assert "is not one of 'combination', " in evaluate("--split", "train").err
    assert "--choose-rates takes no --rates" in evaluate("--choose-rates", "--rates", tmp_path / "r.json").error
    twice = evaluate("--model", toy / "models" / "polished").error
    assert "would both be called 'polished'" in twice and str(toy / "models" / "polished") in twice
    absent = run("evaluate", "--model", tmp_path / "m", "--data", toy / "zoo", "-o", tmp_path / "o")
    assert absent.code == 2


def test_unreached_is_said_and_absent_is_a_dash(capsys, tmp_path):
    row = {"split": "value", "pairs": 16, "mode": "full", "quality_at": 100, "l1_factor": 1.0, "n": 6}
    row |= {
        "init": "base",
        "over": "scratch",
        "median": 0.0,
        "reached_count": 2,
        "final_l1_ratio": 1.2,
    }
    zero = [{"split": "value", "init": "base", "prompts": 1, "l1": 0.1, "kid": None, "n": 6}]
    show({"zero_step": zero, "speedup": [row]}, tmp_path / "index.html")
    out = capsys.readouterr().out
    assert "not reached" in out and "2 of 6" in out
    (line,) = (line.split() for line in out.splitlines() if "0.100" in line)
    assert line == ["base", "0.100", "-", "-", "-", "-", "-", "6"]  # an earlier version measured less


@pytest.fixture
def stages(monkeypatch, toy, tmp_path):
    """The demo with stages that only note that they ran."""
    done = []

    def stage(name, result):
        def work(*arguments, **options):
            done.append(name)
            return result

        return work

    monkeypatch.setattr(cli.demo, "build_fresh_fleet", stage("fleet", tmp_path / "fresh"))
    monkeypatch.setattr(cli.demo, "train_generator", stage("train", toy / "models" / "generated"))
    monkeypatch.setattr(cli.demo, "polish_generator", stage("polish", toy / "models" / "polished"))
    return done


def test_demo_runs_once(run, toy, tmp_path, stages, inline, monkeypatch):
    from pipeline.heldout import HeldOutPairs

    pairs = HeldOutPairs((toy / "heldout", toy / "external"))
    monkeypatch.setattr("pipeline.heldout.held_out_pairs", lambda folder, zoo, request: pairs)
    command = ("demo", "--preset", "tiny", "--data", toy / "zoo", "--run-dir", tmp_path / "demo")
    first = run(*command)
    assert first.code == 0, first.err
    assert (
        stages == ["fleet", "train", "train", "polish"]
        and (tmp_path / "demo" / "report" / "index.html").is_file()
    )
    again = run(*command, "--json")
    assert again.json["zero_step"] and stages == ["fleet", "train", "train", "polish"]
    other = run("demo", "--preset", "small", "--data", toy / "zoo", "--run-dir", tmp_path / "demo")
    assert other.code == 2 and "holds a demo with other settings" in other.error


def test_demo_refuses_a_damaged_zoo(run, toy, tmp_path):
    damaged = shutil.copytree(toy / "zoo", tmp_path / "zoo")
    (damaged / "layout.json").unlink()
    result = run("demo", "--preset", "tiny", "--data", damaged, "--run-dir", tmp_path / "demo")
    assert result.code == 2 and "layout.json" in result.err
