"""The build: complete, resumable to the same bytes, and no concept is ever lost."""

import dataclasses
import errno
import json
import os
import shutil
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from pipeline.build import build, make_base
from pipeline.executors.attempts import Outcome
from pipeline.executors.process import prepare_process
from pipeline.executors.ray import EXECUTORS
from pipeline.fleets.base_gan import start_base, train_base
from pipeline.fleets.fleet import _gate
from pipeline.run_folder.freeze import freeze
from pipeline.run_folder.shard_plan import plan_fleets
from tests.pipeline.conftest import micro_concepts, run_inline
from zoo import files
from zoo.concepts import Concept, write_concepts
from zoo.errors import Interrupted, WeightzooError
from zoo.manifest import MANIFEST_FILE, read_rejected
from zoo.run import open_zoo
from zoo.training.batches import material_of
from zoo.verify import verify_run


def contents(run_dir):
    """Every file of a run but its logs."""
    names = sorted(path.relative_to(run_dir) for path in run_dir.rglob("*") if path.is_file())
    return {name.as_posix(): (run_dir / name).read_bytes() for name in names if name.parts[0] != "logs"}


def broken(how, name="broken"):
    recipe = [{"op": "invert"}]
    return Concept(name, "Break it", (), {"recipe": recipe, "strength": 0.3, "break": how})


def test_a_build_is_complete_and_sound(micro_zoo, micro):
    assert verify_run(micro_zoo) == []
    zoo = open_zoo(micro_zoo)
    assert [entry.name for entry in zoo.manifest.shards] == [
        "weights/train-00000-of-00002.parquet",
        "weights/train-00001-of-00002.parquet",
        "weights/validation-00000-of-00001.parquet",
    ]
    assert [record.concept_id for record in zoo.records("train")] == ["invert-2", "invert-3", "invert-4"]
    assert [record.concept_id for record in zoo.records("validation")] == ["check-1", "check-2"]
    assert zoo.manifest.counts == {
        "concepts": 5,
        "ok": 5,
        "rejected": 0,
        "failed": 0,
        "ok/train": 3,
        "ok/validation": 2,
    }
    record = next(zoo.records("train"))
    assert (record.step, record.attempt, record.seed) == (micro.training.steps, 1, micro.training.seed)
    assert record.metrics["l1_copy"] > 0.05


def test_the_same_call_again_does_nothing(micro_zoo, micro, monkeypatch):
    monkeypatch.setitem(EXECUTORS, "local", None)
    before = contents(micro_zoo)
    build(micro_zoo, micro, micro_concepts())
    assert contents(micro_zoo) == before


def test_missing_shards_come_back_byte_for_byte(micro_zoo, micro, inline, tmp_path):
    run_dir = tmp_path / "run"
    shutil.copytree(micro_zoo, run_dir)
    for name in ("weights/train-00001-of-00002.parquet", "README.md", MANIFEST_FILE):
        (run_dir / name).unlink()
    (run_dir / "weights" / ".train-00001-of-00002.99999999.tmp.parquet").write_bytes(b"half")
    build(run_dir, micro, micro_concepts())
    assert contents(run_dir) == contents(micro_zoo)


def test_a_build_by_worker_processes_is_the_same(micro_zoo, micro, tmp_path):
    build(tmp_path / "again", micro, micro_concepts())
    assert contents(tmp_path / "again") == contents(micro_zoo)


def test_the_base_is_trained_on_the_device_of_the_fleets(micro, tmp_path):
    freeze(tmp_path, micro, micro_concepts())
    jobs = []

    def run(tasks, fn):
        jobs.extend(tasks)
        yield Outcome(jobs[0], 1.0)

    make_base(tmp_path, run=run, device="cuda")
    assert jobs == [(str(tmp_path), "cuda")]


@pytest.mark.gpu
def test_a_base_from_a_gpu_comes_back_to_the_cpu(micro):
    targets = torch.rand(2, 4, 3, 16, 16)
    start = start_base(micro.generator_config(), micro.discriminator, seed=0)
    networks = train_base(*start, material_of(start[0], targets[0], targets), micro.base, "cuda")
    assert {str(value.device) for part in networks for value in part.state_dict().values()} == {"cpu"}


def test_an_error_closes_the_executor_before_it_is_heard(micro, tmp_path):
    freeze(tmp_path, micro, micro_concepts())
    closed = []

    def run(tasks, fn):
        try:
            yield Outcome(tasks[0], error="no")
        finally:
            closed.append(True)

    with pytest.raises(WeightzooError, match="was not trained") as caught:
        make_base(tmp_path, run=run)
    assert closed == [True] and caught


