"""A zoo in another format has the same records, and only what changed is converted again."""

import pytest

from tests.zoo.hub.test_hub import CARD, REPO, contents, extend
from zoo.convert import in_format
from zoo.errors import WeightzooError
from zoo.hub import download, publish
from zoo.manifest import MANIFEST_FILE, collect_manifest, load_manifest, shard_paths, write_manifest
from zoo.run import open_zoo
from zoo.shards import FORMATS, format_of, read_shard
from zoo.verify import verify_run


@pytest.fixture
def other(shard_format):
    """The name of the format that ``run_dir`` does not have."""
    return next(name for name, known in FORMATS.items() if known is not shard_format)


def times(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_the_own_format_is_the_folder_itself(run_dir, shard_format):
    before = contents(run_dir)
    assert in_format(run_dir, next(k for k, v in FORMATS.items() if v is shard_format)) == run_dir
    assert contents(run_dir) == before


def test_the_other_format_has_equal_records(run_dir, other):
    before = contents(run_dir)
    folder = in_format(run_dir, other)
    assert verify_run(folder) == []
    assert {format_of(path) for path in shard_paths(folder)} == {FORMATS[other]}
    assert list(open_zoo(folder).records()) == list(open_zoo(run_dir).records())
    ours, theirs = load_manifest(run_dir), load_manifest(folder)
    assert (ours.counts, ours.quality, ours.layout_id) == (theirs.counts, theirs.quality, theirs.layout_id)
    assert {name: data for name, data in contents(run_dir).items() if not name.startswith(".")} == before


def test_there_and_back_gives_the_same_records(run_dir, other, shard_format):
    folder = in_format(run_dir, other)
    back = in_format(folder, next(name for name, known in FORMATS.items() if known is shard_format))
    assert list(open_zoo(back).records()) == list(open_zoo(run_dir).records())


def test_a_second_conversion_does_what_is_missing_only(
    run_dir, other, shard_format, make_record, layout, metadata
):
    folder = in_format(run_dir, other)
    whole, before = contents(folder), times(folder)
    assert in_format(run_dir, other) == folder and times(folder) == before

    damaged, gone = shard_paths(folder)[:2]
    damaged.write_bytes(damaged.read_bytes()[:-100])
    gone.unlink()
    assert contents(in_format(run_dir, other)) == whole
    assert times(folder)[shard_paths(folder)[2]] == before[shard_paths(folder)[2]]

    gone.unlink()
    (folder / MANIFEST_FILE).unlink()  # as an interrupted conversion leaves it
    assert contents(in_format(run_dir, other)) == whole

    kept = shard_paths(folder)
    extend(run_dir, shard_format, make_record, layout, metadata)
    stamps = times(folder)
    in_format(run_dir, other)
    assert all(times(folder)[path] == stamps[path] for path in kept) and verify_run(folder) == []
    assert list(open_zoo(folder).records()) == list(open_zoo(run_dir).records())


def test_a_shard_that_was_built_anew_is_converted_anew(run_dir, other, shard_format, make_record):
    folder = in_format(run_dir, other)
    path = shard_paths(run_dir)[0]
    _, metadata, layout = read_shard(path)
    records = list(read_shard(path)[0])
    shard_format.write_shard(path, [make_record("c0"), records[1]], layout, metadata | {"weightzoo.x": "new"})
    assert in_format(run_dir, other) == folder, "the copy is of what the manifest says"
    shard_paths(folder)[0].unlink()
    with pytest.raises(WeightzooError, match="is corrupt; repair the zoo"):
        in_format(run_dir, other)
    write_manifest(run_dir, collect_manifest(run_dir))
    assert read_shard(shard_paths(in_format(run_dir, other))[0])[1]["weightzoo.x"] == "new"
    assert verify_run(folder) == []


def test_one_repository_holds_one_format(hub, run_dir, other, tmp_path):
    publish(run_dir, REPO, CARD)
    before = hub.files(REPO)
    folder = in_format(run_dir, other)
    with pytest.raises(WeightzooError, match=f"publish it as {other} to another one, such as {REPO}-{other}"):
        publish(folder, REPO, CARD)
    assert hub.files(REPO) == before
    assert publish(folder, f"{REPO}-{other}", CARD).commits > 0
    assert publish(in_format(run_dir, other), f"{REPO}-{other}", CARD).commits == 0
    out = download(f"{REPO}-{other}", tmp_path / "out")
    assert list(open_zoo(out).records()) == list(open_zoo(run_dir).records())
