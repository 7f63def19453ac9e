"""Publish and download through the real client against the test Hub: whole, in parts, and through every fault."""

import dataclasses
import json
import shutil

import pytest

from tests.hub_faults import Fault
from zoo.concepts import Concept, read_concepts, write_concepts
from zoo.errors import WeightzooError
from zoo.files import sha256_file, write_text
from zoo.hub import client, download, fetch, local_files, publish, publish_pairs, upload
from zoo.manifest import MANIFEST_FILE, collect_manifest, load_manifest, shard_paths, write_manifest
from zoo.run import open_zoo
from zoo.shards import shard_name
from zoo.verify import verify_run

REPO = "user/zoo"
CARD = {"README.md": b"---\nlicense: apache-2.0\n---\n# zoo\n", "pictures/samples.webp": b"picture"}


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """No waiting between attempts of ours; small commits."""
    monkeypatch.setattr(client, "FIRST_WAIT", 0.0)
    monkeypatch.setattr(upload, "FILES_PER_COMMIT", 3)


@pytest.fixture
def published(hub, run_dir):
    publish(run_dir, REPO, CARD)
    return run_dir


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def commits(hub):
    return [commit.title for commit in hub.dataset(REPO).commits]


def test_published_files_are_the_folders(hub, published):
    expected = contents(published) | CARD
    assert hub.files(REPO) == expected
    assert hub.dataset(REPO).tags == {"v1": hub.dataset(REPO).branches["main"]}
    assert not hub.dataset(REPO).private
    before_last = hub.dataset(REPO).commits[-2].files
    assert MANIFEST_FILE not in before_last and set(before_last) - {".gitattributes"} == set(expected) - {
        MANIFEST_FILE,
        *CARD,
    }


def test_a_second_run_sends_nothing(hub, published):
    before = commits(hub)
    with hub.counted("POST", "/commit/") as posts, hub.counted("PUT", "/lfs/") as uploads:
        result = publish(published, REPO, CARD)
    assert (result.files, result.bytes, result.commits, posts(), uploads()) == (0, 0, 0, 0, 0)
    assert commits(hub) == before and result.revision == hub.dataset(REPO).branches["main"]


def extend(run_dir, shard_format, make_record, layout, metadata):
    """Add a shard of a later generation, as an extended build does."""
    concepts = read_concepts(run_dir / "concepts.jsonl")
    write_concepts(run_dir / "concepts.jsonl", [*concepts, Concept("new", "Make it new")])
    shard = run_dir / "weights" / shard_name("train", 0, 1, shard_format.SUFFIX, generation=1)
    shard_format.write_shard(shard, [make_record("new")], layout, metadata)
    write_manifest(run_dir, collect_manifest(run_dir))
    return shard


def test_an_extension_sends_the_new_shard_only(
    hub, published, shard_format, make_record, layout, metadata, tmp_path
):
    download(REPO, tmp_path / "out")
    old = {path: sha256_file(path) for path in shard_paths(published)}
    shard = extend(published, shard_format, make_record, layout, metadata)
    assert all(sha256_file(path) == digest for path, digest in old.items())
    with hub.counted("PUT", "/lfs/") as uploads:
        result = publish(published, REPO, CARD)
    assert result.files == 3 and uploads() == 1  # the shard, concepts.jsonl, manifest.json
    assert hub.files(REPO)[f"weights/{shard.name}"] == shard.read_bytes()
    assert hub.dataset(REPO).tags["v1"] == result.revision
    with hub.counted("GET", "/resolve/") as fetched:
        download(REPO, tmp_path / "out")
    assert fetched() == 3 and verify_run(tmp_path / "out") == []
    assert "new" in [record.concept_id for record in open_zoo(tmp_path / "out").records()]


def test_a_tag_names_one_state_for_ever(hub, published, shard_format, make_record, layout, metadata):
    first = publish(published, REPO, CARD, tag="paper").revision
    assert publish(published, REPO, CARD, tag="paper").commits == 0
    extend(published, shard_format, make_record, layout, metadata)
    with pytest.raises(WeightzooError, match="tag paper of user/zoo already names another state"):
        publish(published, REPO, CARD, tag="paper")
    second = publish(published, REPO, CARD, tag="later").revision
    assert hub.dataset(REPO).tags == {"paper": first, "v1": second, "later": second}