def test_a_frozen_folder_refuses_another_build(micro_zoo, micro):
    training = dataclasses.replace(micro.training, steps=4)
    with pytest.raises(WeightzooError, match=r"frozen with another config \(training.steps: 3 -> 4\)"):
        build(micro_zoo, dataclasses.replace(micro, training=training), micro_concepts())
    with pytest.raises(WeightzooError, match=r"the first difference is line 5 \(check-2 -> \(none\)\)"):
        build(micro_zoo, micro, micro_concepts()[:-1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gan": "e2gan", "generator": {"channels": [16, 32, 50, 64]}}, "no networks of this config can be made"),
        ({"generator": {"branches": ["brush"]}}, "a generator with a branch 'brush'"),
        ({"feature_network": "resnet"}, "feature_network 'resnet' is unknown"),
        ({"teacher": "painter"}, "teacher 'painter' is unknown"),
        ({"train_photos": "absent"}, "no folder of photographs"),
        ({"train_photos": "broken"}, "x.png is not a readable image"),
        ({"fleet_size": 10**9}, "lower fleet_size"),
    ],
)
def test_a_launch_that_cannot_begin_freezes_nothing(micro, tmp_path, monkeypatch, changes, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "x.png").write_text("no picture")
    with pytest.raises(WeightzooError, match=message):
        freeze(tmp_path / "run", dataclasses.replace(micro, **changes), micro_concepts())
    assert contents(tmp_path / "run") == {}
    freeze(tmp_path / "run", micro, micro_concepts())


@pytest.mark.parametrize("writes", range(5))
def test_a_launch_that_was_stopped_while_it_froze_binds_nobody(micro, tmp_path, monkeypatch, writes):
    replace, allowed = os.replace, [True] * writes

    def replace_or_stop(source, target):
        if not allowed:
            raise KeyboardInterrupt
        allowed.pop()
        replace(source, target)

    (tmp_path / "photos").mkdir()
    Image.new("RGB", (40, 40)).save(tmp_path / "photos" / "x.png")
    own = dataclasses.replace(micro, test_photos=str(tmp_path / "photos"))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(files.os, "replace", replace_or_stop)
        freeze(tmp_path / "run", own, micro_concepts())
    other = dataclasses.replace(micro, generator=micro.generator | {"lora_rank": 8}, train_photos="test")
    for folder in ("run", "fresh"):
        freeze(tmp_path / folder, other, micro_concepts()[1:])
    assert contents(tmp_path / "run") == contents(tmp_path / "fresh")


def test_a_person_s_own_list_of_concepts_is_not_overwritten(micro, tmp_path):
    write_concepts(tmp_path / "concepts.jsonl", micro_concepts()[1:])
    before = contents(tmp_path)
    with pytest.raises(WeightzooError, match="the first difference is line 1"):
        freeze(tmp_path, micro, micro_concepts())
    assert contents(tmp_path) == before
    freeze(tmp_path, micro, micro_concepts()[1:])


def test_kid_needs_two_test_crops(micro):
    with pytest.raises(WeightzooError, match="num_test_crops is 1; it must be at least 2"):
        dataclasses.replace(micro, num_test_crops=1)


def test_the_gate_lets_no_weight_through_that_verification_refuses(micro):
    result = SimpleNamespace(diverged=torch.zeros(1), reasons=[None])
    metrics = {"l1": 0.0, "l1_copy": 1.0, "psnr": 9.0, "kid": 0.0}
    for largest, reason in ((100.0, None), (-100.5, "a weight of 100.5 is beyond +-100")):
        blocks = torch.zeros(2, 4).half()
        blocks[1, 2] = largest
        assert _gate(micro, result, blocks, metrics, 0) == reason


def test_other_photographs_are_refused(micro_zoo, micro, tmp_path):
    run_dir = tmp_path / "run"
    shutil.copytree(micro_zoo, run_dir)
    path = run_dir / "photographs.json"
    path.write_text(path.read_text().replace("coffee", "tea"))
    with pytest.raises(WeightzooError, match="photographs differ.*train.coffee.jpg"):
        build(run_dir, micro, micro_concepts())


def test_what_cannot_be_made_is_a_row_with_a_reason(micro, inline, tmp_path):
    concepts = [*micro_concepts(), broken("nan", "poison"), broken("raise", "odd"), broken("refuse", "no")]
    manifest = build(tmp_path / "run", micro, concepts)
    assert {key: manifest.counts[key] for key in ("concepts", "ok", "rejected", "failed")} == {
        "concepts": 8,
        "ok": 5,
        "rejected": 1,
        "failed": 2,
    }
    rows = {row["concept_id"]: row for row in read_rejected(tmp_path / "run")}
    assert rows["poison"]["reason"].endswith("gradient not finite at step 0")
    assert (rows["poison"]["attempt"], rows["poison"]["strength"]) == (2, 0.3)
    assert rows["odd"]["reason"] == "the teacher failed: ValueError: cannot"
    assert rows["no"]["reason"] == "not this one"
    assert verify_run(tmp_path / "run") == []
    card = (tmp_path / "run" / "README.md").read_text()
    assert "| 0.3 | 3 | 0 | 1 | 2 |" in card


def test_a_poisoned_concept_does_not_touch_its_fleet(micro_zoo, micro, inline, tmp_path):
    concepts = micro_concepts()
    poisoned = [broken("nan") if concept.id == "invert-3" else concept for concept in concepts]
    build(tmp_path / "run", micro, poisoned, base_from=micro_zoo / "base")
    assert [row["concept_id"] for row in read_rejected(tmp_path / "run")] == ["broken"]
    own, expected = (
        next(open_zoo(tmp_path / "run").records("train")),
        next(open_zoo(micro_zoo).records("train")),
    )
    assert own == expected


