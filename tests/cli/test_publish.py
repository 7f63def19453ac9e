"""``publish`` and ``download`` as commands, against the test Hub."""

import pytest

from tests.pipeline.conftest import building_inline, micro_concepts, micro_config


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
    named = run("download", "user/micro", "--concepts", "check-*", "-o", tmp_path / "named", "--json")
    assert named.json["counts"] == {"concepts": 2, "ok": 2, "ok/validation": 2, "rejected": 0, "failed": 0}


def test_one_line_for_what_cannot_be(run, hub, zoo, tmp_path, monkeypatch):
    pairs = run("publish", zoo, "--repo", "user/micro", "--pairs")
    assert pairs.code == 2 and "has no pairs/" in pairs.error
    monkeypatch.delenv("HF_TOKEN")
    assert "needs an account on the Hub" in run("publish", zoo, "--repo", "user/micro").error
    absent = run("download", "user/absent", "-o", tmp_path / "out")
    assert absent.code == 2 and "does not exist or is private" in absent.error