@pytest.mark.parametrize(
    "fault",
    [
        Fault("POST", "/commit/", lose_answer=True),
        Fault("POST", "/commit/", lose_answer=True, skip=2),
        Fault("POST", "/commit/", status=503, times=2),
        Fault("POST", "/commit/", status=429, skip=1),
        Fault("PUT", "/lfs/", lose_answer=True),
        Fault("PUT", "/lfs/", status=503, skip=1),
        Fault("POST", "/tag/", lose_answer=True),
        Fault("GET", "/tree/", status=503),
        Fault("POST", "/repos/create", lose_answer=True),
    ],
    ids=lambda fault: f"{fault.method} {fault.part} {fault.status or 'lost'} {fault.skip}",
)
def test_publishing_survives(hub, run_dir, fault, monkeypatch):
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    hub.faults.add(dataclasses.replace(fault))
    publish(run_dir, REPO, CARD)
    assert not hub.faults.pending
    assert hub.files(REPO) == contents(run_dir) | CARD and "v1" in hub.dataset(REPO).tags
    titles = commits(hub)
    assert len(set(titles)) == len(titles), "no commit is made twice"


def test_an_interrupted_publish_goes_on(hub, run_dir, monkeypatch):
    monkeypatch.setattr(client, "ATTEMPTS", 1)
    hub.faults.add(Fault("POST", "/commit/", status=500, skip=1))
    with pytest.raises(WeightzooError, match="user/zoo: the Hub answers 500; run the same command later"):
        publish(run_dir, REPO, CARD)
    there = len(hub.files(REPO))
    assert there == 3 and MANIFEST_FILE not in hub.files(REPO)
    result = publish(run_dir, REPO, CARD)
    assert result.files == len(contents(run_dir) | CARD) - there
    assert hub.files(REPO) == contents(run_dir) | CARD


def test_what_is_not_published(hub, run_dir, monkeypatch, tmp_path):
    from huggingface_hub import CommitOperationAdd, HfApi

    monkeypatch.setenv("HF_TOKEN", "hf_other")
    with pytest.raises(WeightzooError, match="does not let you"):
        publish(run_dir, REPO, CARD)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(WeightzooError, match="needs an account on the Hub; log in with `hf auth login`"):
        publish(run_dir, REPO, CARD)
    monkeypatch.setenv("HF_TOKEN", "hf_user")
    api = HfApi()
    api.create_repo("user/other", repo_type="dataset")
    with pytest.raises(WeightzooError, match="exists and is public"):
        publish(run_dir, "user/other", CARD, private=True)
    api.upload_file(path_or_fileobj=b"x", path_in_repo="x.csv", repo_id="user/other", repo_type="dataset")
    with pytest.raises(WeightzooError, match=r"holds something else \(x.csv\)"):
        publish(run_dir, "user/other", CARD)
    publish(run_dir, REPO, CARD)
    path = run_dir / MANIFEST_FILE
    path.write_text(path.read_text().replace('"fake"', '"mine"'))
    with pytest.raises(WeightzooError, match="holds the zoo 'fake', another one"):
        publish(run_dir, REPO, CARD)
    with pytest.raises(WeightzooError, match="is no name of a repository"):
        publish(run_dir, "user/../zoo", CARD)
    shard = shard_paths(run_dir)[0]
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(WeightzooError, match=f"{shard.name} is corrupt"):
        publish(run_dir, REPO, CARD)
    monkeypatch.setattr(local_files, "MAX_FILES_PER_FOLDER", 2)
    with pytest.raises(WeightzooError, match="weights/ has more than 2 files"):
        local_files.check_limits([CommitOperationAdd(f"weights/{i}", b"x") for i in range(3)])


def test_a_rebuilt_zoo_leaves_no_old_shards(hub, published):
    shard = shard_paths(published)[-1]
    shard.unlink()
    concepts = [c for c in read_concepts(published / "concepts.jsonl") if c.split == "train"]
    write_concepts(published / "concepts.jsonl", concepts)
    write_manifest(published, collect_manifest(published))
    publish(published, REPO, {"README.md": b"---\n---\n"})
    assert hub.files(REPO) == contents(published) | {"README.md": b"---\n---\n"}