def test_the_gate_rejects_what_is_worse_than_copy_and_median(micro, micro_zoo, inline, tmp_path):
    strict = dataclasses.replace(micro, median_l1=1e-6)
    mild = Concept("mild", "Hardly", (), {"recipe": [{"op": "invert"}], "strength": 0.001})
    build(tmp_path / "run", strict, [micro_concepts()[0], mild], base_from=micro_zoo / "base")
    (record,) = open_zoo(tmp_path / "run").records()
    assert (record.concept_id, record.attempt) == ("invert-2", 1)
    assert record.metrics["l1"] <= record.metrics["l1_copy"]
    (row,) = read_rejected(tmp_path / "run")
    assert (row["concept_id"], row["attempt"]) == ("mild", 2)
    assert row["reason"].startswith("l1 ") and row["metrics"]["l1"] > row["metrics"]["l1_copy"]


def test_a_fresh_fleet_on_the_same_base(micro, micro_zoo, inline, tmp_path):
    fresh = [Concept("fresh", "Something new", (), {"recipe": [{"op": "invert"}], "strength": 0.9})]
    config = dataclasses.replace(micro, name="fresh")
    manifest = build(tmp_path / "run", config, fresh, base_from=micro_zoo / "base")
    assert manifest.base_sha256 == open_zoo(micro_zoo).manifest.base_sha256
    assert manifest.layout_id == open_zoo(micro_zoo).manifest.layout_id
    wide = dataclasses.replace(config, generator=micro.generator | {"lora_rank": 8})
    with pytest.raises(WeightzooError, match="another architecture .*lora_rank: 8 -> 3"):
        build(tmp_path / "wide", wide, fresh, base_from=micro_zoo / "base")


def test_ctrl_c_keeps_what_is_finished(micro, micro_zoo, inline, tmp_path, monkeypatch):
    def stop_after_one(tasks, fn, workers):
        task = next(tasks)
        yield Outcome(task, fn(task))
        raise KeyboardInterrupt

    run_dir = tmp_path / "run"
    monkeypatch.setitem(EXECUTORS, "local", stop_after_one)
    with pytest.raises(
        Interrupted, match="1 of 3 fleets finished and kept .* run the same command again"
    ):
        build(run_dir, micro, micro_concepts())
    monkeypatch.setitem(EXECUTORS, "local", run_inline)
    build(run_dir, micro, micro_concepts())
    assert contents(run_dir) == contents(micro_zoo)


def test_a_full_disk_at_any_write_loses_nothing(micro, micro_zoo, inline, tmp_path, monkeypatch):
    run_dir, replace, allowed = tmp_path / "run", os.replace, []
    concepts = [micro_concepts()[0], broken("refuse")]
    build(tmp_path / "whole", micro, concepts, base_from=micro_zoo / "base")

    def replace_or_fail(source, target):
        if not allowed:
            raise OSError(errno.ENOSPC, "No space left on device")
        allowed.pop()
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", replace_or_fail)
    for writes in range(20):
        allowed[:] = [True] * writes
        try:
            build(run_dir, micro, concepts, base_from=micro_zoo / "base")
            break
        except WeightzooError as error:
            assert "No space left on device; free some space" in str(error)
            assert not (run_dir / MANIFEST_FILE).exists()
            assert not list(run_dir.rglob("*.tmp*"))
    else:
        raise AssertionError("the build never ended")
    assert contents(run_dir) == contents(tmp_path / "whole")


def test_failing_fleets_stop_the_build_and_are_logged(micro, inline, tmp_path, monkeypatch):
    def fail(tasks, fn, workers):
        for task in tasks:
            yield Outcome(task, error="no GPU; plug one in", details="Traceback ...")

    monkeypatch.setitem(EXECUTORS, "local", fail)
    with pytest.raises(
        WeightzooError, match=r"3 of 3 fleets failed, the first \(train-00000-of-00002\) because: no"
    ):
        build(tmp_path / "run", micro, micro_concepts())
    events = [json.loads(line) for line in (tmp_path / "run/logs/events.jsonl").read_text().splitlines()]
    assert events[-1]["details"] == "Traceback ..."


def test_the_plan_is_decided_by_the_order_of_the_concepts(micro, tmp_path):
    tasks = plan_fleets(tmp_path, micro, micro_concepts())
    members = [(task.stem, [concept.id for concept in task.concepts]) for task in tasks]
    assert members == [
        ("train-00000-of-00002", ["invert-2", "invert-3"]),
        ("train-00001-of-00002", ["invert-4"]),
        ("validation-00000-of-00001", ["check-1", "check-2"]),
    ]


def test_nothing_tells_the_time(micro_zoo):
    prepare_process()
    for name, data in contents(micro_zoo).items():
        assert str(micro_zoo).encode() not in data, name
        assert b"seconds" not in data, name
