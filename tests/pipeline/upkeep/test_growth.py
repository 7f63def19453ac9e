"""A zoo that grows and is mended: extensions touch no old byte, repairs give back what was lost, nothing is dropped."""

import dataclasses

import pytest

from pipeline.build import build, extend
from pipeline.executors.attempts import Outcome
from pipeline.executors.ray import EXECUTORS
from pipeline.run_folder.private_paths import read_config
from pipeline.run_folder.shard_plan import check_limits, plan_run
from pipeline.upkeep.rebuild import rebuild_fleet
from pipeline.upkeep.repair import repair
from tests.pipeline.fake_fleet import fake_concepts, fake_fleet, write_fake_base
from tests.pipeline.test_build import broken, contents
from zoo.concepts import write_concepts
from zoo.errors import WeightzooError
from zoo.files import sha256_file, write_json
from zoo.hub.limits import MAX_FILES_PER_FOLDER
from zoo.manifest import MANIFEST_FILE, load_manifest, read_rejected, shard_paths, write_manifest
from zoo.run import open_zoo
from zoo.verify import verify_run


def run_and_catch(tasks, fn, workers=1):
    """An executor without processes that reports what a fleet raises."""
    for task in tasks:
        try:
            yield Outcome(task, fn(task))
        except WeightzooError as error:
            yield Outcome(task, error=str(error))
        except Exception as error:
            yield Outcome(task, error=f"{type(error).__name__}: {error}", application=True)


@pytest.fixture(autouse=True)
def inline_fleets(monkeypatch):
    monkeypatch.setitem(EXECUTORS, "local", run_and_catch)


@pytest.fixture(scope="module")
def base(micro, tmp_path_factory):
    return write_fake_base(tmp_path_factory.mktemp("base"), micro)


@pytest.fixture
def zoo_of(micro, base, tmp_path):
    """Build a zoo of fake fleets of two."""

    def call(name, concepts, **more):
        build(tmp_path / name, micro, concepts, base_from=base, fleet=fake_fleet, **more)
        return tmp_path / name

    return call


def hashes(run_dir):
    return {path.name: sha256_file(path) for path in shard_paths(run_dir)}


def test_an_extension_touches_no_byte_of_the_old_shards(zoo_of):
    concepts = fake_concepts(9)
    run_dir = zoo_of("run", concepts[:4])
    before = hashes(run_dir)
    manifest = extend(run_dir, concepts[4:7], fleet=fake_fleet)
    assert hashes(run_dir).items() >= before.items()
    assert sorted(hashes(run_dir).keys() - before.keys()) == [
        "train-g01-00000-of-00002.parquet",
        "train-g01-00001-of-00002.parquet",
    ]
    assert manifest.counts["ok"] == 7 and verify_run(run_dir) == []
    assert {record.concept_id for record in open_zoo(run_dir).records()} == {c.id for c in concepts[:7]}
    extend(run_dir, concepts[7:], fleet=fake_fleet)
    assert "train-g02-00000-of-00001.parquet" in hashes(run_dir) and verify_run(run_dir) == []
    again = zoo_of("run", concepts[:4])  # the first launch's command still goes on with the whole run
    assert verify_run(again) == []


def test_an_extension_goes_on_after_any_interruption(zoo_of, monkeypatch):
    concepts = fake_concepts(6)
    whole, run_dir = zoo_of("whole", concepts[:4]), zoo_of("run", concepts[:4])
    extend(whole, concepts[4:], fleet=fake_fleet)
    for module, name in (("run_folder.freeze", "write_concepts"), ("build", "run_fleets"), ("build", "write_manifest")):

        def stop(*_):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises((KeyboardInterrupt, WeightzooError)):
            patch.setattr(f"pipeline.{module}.{name}", stop)
            extend(run_dir, concepts[4:], fleet=fake_fleet)
        assert not (run_dir / MANIFEST_FILE).exists()
    extend(run_dir, concepts[4:], fleet=fake_fleet)
    assert contents(run_dir) == contents(whole)


def test_an_extension_refuses_what_does_not_fit(zoo_of, tmp_path):
    concepts = fake_concepts(6)
    run_dir = zoo_of("run", concepts[:4])
    with pytest.raises(WeightzooError, match="'c003' occurs 2 times"):
        extend(run_dir, concepts[3:5])
    with pytest.raises(WeightzooError, match="no run folder"):
        extend(tmp_path / "other", concepts)
    (run_dir / MANIFEST_FILE).unlink()
    with pytest.raises(WeightzooError, match="unfinished; complete it"):
        extend(run_dir, concepts[4:])