def test_pairs_have_a_repository_of_their_own(hub, published, tmp_path):
    with pytest.raises(WeightzooError, match="has no pairs/"):
        publish_pairs(published, f"{REPO}-pairs", CARD)
    write_text(published / "pairs" / "targets-00000-of-00001.tar", "pairs")
    publish_pairs(published, f"{REPO}-pairs", CARD)
    files = hub.files(f"{REPO}-pairs")
    assert set(files) == {"pairs/targets-00000-of-00001.tar", MANIFEST_FILE, *CARD}
    assert publish(published, REPO, CARD).files == 0, "the weights' repository has no pairs"
    assert publish_pairs(published, f"{REPO}-pairs", CARD).commits == 0
    out = download(f"{REPO}-pairs", tmp_path / "pairs")
    assert (out / "pairs" / "targets-00000-of-00001.tar").read_text() == "pairs"
    with pytest.raises(WeightzooError, match="holds pairs, which come as a whole"):
        download(f"{REPO}-pairs", tmp_path / "pairs", split="train")


def test_a_download_is_what_was_published(hub, published, tmp_path):
    out = download(REPO, tmp_path / "out")
    assert contents(out) == contents(published) | {"README.md": CARD["README.md"]}
    assert verify_run(out) == []
    with hub.counted("GET", "/resolve/") as fetched:
        download(REPO, tmp_path / "out", revision="v1")
    assert fetched() == 0


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ({"split": "validation"}, ["v0", "v1"]),
        ({"split": "train", "shards": "1"}, ["c2"]),
        ({"shards": "0"}, ["c0", "c1", "v0", "v1"]),
        ({"concepts": ["c2"]}, ["c2"]),
        ({"concepts": ["*0"]}, ["c0", "c1", "v0", "v1"]),
        ({"concepts": ["c*"], "shards": "1-99"}, ["c2"]),
    ],
    ids=str,
)
def test_a_part_is_a_run_folder(hub, published, tmp_path, selection, expected):
    whole = open_zoo(published)
    with hub.counted("GET", "/weights/") as fetched:
        out = download(REPO, tmp_path / "part", **selection)
    part = open_zoo(out)
    assert [record.concept_id for record in part.records()] == expected
    assert fetched() == len(part.manifest.shards), "only what was asked for"
    assert set(part.manifest.shards) <= set(whole.manifest.shards)
    assert verify_run(out) == []
    assert part.manifest.counts["ok"] == len(expected)
    assert part.manifest.subset == {
        "repo": REPO,
        "revision": hub.dataset(REPO).branches["main"],
        "shards": f"{len(part.manifest.shards)} of 3",
        "manifest_sha256": sha256_file(published / MANIFEST_FILE),
    }
    rejected = {"c3"} & {concept.id for concept in part.concepts()}
    assert (out / "rejected" / "train-00001-of-00002.jsonl").exists() == bool(rejected)
    assert rejected == ({"c3"} if "c2" in expected else set())
    with pytest.raises(WeightzooError, match="is a part of user/zoo only"):
        publish(out, REPO, CARD)


def test_a_part_with_texts_that_other_readers_would_cut(hub, run_dir, tmp_path):
    text = "one\u2028two\u2029three\u0085four"
    concepts = [dataclasses.replace(concept, prompt=text) for concept in read_concepts(run_dir / "concepts.jsonl")]
    write_concepts(run_dir / "concepts.jsonl", concepts)
    (path,) = (run_dir / "rejected").glob("*.jsonl")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"reason": text}, ensure_ascii=False) + "\n")
    write_manifest(run_dir, collect_manifest(run_dir))
    publish(run_dir, REPO, CARD)
    out = download(REPO, tmp_path / "part", concepts=["c2"])
    assert verify_run(out) == [] and {c.prompt for c in read_concepts(out / "concepts.jsonl")} == {text}


def test_parts_add_up(hub, published, tmp_path):
    out = download(REPO, tmp_path / "out", split="train", shards="0")
    download(REPO, out, concepts=["c2"])
    assert load_manifest(out).subset["shards"] == "2 of 3"
    with hub.counted("GET", "/weights/") as fetched:
        download(REPO, out)
    assert fetched() == 1
    assert load_manifest(out) == load_manifest(published)
    assert contents(out) == contents(published) | {"README.md": CARD["README.md"]}


