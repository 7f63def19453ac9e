"""weightzoo build with a team's own concepts, photographs and pairs; extend, repair, what Ray is told."""

import json

import pytest
import torch

import pipeline.build
import pipeline.presets
from cli.build import next_step
from pipeline.executors.ray import EXECUTORS
from pipeline.run_folder.private_paths import read_config
from tests.pipeline.conftest import micro_config, run_inline
from tests.pipeline.fake_fleet import fake_concepts, fake_fleet, write_fake_base
from zoo.concepts import Concept, write_concepts
from zoo.manifest import load_manifest
from zoo.pictures.pairs import write_pairs


@pytest.fixture(autouse=True)
def fake_fleets_inline(monkeypatch):
    """The preset tiny is one of seconds; fleets are fake ones and run inside the test's process."""
    inline = lambda tasks, fn, workers, **_: run_inline(tasks, fake_fleet)  # noqa: E731
    monkeypatch.setitem(EXECUTORS, "local", inline)
    monkeypatch.setattr(pipeline.build, "run_local", run_inline)
    monkeypatch.setitem(pipeline.presets.PRESETS, "tiny", micro_config)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_fake_base(tmp_path_factory.mktemp("base"), micro_config())


@pytest.fixture
def build(run, tmp_path, base):
    """A first build of four concepts in RUN; returns what the command says."""

    def call(*more, concepts=None):
        write_concepts(tmp_path / "own.jsonl", concepts or fake_concepts(4))
        options = ("--preset", "tiny", "--run-dir", tmp_path / "run", "--concepts", tmp_path / "own.jsonl")
        return run("build", *options, "--base-from", base, "--json", *more)

    return call


def test_extend_and_repair(build, run, tmp_path):
    assert build().json["counts"]["ok"] == 4
    old = {path: path.read_bytes() for path in (tmp_path / "run" / "weights").iterdir()}
    write_concepts(tmp_path / "more.jsonl", fake_concepts(7)[4:])
    extended = run("extend", tmp_path / "run", "--concepts", tmp_path / "more.jsonl", "--json")
    assert extended.code == 0 and extended.json["counts"]["ok"] == 7, extended.err
    assert {path: path.read_bytes() for path in old} == old

    shard = next(iter(old))
    shard.write_bytes(shard.read_bytes()[:-9])
    assert run("inspect", tmp_path / "run", "--verify").code == 1
    mended = run("repair", tmp_path / "run")
    assert mended.code == 0 and "7 of 7 concepts" in mended.out
    assert {path: path.read_bytes() for path in old} == old
    assert run("inspect", tmp_path / "run", "--verify").code == 0


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--dry-run", "--run-dir", "r"), "--dry-run takes no --run-dir"),
        (("--dry-run", "--executor", "ray", "--address", "auto"), "--dry-run takes no --address"),
        (("--dry-run", "--executor", "ray"), "give --workers"),
        (("--address", "auto"), "--address is an option of --executor ray"),
        (("--gpus-per-fleet", "0.25"), "--gpus-per-fleet is an option of --executor ray"),
        (("--teacher", "pairs"), "in it, with --photos"),
        (("--teacher", "cube"), "write --teacher cube DIR"),
        (("--teacher", "callable"), "write --teacher callable package.module:function"),
        (("--teacher", "command", "--run", "x {source} {target} {id}"), "needs --concepts, a JSONL file"),
        (("looks",), "the teacher 'filters' takes no 'looks'"),
        (("--run", "x"), "--run is an option of --teacher command"),
    ],
)
def test_options_that_do_not_go_together(run, options, text):
    result = run("build", *options)
    assert result.code == 2 and text in result.error


@pytest.mark.parametrize("command", [("extend", "RUN", "--concepts", "c.jsonl"), ("repair", "RUN")])
def test_extend_and_repair_have_the_options_of_executors(run, command):
    result = run(*command, "--address", "auto")
    assert result.code == 2 and "--address is an option of --executor ray" in result.error


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        (("--address", "auto", "--workers", "6"), 6),
        (("--address", "auto"), None),
        (("--workers", "6"), None),  # the cores of the cluster that is started here
    ],
)
def test_workers_are_the_limit_on_a_cluster(build, monkeypatch, options, limit):
    asked = {}
    monkeypatch.setattr(pipeline.build, "complete", lambda *_, **given: asked.update(given) or load_manifest("absent"))
    build("--executor", "ray", *options)
    assert asked["max_in_flight"] == limit


def test_the_next_step_of_a_run_in_a_store():
    assert "--verify; weightzoo train --data runs/a " in next_step("runs/a")
    assert next_step("s3://b/a").startswith("next: copy s3://b/a to a local folder")


def test_own_photographs(build, tmp_path):
    from PIL import Image

    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(6):
        Image.new("RGB", (40, 40), (40 * i, 0, 0)).save(folder / f"{i}.png")
    assert build("--photos", folder).code == 0
    config = read_config(tmp_path / "run")
    assert config.train_photos == config.test_photos == str(folder)
    hashes = json.loads((tmp_path / "run" / "photographs.json").read_text())
    assert len(hashes["train"]) == 5 and len(hashes["test"]) == 1


def test_own_pairs_and_a_prompt_that_has_none(build, run, tmp_path, monkeypatch):
    monkeypatch.setitem(EXECUTORS, "local", lambda tasks, fn, workers, **_: run_inline(tasks, fn))
    greys = torch.rand(4, 3, 20, 20)
    write_pairs(tmp_path / "pairs" / "ours", list("abcd"), greys, 1 - greys)
    concepts = [Concept("ours", "What we do"), Concept("nothing", "What nobody did")]
    result = build("--teacher", "pairs", "--photos", tmp_path / "pairs", concepts=concepts)
    assert result.json["counts"] | {"ok/train": 1} == {
        "concepts": 2,
        "ok": 1,
        "rejected": 0,
        "failed": 1,
        "ok/train": 1,
    }
    (row,) = (tmp_path / "run" / "rejected").iterdir()
    assert "does not exist" in json.loads(row.read_text())["reason"]


def test_what_ray_is_told(build, run, tmp_path, monkeypatch):
    told = {}
    monkeypatch.setattr(pipeline.build, "open_executor", lambda *a, **k: told.update(k) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        build("--executor", "ray", "--address", "auto", "--gpus-per-fleet", "0.25", "--workers", "7")
    assert told == {"address": "auto", "gpus_per_task": 0.25, "max_in_flight": 7}