def damage_shard(run_dir):
    path = shard_paths(run_dir)[1]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate_shard(run_dir):
    path = shard_paths(run_dir)[0]
    path.write_bytes(path.read_bytes()[:-100])


def lose_row(run_dir):
    next((run_dir / "rejected").iterdir()).unlink()


def damage_statistics(run_dir):
    (run_dir / "statistics.safetensors").write_bytes(b"?")


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("damage", [damage_shard, truncate_shard, lose_row, damage_statistics])
def test_damage_is_found_and_repaired(zoo_of, damage, finished):
    run_dir = zoo_of("run", [*fake_concepts(4), broken("nan")])
    whole = contents(run_dir)
    if not finished:
        (run_dir / MANIFEST_FILE).unlink()
    damage(run_dir)
    if finished:
        assert verify_run(run_dir) != []
    repair(run_dir, fleet=fake_fleet)
    assert contents(run_dir) == whole and verify_run(run_dir) == []


def test_a_sound_zoo_is_left_alone_and_a_frozen_file_cannot_be_repaired(zoo_of):
    run_dir = zoo_of("run", fake_concepts(4))
    before = {path: path.stat().st_mtime_ns for path in run_dir.rglob("*")}
    repair(run_dir, fleet=fake_fleet)
    assert {path: path.stat().st_mtime_ns for path in run_dir.rglob("*")} == before
    write_concepts(run_dir / "concepts.jsonl", fake_concepts(3))
    with pytest.raises(WeightzooError, match="concepts.jsonl is damaged and decides all shards"):
        repair(run_dir, fleet=fake_fleet)


def test_a_part_of_a_zoo_is_not_built_on(zoo_of, tmp_path):
    run_dir = zoo_of("run", fake_concepts(4))
    part = {"repo": "team/ours", "revision": "a" * 40, "shards": "1 of 2"}
    write_manifest(run_dir, dataclasses.replace(load_manifest(run_dir), subset=part))
    before = contents(run_dir)
    for change in (
        lambda: repair(run_dir, fleet=fake_fleet),
        lambda: extend(run_dir, fake_concepts(6)[4:], fleet=fake_fleet),
        lambda: rebuild_fleet(run_dir),
        lambda: build(run_dir, read_config(run_dir), fake_concepts(4), fleet=fake_fleet),
    ):
        with pytest.raises(WeightzooError, match="is a part of team/ours, which cannot be built on; download all"):
            change()
    assert contents(run_dir) == before


def test_one_fleet_that_raises_becomes_rows_and_many_stop_the_build(zoo_of, tmp_path):
    concepts = [*fake_concepts(4), broken("raise")]
    run_dir = zoo_of("run", concepts)
    assert open_zoo(run_dir).manifest.counts == {
        "concepts": 5,
        "ok": 4,
        "rejected": 0,
        "failed": 1,
        "ok/train": 4,
    }
    (row,) = read_rejected(run_dir)
    assert row["reason"] == "the fleet's training failed: ValueError: a shape does not fit"
    assert verify_run(run_dir) == []

    many = [broken("raise", f"b{i}") for i in range(6)] + fake_concepts(4)
    with pytest.raises(WeightzooError, match="3 of 5 fleets failed"):
        zoo_of("many", many)
    assert not (tmp_path / "many" / "rejected").exists()
    assert not (tmp_path / "many" / MANIFEST_FILE).exists()


def test_a_lost_concept_stops_the_manifest(micro, base, tmp_path):
    """The accounting: concepts = ok + rejected + failed, checked before the manifest is written."""

    def forgetful(task):
        shorter = dataclasses.replace(task, concepts=task.concepts[:1])
        return fake_fleet(shorter)

    with pytest.raises(WeightzooError, match="'c001' has 0 outcomes instead of one"):
        build(tmp_path / "run", micro, fake_concepts(2), base_from=base, fleet=forgetful)
    assert not (tmp_path / "run" / MANIFEST_FILE).exists()


def test_shards_stay_under_the_hubs_limits(zoo_of):
    check_limits(MAX_FILES_PER_FOLDER, 8, 100_000)
    with pytest.raises(WeightzooError, match="set fleet_size to 10 or more"):
        check_limits(12_500, 8, 100_000)
    with pytest.raises(WeightzooError, match="lower fleet_size"):
        check_limits(1, 1000, 100_000_000)
    run_dir = zoo_of("run", fake_concepts(4))
    write_json(run_dir / "generations.json", [3])
    with pytest.raises(WeightzooError, match="names 3 concepts, concepts.jsonl has 4"):
        plan_run(run_dir)
