"""Run folders in a store: the same files as on a disk, resumable, and nothing half."""

import errno
from pathlib import Path

import fsspec
import pytest

from pipeline.build import build, extend
from pipeline.executors.attempts import Outcome, run_task
from pipeline.executors.ray import EXECUTORS
from pipeline.run_folder import object_store as storage
from pipeline.run_folder.object_store import Store, can_see, local_copy
from pipeline.upkeep.repair import repair
from tests.pipeline.conftest import run_inline
from tests.pipeline.fake_fleet import fake_concepts, fake_fleet, write_fake_base
from tests.pipeline.test_build import broken, contents
from zoo.errors import WeightzooError


@pytest.fixture(scope="module")
def base(micro, tmp_path_factory):
    return write_fake_base(tmp_path_factory.mktemp("base"), micro)


@pytest.fixture
def uri(monkeypatch):
    """An empty store; ``contents_of`` reads it."""
    monkeypatch.setitem(EXECUTORS, "local", run_inline)
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    storage._scratch.cache_clear()
    yield "memory://bucket/run"
    memory.store.clear()
    storage._scratch.cache_clear()


def contents_of(uri):
    memory = fsspec.filesystem("memory")
    return {name: memory.cat(f"/bucket/run/{name}") for name in Store(uri).names() if "logs/" not in name}


def test_a_store_holds_what_a_folder_would(uri, micro, base, tmp_path):
    concepts = fake_concepts(6)
    for where in (uri, tmp_path / "run"):
        build(where, micro, concepts[:4], base_from=base, fleet=fake_fleet)
    assert contents_of(uri) == contents(tmp_path / "run") and can_see(uri)
    for where in (uri, tmp_path / "run"):
        extend(where, concepts[4:], fleet=fake_fleet)
    assert contents_of(uri) == contents(tmp_path / "run")


def test_an_interrupted_build_goes_on(uri, micro, base, tmp_path, monkeypatch):
    whole = tmp_path / "run"
    build(whole, micro, fake_concepts(6), base_from=base, fleet=fake_fleet)
    done = []

    def stop_at_the_second(task):
        if len(done) == 1:
            raise KeyboardInterrupt
        done.append(task.stem)
        return fake_fleet(task)

    with pytest.raises(WeightzooError, match="1 of 3 fleets finished and kept in memory://bucket/run"):
        build(uri, micro, fake_concepts(6), base_from=base, fleet=stop_at_the_second)
    assert "manifest.json" not in contents_of(uri)
    done.clear()
    ran = []
    build(
        uri, micro, fake_concepts(6), base_from=base, fleet=lambda task: ran.append(task) or fake_fleet(task)
    )
    assert len(ran) == 2 and contents_of(uri) == contents(whole)


@pytest.mark.parametrize("lost", ["rejected/", "weights/"])
def test_what_could_not_be_stored_is_stored_by_the_next_attempt(uri, micro, base, tmp_path, monkeypatch, lost):
    concepts = [*fake_concepts(3), broken("nan")]
    build(tmp_path / "run", micro, concepts, base_from=base, fleet=fake_fleet)
    push, failed = Store.push_file, []

    def hiccup_once(self, path, name):
        if name.startswith(lost) and not failed:
            failed.append(name)
            raise WeightzooError("cannot copy; try again") from OSError(errno.EIO, "Input/output error")
        push(self, path, name)

    def run_twice(tasks, fn, workers):
        for task in tasks:
            replies = (run_task(fn, task) for _ in range(2))
            reply = next(reply for reply in replies if not reply.retry)
            yield Outcome(task, reply.result, reply.error)

    monkeypatch.setattr(Store, "push_file", hiccup_once)
    monkeypatch.setitem(EXECUTORS, "local", run_twice)
    build(uri, micro, concepts, base_from=base, fleet=fake_fleet)
    assert len(failed) == 1 and contents_of(uri) == contents(tmp_path / "run")
    scratch = Path(storage._scratch(uri)[1].name)
    assert not [path for name in ("weights", "rejected", "pairs") for path in scratch.glob(f"{name}/*")]


def test_the_log_of_a_build_that_failed_is_kept_and_named(uri, micro, base):
    def fail(task):
        raise WeightzooError("no GPU; plug one in")

    with pytest.raises(WeightzooError, match=r"no GPU.* \(see memory://bucket/run/logs/events.jsonl\)"):
        build(uri, micro, fake_concepts(4), base_from=base, fleet=fail)
    assert b"plug one in" in fsspec.filesystem("memory").cat("/bucket/run/logs/events.jsonl")


def test_a_full_disk_is_not_taken_for_a_wrong_address(uri):
    store = Store(uri)
    for number, fix in ((errno.ENOSPC, "free some space"), (errno.EACCES, "check the address")):
        with pytest.raises(WeightzooError, match=fix), store._errors("copy"):
            raise OSError(number, "cannot")


def test_a_damaged_object_is_repaired(uri, micro, base):
    build(uri, micro, fake_concepts(4), base_from=base, fleet=fake_fleet)
    whole = contents_of(uri)
    shard = next(name for name in whole if name.startswith("weights/"))
    fsspec.filesystem("memory").pipe(f"/bucket/run/{shard}", whole[shard][:-9])
    repair(uri, fleet=fake_fleet)
    assert contents_of(uri) == whole


def test_a_folder_is_its_own_storage(tmp_path):
    with local_copy(tmp_path) as (folder, store):
        assert folder == tmp_path and store is None
    assert can_see(str(tmp_path)) and not can_see(str(tmp_path / "absent"))


def test_what_cannot_be_a_run_folder():
    with pytest.raises(WeightzooError, match="ftp://host/run: a run folder is a local path or in one of s3"):
        Store("ftp://host/run")
