"""Machines die: whatever happens to a build on a cluster of two nodes, it ends with the bytes of a quiet one.

The fleets are fake ones, which train nothing and write real files; the cluster, its deaths and the driver are real.
"""

import json
import os
import random
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

import zoo.files
from pipeline.build import build
from pipeline.executors import attempts
from pipeline.executors.ray import EXECUTORS, open_executor
from pipeline.upkeep.repair import repair
from tests.pipeline.conftest import micro_concepts, run_inline
from tests.pipeline.fake_fleet import (
    chaos_folder,
    fake_concepts,
    fake_fleet,
    shipped_files,
    spend,
    write_fake_base,
)
from tests.pipeline.test_build import contents
from zoo.concepts import Concept
from zoo.errors import WeightzooError
from zoo.manifest import MANIFEST_FILE, read_rejected, shard_paths
from zoo.run import open_zoo
from zoo.verify import verify_run

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]
ROOT = Path(__file__).resolve().parents[2]
NUM_CONCEPTS = 12  # six fleets of two
PATIENCE = 300


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one CPU; the nodes find our code where the tests do."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        cluster.add_node(num_cpus=1)
        yield cluster
        cluster.shutdown()


@pytest.fixture(scope="module")
def base(micro, tmp_path_factory):
    return write_fake_base(tmp_path_factory.mktemp("base"), micro)


def quiet_build(run_dir, config, base, count):
    """Every file of an uninterrupted build, made without a cluster."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(EXECUTORS, "local", run_inline)
        build(run_dir, config, fake_concepts(count), base_from=base, fleet=fake_fleet)
    return contents(run_dir)


@pytest.fixture(scope="module")
def quiet(micro, base, tmp_path_factory):
    return quiet_build(tmp_path_factory.mktemp("quiet") / "run", micro, base, NUM_CONCEPTS)


@pytest.fixture
def launch(micro, base, cluster, tmp_path, monkeypatch):
    """Build in ``tmp_path/run`` on the cluster; returns the run folder."""
    monkeypatch.setattr(attempts, "BACKOFF_SECONDS", 0.05)
    run_dir = tmp_path / "run"
    chaos_folder(run_dir).mkdir(parents=True)

    def call(concepts=None, fleet=fake_fleet, **more):
        concepts = concepts or fake_concepts(NUM_CONCEPTS)
        options = {"executor": "ray", "address": cluster.address, "fleet": fleet} | more
        build(run_dir, micro, concepts, base_from=base, **options)
        return run_dir

    call.run_dir, call.chaos = run_dir, chaos_folder(run_dir)
    return call


def events(run_dir):
    return [json.loads(line) for line in (run_dir / "logs" / "events.jsonl").read_text().splitlines()]


def alive(process):
    """Whether the process runs; a zombie, which nobody has waited for, does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)


def test_our_packages_are_shipped_and_nothing_else(cluster, tmp_path):
    with open_executor("ray", 2, address=cluster.address) as run:
        (outcome,) = run([str(tmp_path)], shipped_files)
    shipped = outcome.result
    assert {"pipeline/fleets/fleet.py", "pipeline/photos/photos.json", "zoo/shards/parquet.py"} <= set(shipped)
    assert {path.split("/")[0] for path in shipped} == {"pipeline", "zoo"}
    assert not [path for path in shipped if "__pycache__" in path or path.startswith("zoo/embedded")]


def test_lost_workers_memory_and_storage(launch, quiet):
    """A worker killed inside a fleet, which leaves half a shard, one out of memory, one whose storage hiccups."""
    for request in ("00001-of-00006.kill", "00002-of-00006.memory", "00003-of-00006.hiccup"):
        (launch.chaos / f"train-{request}").touch()
    run_dir = launch()
    assert contents(run_dir) == quiet
    attempts_of = {
        event["fleet"]: event["attempts"] for event in events(run_dir) if event["event"] == "fleet"
    }
    assert sorted(attempts_of.values()) == [1, 1, 1, 2, 2, 2]
    assert verify_run(run_dir) == []