def test_selections_that_fit_nothing(hub, published, tmp_path):
    for selection, message in (
        ({"split": "family"}, "no split 'family'; it has train, validation"),
        ({"shards": "7-9"}, "has no shard 7-9; it has train 0-1, validation 0-0"),
        ({"shards": "a-b"}, "cannot be read; give numbers and ranges"),
        ({"concepts": ["sketch*"]}, "no trained concept of fake matches sketch"),
        ({"concepts": ["c3"]}, "no trained concept of fake matches c3"),
        ({"revision": "v9"}, "has no revision v9"),
    ):
        with pytest.raises(WeightzooError, match=message):
            download(REPO, tmp_path / "out", **selection)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "fault",
    [
        Fault("GET", "weights/train-00000", drop_after=40),
        Fault("GET", "weights/train-00000", drop_after=0, times=3),
        Fault("GET", "weights/", corrupt=True, times=2),  # a file is tried three times: all may hit the same one
        Fault("GET", "manifest.json", corrupt=True),
        Fault("GET", "concepts.jsonl", corrupt=True, times=2),
        Fault("GET", "weights/train-00001", status=503, times=2),
        Fault("GET", "/resolve/", status=429, times=3),
        Fault("HEAD", "/resolve/", status=503, times=2),
        Fault("GET", "/api/datasets/user/zoo", status=429),
        Fault("GET", "/tree/", status=503),
    ],
    ids=lambda f: f"{f.method} {f.part} {f.status or ('corrupt' if f.corrupt else 'dropped')} x{f.times}",
)
def test_downloading_survives(hub, published, tmp_path, fault, monkeypatch):
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    hub.faults.add(dataclasses.replace(fault))
    out = download(REPO, tmp_path / "out")
    assert not hub.faults.pending
    assert contents(out) == contents(published) | {"README.md": CARD["README.md"]}


def test_an_interrupted_download_goes_on(hub, published, tmp_path, monkeypatch):
    monkeypatch.setattr(client, "ATTEMPTS", 1)
    hub.faults.add(Fault("GET", "validation-00000", status=500, times=9))
    with pytest.raises(WeightzooError, match="user/zoo: the Hub answers 500"):
        download(REPO, tmp_path / "out")
    assert not (tmp_path / "out" / MANIFEST_FILE).exists()
    hub.faults.pending.clear()
    done = len(shard_paths(tmp_path / "out"))
    with hub.counted("GET", "/weights/") as fetched:
        download(REPO, tmp_path / "out")
    assert fetched() <= 3 - done and verify_run(tmp_path / "out") == []


def test_damage_in_the_folder_and_in_the_cache_is_mended(hub, published, tmp_path):
    out = download(REPO, tmp_path / "out")
    for shard in shard_paths(out):  # in place: where the file system can, the cache has the same bytes
        with open(shard, "rb+") as file:
            file.write(b"damage")
    (out / "layout.json").unlink()
    download(REPO, out)
    assert verify_run(out) == []
    assert contents(download(REPO, tmp_path / "again")) == contents(out)


