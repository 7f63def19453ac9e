"""weightzoo build, download: a whole build of a toy size, its resumption, and what a person can get wrong."""

import json

import pytest

import pipeline.build
import pipeline.presets
import zoo.hub
from pipeline.executors.ray import EXECUTORS
from tests.pipeline.conftest import micro_concepts, micro_config, run_inline
from zoo.concepts import write_concepts


@pytest.fixture(autouse=True)
def small_and_inline(monkeypatch):
    """The preset tiny is one of seconds; fleets run inside the test's process."""
    monkeypatch.setitem(
        EXECUTORS, "local", lambda tasks, fn, workers, max_in_flight=None: run_inline(tasks, fn)
    )
    monkeypatch.setattr(pipeline.build, "run_local", run_inline)
    monkeypatch.setitem(pipeline.presets.PRESETS, "tiny", micro_config)


@pytest.fixture
def concepts(tmp_path):
    write_concepts(tmp_path / "concepts.jsonl", micro_concepts())
    return tmp_path / "concepts.jsonl"


@pytest.fixture
def build(run, tmp_path, concepts):
    def call(*more):
        options = ("--preset", "tiny", "--run-dir", tmp_path / "run", "--concepts", concepts)
        return run("build", *options, *more)

    return call


def test_builds_resumes_and_verifies(build, run, tmp_path):
    first = build("--json")
    assert first.code == 0, first.err
    assert first.json["counts"]["ok"] == 5 and first.json["shards"] == 3
    files = {path: path.read_bytes() for path in (tmp_path / "run" / "weights").iterdir()}
    assert run("inspect", tmp_path / "run", "--verify").code == 0

    next(iter(files)).unlink()
    (tmp_path / "run" / "manifest.json").unlink()
    assert "5 of 5 concepts" in build().out
    assert {path: path.read_bytes() for path in (tmp_path / "run" / "weights").iterdir()} == files

    (tmp_path / "config.json").write_text(json.dumps({"training": {"steps": 4}}))
    other = build("--config", tmp_path / "config.json")
    assert other.code == 2 and "training.steps: 3 -> 4" in other.error


def test_ctrl_c_keeps_what_is_finished(build, tmp_path, monkeypatch):
    def stop_after_one(tasks, fn, workers, max_in_flight=None):
        yield from run_inline([next(tasks)], fn)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setitem(EXECUTORS, "local", stop_after_one)
        stopped = build()
    assert stopped.code == 130 and "1 of 3 fleets" in stopped.error
    kept = next((tmp_path / "run" / "weights").iterdir())
    before = kept.stat().st_mtime_ns
    assert build().code == 0
    assert kept.stat().st_mtime_ns == before


def test_disk_that_is_full_at_every_write(build, run, tmp_path, full_disk):
    """Attempt n has room for n files; what is finished stays, and the end is that of a quiet build."""
    for attempt in range(40):
        full_disk.room = attempt
        result = build()
        if result.code == 0:
            break
        assert result.code == 1 and "No space left" in result.err.splitlines()[-1]
    assert 2 < attempt < 39
    assert run("inspect", tmp_path / "run", "--verify").code == 0
    crowded = {path.name: path.read_bytes() for path in (tmp_path / "run" / "weights").iterdir()}
    full_disk.room = 1000
    assert build("--run-dir", tmp_path / "quiet").code == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "quiet" / "weights").iterdir()} == crowded


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (("--preset", "huge"), "is not one of 'tiny', 'small', 'paper'"),
        (("--executor", "magic"), "is not one of 'local', 'ray'"),
        (("--teacher", "painter"), "is not one of 'filters', 'instruct_pix2pix', 'pairs'"),
    ],
)
def test_unknown_names(run, tmp_path, more, text):
    result = run("build", "--run-dir", tmp_path / "run", *more)
    assert result.code == 2 and text in result.err


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ('{"steps": 3}', "unknown key 'steps'"),
        ('{"training": {"stepz": 3}}', "unknown key 'stepz'"),
        ('{"image_size": "big"}', "image_size: expected int"),
        ("[1]", "no JSON object"),
        ("{", "not valid JSON"),
    ],
)
def test_wrong_config_files(build, tmp_path, content, text):
    (tmp_path / "config.json").write_text(content)
    result = build("--config", tmp_path / "config.json")
    assert result.code == 2 and text in result.error and "config.json" in result.error


def test_dry_run_prints_the_plan(run, monkeypatch):
    import pipeline.upkeep.calibrate

    monkeypatch.setattr(pipeline.upkeep.calibrate, "run_local", run_inline)
    result = run("build", "--preset", "tiny", "--dry-run", "--json")
    assert result.code == 0, result.err
    assert result.json["concepts"] == 6 and result.json["minutes"] >= 0
    assert result.json["fleets"] >= 3 and result.json["bytes"] > 0 and result.json["gpu_hours"] == 0


@pytest.mark.parametrize(
    ("options", "workers"),
    [
        (("--device", "cuda"), 1),  # two local fleets would share one GPU's memory
        (("--executor", "ray", "--gpus-per-fleet", "0.5", "--workers", "8"), 8),
        ((), 3),
    ],
)
def test_workers_by_default(run, monkeypatch, options, workers):
    import pipeline.upkeep.calibrate

    asked = []
    monkeypatch.setattr("cli.console.executor_options.cores", lambda: 3)
    monkeypatch.setattr(pipeline.upkeep.calibrate, "calibrate", lambda *given: asked.append(given[2]) or {})
    assert run("build", "--preset", "tiny", "--dry-run", *options).code == 0
    assert asked == [workers]


def test_download_copies_and_verifies(run, world, tmp_path, monkeypatch):
    (tmp_path / "embedded").mkdir()
    (tmp_path / "embedded" / "weightzoo-small").symlink_to(world / "zoo")
    monkeypatch.setattr(zoo.hub.embedded, "EMBEDDED_DIR", tmp_path / "embedded")
    for _ in range(2):
        result = run("download", "weightzoo-small", "-o", tmp_path / "copy", "--json")
        assert result.code == 0 and result.json["counts"]["ok"] == 10
    assert run("inspect", tmp_path / "copy", "--verify").code == 0
    unknown = run("download", "weightzoo-huge", "-o", tmp_path / "other")
    assert unknown.code == 2 and "weightzoo-small" in unknown.error
