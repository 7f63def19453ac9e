"""A zoo of the Hub, used file by file: the same records, nothing fetched twice or before it is needed."""

import copy
import json

import pytest
from huggingface_hub import HfApi

from zoo.errors import WeightzooError
from zoo.files import write_bytes, write_json
from zoo.hub import publish
from zoo.hub.remote import open_named
from zoo.manifest import MANIFEST_FILE, collect_manifest, write_manifest
from zoo.run import open_zoo

CARD = {"README.md": b"# zoo\n"}


@pytest.fixture
def zoo(hub, run_dir):
    publish(run_dir, "user/zoo", CARD, tag="first")
    return open_named("user/zoo@first")


def test_the_same_zoo(zoo, run_dir):
    local = open_zoo(run_dir)
    assert list(zoo.records()) == list(local.records()) and zoo.concepts() == local.concepts()
    assert zoo.base_path.read_bytes() == local.base_path.read_bytes()
    assert {key: value.tolist() for key, value in zoo.statistics().items()} == {
        key: value.tolist() for key, value in local.statistics().items()
    }
    assert zoo.manifest == local.manifest and zoo.layout.id == local.layout.id


def test_a_file_is_fetched_when_it_is_needed_and_once(hub, zoo):
    with hub.counted("GET", "/resolve/") as fetched:
        records = zoo.records("train")
        assert fetched() == 0
        next(records)
        assert fetched() == 1
        list(zoo.records("train")), list(zoo.records("train"))
        assert fetched() == 2


def test_the_commit_stays(hub, zoo, run_dir):
    publish(run_dir, "user/zoo", {"README.md": b"# another card\n"})
    again = copy.copy(zoo)  # as processes hand it over: opened again by its name
    assert again.source.commit == zoo.source.commit != hub.dataset("user/zoo").branches["main"]


def test_what_is_no_zoo(hub, zoo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightzooError, match="no revision second"):
        open_named("user/zoo@second")
    with pytest.raises(WeightzooError, match="does not exist or is private"):
        open_named("user/absent")
    with pytest.raises(WeightzooError, match="neither a folder nor an embedded zoo"):
        open_named("nowhere")
    (tmp_path / "user" / "zoo").mkdir(parents=True)
    with pytest.raises(WeightzooError, match="unfinished|manifest"):  # a folder of that name comes first
        open_named("user/zoo")


@pytest.mark.parametrize("name", ["layout.json", "concepts.jsonl", "statistics.safetensors"])
def test_a_file_that_the_manifest_does_not_name_is_not_used(hub, run_dir, name):
    values = json.loads((run_dir / MANIFEST_FILE).read_text())
    del values["files"][name], values["sizes"][name]
    publish(run_dir, "user/zoo", CARD)
    write_json(run_dir / MANIFEST_FILE, values)
    HfApi().upload_file(
        path_or_fileobj=run_dir / MANIFEST_FILE, path_in_repo=MANIFEST_FILE, repo_id="user/zoo", repo_type="dataset"
    )
    with pytest.raises(WeightzooError, match=f"does not name {name}|not in the manifest's files"):
        zoo = open_named("user/zoo")
        zoo.concepts(), zoo.statistics()


def test_a_layout_that_is_not_the_manifests_is_refused(hub, run_dir):
    values = json.loads((run_dir / MANIFEST_FILE).read_text()) | {"layout_id": "0" * 16}
    write_json(run_dir / MANIFEST_FILE, values)
    publish(run_dir, "user/zoo", CARD)
    with pytest.raises(WeightzooError, match="is not the manifest's layout"):
        open_named("user/zoo")


def test_a_base_that_is_not_that_of_the_records_is_refused(hub, run_dir):
    write_bytes(run_dir / "base" / "generator.safetensors", b"another")
    write_manifest(run_dir, collect_manifest(run_dir))
    publish(run_dir, "user/zoo", CARD)
    with pytest.raises(WeightzooError, match="user/zoo: base/generator.safetensors is not the base"):
        open_named("user/zoo")


def test_a_damaged_shard_is_an_error(hub, zoo):
    name = zoo.manifest.shards[0].name
    commit = hub.dataset("user/zoo").find("first")
    data = commit.files[name].data
    object.__setattr__(commit.files[name], "data", data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(WeightzooError, match="not what its manifest says|broke too often"):
        list(zoo.records("train"))
