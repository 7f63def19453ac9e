"""The test Hub answers the real huggingface_hub as the Hub does, faults included."""

import hashlib

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, HfFileSystem, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.hub_faults import Fault

REPO, DATASET = "user/things", {"repo_id": "user/things", "repo_type": "dataset"}
CONTENT = {"README.md": b"---\n---\n# things\n", "a/b.txt": b"text", "a/c.parquet": bytes(range(256)) * 40}


@pytest.fixture
def api(hub):
    api = HfApi()
    api.create_repo(**DATASET)
    operations = [CommitOperationAdd(path, data) for path, data in CONTENT.items()]
    api.create_commit(**DATASET, operations=operations, commit_message="things")
    return api


def test_commits_tags_and_listings(hub, api):
    assert hub.files(REPO) == CONTENT
    assert api.whoami()["name"] == "user"
    listed = {entry.path: entry for entry in api.list_repo_tree(**DATASET, recursive=True)}
    assert listed["a/c.parquet"].lfs.sha256 == hashlib.sha256(CONTENT["a/c.parquet"]).hexdigest()
    assert listed["a/b.txt"].lfs is None and listed["a/b.txt"].size == 4 and "a" in listed
    assert {e.path for e in api.list_repo_tree(**DATASET)} == {".gitattributes", "README.md", "a"}
    assert [entry.path for entry in api.get_paths_info(**DATASET, paths=["a/b.txt", "no", "a"])] == [
        "a/b.txt",
        "a",
    ]
    first = api.repo_info(**DATASET).sha
    api.create_tag(**DATASET, tag="v1")
    delete = [CommitOperationDelete("a/b.txt")]
    api.create_commit(**DATASET, operations=delete, commit_message="less", parent_commit=first)
    with pytest.raises(HfHubHTTPError, match="412"):
        api.create_commit(**DATASET, operations=delete, commit_message="late", parent_commit=first)
    assert [commit.title for commit in api.list_repo_commits(**DATASET)] == [
        "less",
        "things",
        "initial commit",
    ]
    (tag,) = api.list_repo_refs(**DATASET).tags
    assert (tag.name, tag.target_commit) == ("v1", first)
    assert api.file_exists(**DATASET, filename="a/b.txt", revision="v1")
    assert not api.file_exists(**DATASET, filename="a/b.txt")
    api.create_branch(**DATASET, branch="old", revision="v1")
    assert hub.files(REPO, "old") == CONTENT
    api.delete_tag(**DATASET, tag="v1")
    assert not hub.dataset(REPO).tags


def test_long_listings_come_in_pages(hub, api):
    operations = [CommitOperationAdd(f"many/{i:03d}.txt", b"%d" % i) for i in range(250)]
    api.create_commit(**DATASET, operations=operations, commit_message="many")
    with hub.counted("GET", "/tree/") as requests:
        assert len(api.list_repo_files(**DATASET)) == 254
    assert requests() == 3


def test_nothing_is_sent_twice(hub, api):
    with hub.counted("PUT", "/lfs/") as uploads:
        api.upload_file(**DATASET, path_or_fileobj=CONTENT["a/c.parquet"], path_in_repo="copy.parquet")
        api.upload_file(**DATASET, path_or_fileobj=CONTENT["a/b.txt"], path_in_repo="a/b.txt")
    assert uploads() == 0 and len(hub.dataset(REPO).commits) == 3


def test_who_may_see_and_do_what(hub, api, monkeypatch):
    api.create_repo("user/secret", repo_type="dataset", private=True)
    for token in (False, "hf_other"):
        with pytest.raises(RepositoryNotFoundError):
            api.repo_info("user/secret", repo_type="dataset", token=token)
        with pytest.raises(HfHubHTTPError):
            api.create_tag(**DATASET, tag="mine", token=token)
    assert api.repo_info("user/secret", repo_type="dataset").private
    with pytest.raises(RevisionNotFoundError):
        api.repo_info(**DATASET, revision="v9")
    with pytest.raises(EntryNotFoundError):
        hf_hub_download(**DATASET, filename="nothing.txt")


def test_downloads_and_ranges(hub, api):
    path = hf_hub_download(**DATASET, filename="a/c.parquet")
    assert open(path, "rb").read() == CONTENT["a/c.parquet"]
    file_system = HfFileSystem(skip_instance_cache=True)
    with file_system.open(f"datasets/{REPO}/a/c.parquet", block_size=1000) as file:
        file.seek(5000)
        assert file.read(100) == CONTENT["a/c.parquet"][5000:5100]


def test_faults(hub, api):
    hub.faults.add(Fault("GET", "c.parquet", drop_after=100))
    path = hf_hub_download(**DATASET, filename="a/c.parquet")
    assert open(path, "rb").read() == CONTENT["a/c.parquet"]
    hub.faults.add(Fault("GET", "c.parquet", corrupt=True))
    path = hf_hub_download(**DATASET, filename="a/c.parquet", force_download=True)
    assert open(path, "rb").read() != CONTENT["a/c.parquet"]
    hub.faults.add(Fault("GET", "c.parquet", status=503))
    with pytest.raises(HfHubHTTPError, match="503"):
        hf_hub_download(**DATASET, filename="a/c.parquet", force_download=True)
    hub.faults.add(Fault("POST", "/commit/", lose_answer=True))
    with pytest.raises(Exception, match="without sending complete message body"):
        api.upload_file(**DATASET, path_or_fileobj=b"new", path_in_repo="new.txt")
    assert hub.files(REPO)["new.txt"] == b"new"
    assert not hub.faults.pending