def test_the_cache_serves_without_a_connection(hub, published, tmp_path, monkeypatch):
    from huggingface_hub import constants

    download(REPO, tmp_path / "out", revision="v1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    out = download(REPO, tmp_path / "again", revision="v1")
    assert contents(out) == contents(tmp_path / "out")
    part = download(REPO, tmp_path / "part", revision="v1", concepts=["c2"])
    assert [record.concept_id for record in open_zoo(part).records()] == ["c2"]
    with pytest.raises(client.HubUnreachable, match="the cache has no manifest.json of user/zoo, and HF_HUB_OFFLINE"):
        download(REPO, tmp_path / "main")
    with pytest.raises(client.HubUnreachable, match="and HF_HUB_OFFLINE is set, so the Hub is not asked; unset it"):
        download("user/else", tmp_path / "else")


def test_what_cannot_be_downloaded(hub, run_dir, tmp_path, monkeypatch):
    from huggingface_hub import HfApi

    publish(run_dir, "user/secret", CARD, private=True)
    assert hub.dataset("user/secret").private
    for token in ("hf_other", None):
        if token:
            monkeypatch.setenv("HF_TOKEN", token)
        else:
            monkeypatch.delenv("HF_TOKEN")
        for name in ("user/secret", "user/absent"):
            with pytest.raises(WeightzooError) as error:
                download(name, tmp_path / "out")
            assert str(error.value) == (
                f"the repository {name} does not exist or is private; check the name, or log in with "
                "`hf auth login` or set HF_TOKEN"
            )
    monkeypatch.setenv("HF_TOKEN", "hf_user")
    HfApi().create_repo("user/photos", repo_type="dataset")
    with pytest.raises(WeightzooError, match="user/photos is no zoo of weightzoo"):
        download("user/photos", tmp_path / "out")
    with pytest.raises(WeightzooError, match="comes as a whole"):
        download("weightzoo-small", tmp_path / "out", split="train")
    assert not (tmp_path / "out").exists()


def test_a_list_of_concepts_in_another_order_is_noticed(hub, run_dir, tmp_path):
    first, second, third, *others = read_concepts(run_dir / "concepts.jsonl")
    write_concepts(run_dir / "concepts.jsonl", [third, second, first, *others])
    write_manifest(run_dir, collect_manifest(run_dir))
    publish(run_dir, REPO, CARD)
    with pytest.raises(
        WeightzooError, match="does not tell which shard holds which concept; choose by --shards"
    ):
        download(REPO, tmp_path / "out", concepts=["c2"])
    assert not (tmp_path / "out" / MANIFEST_FILE).exists()


def test_another_zoo_is_not_overwritten(hub, published, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(published, out)
    (out / "config.json").write_text('{"name": "mine"}')
    before = contents(out)
    with pytest.raises(WeightzooError, match="holds another zoo; choose another folder"):
        download(REPO, out)
    assert contents(out) == before


@pytest.mark.parametrize(
    "name", ["../evil.jsonl", "/tmp/evil", "base/../../evil", "a\\b", ".hidden", "a//b", ""]
)
def test_a_manifest_that_names_files_outside_is_refused(hub, published, tmp_path, name):
    values = json.loads((published / MANIFEST_FILE).read_text())
    values["files"][name] = "0" * 64
    (published / MANIFEST_FILE).write_text(json.dumps(values))
    assert any("not a path inside a zoo" in problem for problem in verify_run(published))
    _commit(published / MANIFEST_FILE)
    with pytest.raises(WeightzooError, match="not a path inside a zoo"):
        download(REPO, tmp_path / "out")


def test_a_card_that_the_manifest_names_is_written_once(hub, published, tmp_path, monkeypatch):
    asked, fetch_one = [], fetch._fetch_one
    monkeypatch.setattr(fetch, "_fetch_one", lambda *args: (asked.append(args[2]), fetch_one(*args)))
    values = json.loads((published / MANIFEST_FILE).read_text())
    values["files"]["README.md"] = sha256_file(published / "README.md")
    values["sizes"]["README.md"] = (published / "README.md").stat().st_size
    (published / MANIFEST_FILE).write_text(json.dumps(values))
    _commit(published / MANIFEST_FILE)
    _commit(published / "README.md")
    assert contents(download(REPO, tmp_path / "out")) == contents(published)
    assert len(asked) == len(set(asked))


@pytest.mark.parametrize("name", ["a shard", "base/generator.safetensors"])
def test_a_manifest_that_lies_about_sizes_is_refused(hub, published, tmp_path, name):
    values = json.loads((published / MANIFEST_FILE).read_text())
    if name == "a shard":
        values["shards"][0]["bytes"] += 1
    else:
        values["sizes"][name] += 1
    (published / MANIFEST_FILE).write_text(json.dumps(values))
    _commit(published / MANIFEST_FILE)
    with hub.counted("GET", "/weights/") as shards, hub.counted("GET", "/base/") as base:
        with pytest.raises(WeightzooError, match="its manifest says"):
            download(REPO, tmp_path / "out")
    assert shards() == base() == 0


def test_content_that_is_not_the_manifests_is_refused(hub, published, tmp_path):
    path = published / "layout.json"
    path.write_text(path.read_text().replace("a.bias", "a.bios"))
    _commit(path)
    with pytest.raises(WeightzooError, match="layout.json of user/zoo is not what its manifest says"):
        download(REPO, tmp_path / "out")
    assert not (tmp_path / "out" / MANIFEST_FILE).exists()


def _commit(path):
    from huggingface_hub import HfApi

    HfApi().upload_file(path_or_fileobj=path, path_in_repo=path.name, repo_id=REPO, repo_type="dataset")
