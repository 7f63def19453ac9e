"""``publish`` and ``download`` as commands, against the test Hub."""

import json

import pytest

from tests.pipeline.conftest import building_inline, micro_concepts, micro_config
from zoo.run import open_zoo

# what strangers run who have never heard of weightzoo
TAR_READER = """
import json, sys
import safetensors.numpy, webdataset
from datasets import load_dataset

repo, shard, folder = sys.argv[1:]
read = {"datasets": {}, "webdataset": {}}
for row in load_dataset(repo, "weights", split="train", streaming=True):
    blocks = safetensors.numpy.load(row["safetensors"])
    read["datasets"][row["json"]["concept_id"]] = blocks["blocks"].tobytes().hex()
for row in webdataset.WebDataset(f"{folder}/{shard}", shardshuffle=False):
    blocks = safetensors.numpy.load(row["safetensors"])["blocks"]
    read["webdataset"][json.loads(row["json"])["concept_id"]] = blocks.tobytes().hex()
assert not {"zoo", "pipeline", "weightgen"} & set(sys.modules)
print(json.dumps(read))
"""


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    from pipeline.build import build

    folder = tmp_path_factory.mktemp("publish") / "micro"
    with building_inline():
        build(folder, micro_config(), micro_concepts())
    return folder


def test_publish_and_download(run, hub, zoo, tmp_path):
    published = run("publish", zoo, "--repo", "user/micro", "--private", "--tag", "first", "--json")
    assert published.code == 0, published.err
    (report,) = published.json["published"]
    assert report["commits"] > 0 and report["url"].endswith("/datasets/user/micro")
    repo = hub.dataset("user/micro")
    assert repo.private and set(repo.tags) == {"v1", "first"}
    again = run("publish", zoo, "--repo", "user/micro", "--private", "--tag", "first")
    assert again.code == 0 and "already up to date" in again.out
    part = run(
        "download", "user/micro", "--revision", "first", "--split", "train", "--shards", "0",
        "-o", tmp_path / "part",
    )  # fmt: skip
    assert part.code == 0, part.err
    assert "a part: 1 of" in part.out
    assert run("inspect", tmp_path / "part", "--verify").code == 0
    state = run("inspect", tmp_path / "part", "--json").json["state"]
    assert state.startswith("a part of user/micro, 1 of ")
    named = run("download", "user/micro", "--concepts", "check-*", "-o", tmp_path / "named", "--json")
    assert named.json["counts"] == {"concepts": 2, "ok": 2, "ok/validation": 2, "rejected": 0, "failed": 0}


def test_another_format_goes_to_another_repository(run, hub, zoo, plain_reader, tmp_path):
    assert run("publish", zoo, "--repo", "user/micro").code == 0
    mixed = run("publish", zoo, "--repo", "user/micro", "--format", "webdataset")
    assert mixed.code == 2 and "such as user/micro-webdataset" in mixed.error
    told = run("publish", zoo, "--repo", "user/micro-webdataset", "--format", "webdataset")
    assert told.code == 0, told.err
    files = hub.files("user/micro-webdataset")
    assert {name.rpartition(".")[2] for name in files if name.startswith("weights/")} == {"tar"}
    assert "path: weights/train-*.tar" in files["README.md"].decode()
    assert json.loads(files["config.json"])["shard_format"] == "webdataset"
    out = tmp_path / "out"
    assert run("download", "user/micro-webdataset", "-o", out).code == 0
    ours, theirs = open_zoo(zoo), open_zoo(out)
    assert list(theirs.records()) == list(ours.records())

    read = plain_reader(TAR_READER, "user/micro-webdataset", "weights/train-00000-of-00002.tar", out)
    expected = {record.concept_id: record.blocks.tobytes().hex() for record in ours.records("train")}
    assert read["datasets"] == expected
    assert set(read["webdataset"]) == set(list(expected)[:2])
    assert "'csv' is not one of 'parquet', " in run("publish", zoo, "--repo", "user/micro", "--format", "csv").err


def test_one_line_for_what_cannot_be(run, hub, zoo, tmp_path, monkeypatch):
    pairs = run("publish", zoo, "--repo", "user/micro", "--pairs")
    assert pairs.code == 2 and "has no pairs/" in pairs.error
    monkeypatch.delenv("HF_TOKEN")
    assert "needs an account on the Hub" in run("publish", zoo, "--repo", "user/micro").error
    absent = run("download", "user/absent", "-o", tmp_path / "out")
    assert absent.code == 2 and "does not exist or is private" in absent.error


@pytest.mark.parametrize("options", [("--pairs",), ("--format", "webdataset")])
def test_a_weight_generator_has_no_pairs_or_shards(run, tmp_path, options):
    (tmp_path / "model_index.json").write_text("{}")
    result = run("publish", tmp_path, "--repo", "user/model", *options)
    assert result.code == 2 and "is a weight generator" in result.error
