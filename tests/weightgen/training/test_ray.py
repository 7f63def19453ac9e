"""Training on Ray: workers that are killed cost a few steps and change nothing; errors are one line."""

import os
import signal
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.weightgen.tiny_world import make_zoo
from tests.weightgen.training.team_member import config
from weightgen.model_folder import load_model_folder
from weightgen.training import train as training
from weightgen.training.data import load_zoo
from weightgen.training.ray import Cluster, run_name
from weightgen.training.ray import connected as to_cluster
from weightgen.training.run_folder import clear
from weightgen.training.stream import ShardStream
from weightgen.training.train import train
from zoo.errors import WeightzooError
from zoo.files import write_json
from zoo.run import open_zoo

STEPS = 120


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return make_zoo(tmp_path_factory.mktemp("zoo"))


@pytest.fixture(scope="module")
def connected():
    with to_cluster(Cluster(2)) as ray:
        yield ray


def train_workers() -> list[int]:
    """The processes of Ray's train workers below this one."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"RayTrainWorker" in (folder / "cmdline").read_bytes() and os.getpid() in ancestors(folder):
                found.append(int(folder.name))
        except OSError:
            continue  # it has ended meanwhile
    return sorted(found)


def ancestors(folder: Path) -> set[int]:
    found: set[int] = set()
    while (parent := int((folder / "stat").read_text().rpartition(")")[2].split()[1])) > 1:
        found.add(parent)
        folder = Path("/proc") / str(parent)
    return found


@pytest.mark.ray
def test_a_killed_worker_changes_nothing(zoo, tmp_path, connected):
    source, validation = ShardStream.open(open_zoo(zoo)), load_zoo(zoo, "validation")
    chosen = config(steps=STEPS, validate_every=10, checkpoint_every=10)
    killed = []

    def kill(row):
        if row["step"] >= 40 and not killed:
            killed.extend(train_workers()[:1])
            os.kill(killed[0], signal.SIGKILL)

    folder = train(chosen, source, tmp_path / "ray", validation, on_log=kill, cluster=Cluster())
    assert killed and not (tmp_path / "ray" / "ray").exists()
    alone = []
    train(chosen, source, tmp_path / "alone", validation, on_log=alone.append)
    rows = load_rows(folder)
    assert [row["step"] for row in rows] == [row["step"] for row in alone] == list(range(10, STEPS + 1, 10))
    for one, two in zip(rows, alone, strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=0.02, abs=0.01)
        assert one["r2"] == pytest.approx(two["r2"], abs=0.02)
    assert load_model_folder(folder).metadata["steps"] == STEPS
    assert train(chosen, source, tmp_path / "ray", validation, cluster=Cluster()) == folder  # at once: it is finished


@pytest.mark.ray
def test_a_loss_that_is_not_finite_is_the_error(zoo, tmp_path, connected):
    dataset, validation = load_zoo(zoo), load_zoo(zoo, "validation")
    dataset.blocks[:] = float("inf")
    with pytest.raises(WeightzooError, match="the loss is not finite at step 1"):
        train(config(), dataset, tmp_path, validation, cluster=Cluster())


@pytest.mark.ray
def test_a_finish_that_fails_keeps_the_checkpoints(zoo, tmp_path, connected, monkeypatch):
    def full(*_):
        raise OSError("no space left")

    rows, arguments = [], (config(steps=4), load_zoo(zoo), tmp_path, load_zoo(zoo, "validation"))
    with monkeypatch.context() as patch:
        patch.setattr(training, "finish", full)
        with pytest.raises(OSError, match="no space left"):
            train(*arguments, cluster=Cluster())
    train(*arguments, on_log=rows.append, cluster=Cluster())
    assert not rows  # no step was trained again
    assert load_model_folder(tmp_path).metadata["steps"] == 4 and not (tmp_path / "ray").exists()


def test_the_storage_goes_after_the_model_is_complete(zoo, tmp_path, monkeypatch):
    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(training, "connected", lambda cluster: nullcontext())
    monkeypatch.setattr(training, "train_on_ray", lambda *_: (tmp_path / "ray").mkdir(exist_ok=True))
    monkeypatch.setattr(training, "finish", full)
    arguments = (config(), load_zoo(zoo), tmp_path, load_zoo(zoo, "validation"))
    with pytest.raises(OSError, match="no space left"):
        train(*arguments, cluster=Cluster())
    assert (tmp_path / "ray").exists()
    monkeypatch.setattr(training, "finish", lambda *_: tmp_path)
    assert train(*arguments, cluster=Cluster()) == tmp_path and not (tmp_path / "ray").exists()


def test_a_run_keeps_its_name_when_the_config_gets_more_options(tmp_path):
    write_json(tmp_path / "config.json", {"train": {}})
    name = run_name(tmp_path)
    write_json(tmp_path / "config.json", {"train": {"later": 1}})
    assert run_name(tmp_path) == name
    clear(tmp_path)
    write_json(tmp_path / "config.json", {"train": {"later": 1}})
    assert run_name(tmp_path) != name


def load_rows(folder):
    import json

    return [json.loads(line) for line in open(folder / "metrics.jsonl")]


def test_without_ray_the_extra_is_named(zoo, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(WeightzooError, match=r"pip install 'weightzoo\[train\]'"):
        train(config(), load_zoo(zoo), tmp_path, load_zoo(zoo, "validation"), cluster=Cluster())
    with pytest.raises(WeightzooError, match="cannot be divided among 3 workers"):
        train(config(), load_zoo(zoo), tmp_path, cluster=Cluster(3))