def test_a_node_dies_and_another_one_takes_over(launch, cluster, quiet):
    spare = cluster.add_node(num_cpus=1)
    (launch.chaos / "hold").touch()

    def kill():
        wait_for(lambda: len(processes()) >= 3)  # a fleet is under way on every node
        cluster.remove_node(spare, allow_graceful=False)
        # a worker outlives its raylet for a moment, in which a fleet that is let go could still finish
        wait_for(lambda: not all(alive(process) for process in processes()))
        (launch.chaos / "hold").unlink()

    def processes():
        return [int(text) for path in launch.chaos.glob("*.started") if (text := path.read_text())]

    killer = threading.Thread(target=kill)
    killer.start()
    run_dir = launch()
    killer.join()
    assert contents(run_dir) == quiet
    assert max(event.get("attempts", 1) for event in events(run_dir)) == 2


def kill_drivers(cluster, base, run_dir, count, rounds, seed=0):
    """Launch the build ``rounds`` times and kill each driver at a random moment; then let one finish.

    Returns how many were killed before they were done.
    """
    chance, killed = random.Random(seed), 0
    chaos_folder(run_dir).mkdir(parents=True)
    (chaos_folder(run_dir) / "slow").write_text("0.5")
    command = [sys.executable, "-m", "tests.pipeline.driver"]
    command += [str(run_dir), str(base), cluster.address, str(count)]
    for number in range(rounds):
        launched = time.time()
        driver = subprocess.Popen(command, cwd=ROOT)
        if number % 4 == 3:  # while it starts
            time.sleep(chance.uniform(0, 5))
        else:  # while fleets run
            wait_for(lambda d=driver, t=launched: d.poll() is not None or started_after(run_dir, t))
            time.sleep(chance.uniform(0, 1))
        killed += driver.poll() is None
        driver.kill()
        driver.wait()
    subprocess.run(command, cwd=ROOT, check=True, timeout=PATIENCE)
    return killed


def started_after(run_dir, moment):
    """Whether a fleet has started since ``moment``."""
    return any(path.stat().st_mtime > moment for path in chaos_folder(run_dir).glob("*.started"))


def test_the_driver_is_killed(cluster, base, tmp_path, quiet):
    assert kill_drivers(cluster, base, tmp_path / "run", NUM_CONCEPTS, rounds=1) == 1
    assert contents(tmp_path / "run") == quiet


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_the_driver_is_killed_twenty_times_in_a_row(micro, cluster, base, tmp_path):
    count = 300  # as many fleets as twenty-two launches of a second or so cannot finish
    assert kill_drivers(cluster, base, tmp_path / "run", count, rounds=22) >= 20
    assert contents(tmp_path / "run") == quiet_build(tmp_path / "quiet", micro, base, count)


def test_a_full_disk_at_every_write(launch, cluster, quiet, monkeypatch):
    """Attempt n has room for n more files on driver and workers together; nothing finished is lost or half."""
    room = launch.chaos / "room"
    monkeypatch.setattr(zoo.files.os, "fsync", lambda _descriptor: spend(room))
    with open_executor("ray", 2, address=cluster.address):  # one connection for all launches
        for files in range(40):
            room.write_text(str(files))
            try:
                launch()
                break
            except WeightzooError as error:
                assert "No space left on device; free some space" in str(error)
                assert not (launch.run_dir / MANIFEST_FILE).exists()
    assert 3 < files < 39 and contents(launch.run_dir) == quiet


def test_a_truncated_temporary_and_a_corrupted_shard(launch, cluster, quiet):
    run_dir = launch()
    path = shard_paths(run_dir)[2]
    path.with_name(f".{path.stem}.99999999.tmp{path.suffix}").write_bytes(path.read_bytes()[:100])
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert [problem for problem in verify_run(run_dir) if path.name in problem]
    repair(run_dir, fleet=fake_fleet, executor="ray", address=cluster.address)
    assert contents(run_dir) == quiet


def test_a_poison_concept_is_one_rejected_row(micro, base, cluster, tmp_path):
    """Real fleets: a strength that float32 cannot hold gives targets that are not finite."""
    recipe = [{"op": "invert"}]
    poison = Concept("poison", "Too much", (), {"recipe": recipe, "strength": 1e39})
    concepts = [*micro_concepts()[:2], poison]
    config = replace(micro, training=replace(micro.training, steps=1), num_train_crops=4)
    options = {"executor": "ray", "address": cluster.address}
    build(tmp_path / "run", config, concepts, base_from=base, **options)
    (row,) = read_rejected(tmp_path / "run")
    assert (row["concept_id"], row["status"], row["attempt"]) == ("poison", "rejected", 2)
    assert len(list(open_zoo(tmp_path / "run").records())) == 2 and verify_run(tmp_path / "run") == []
