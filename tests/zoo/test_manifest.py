"""A finished folder verifies; whatever is done to it afterwards is found; no concept can get lost."""

import dataclasses
import json

import numpy as np
import pytest

from zoo.errors import WeightzooError
from zoo.files import write_json
from zoo.manifest import MANIFEST_FILE, collect_manifest, load_manifest, read_rejected, shard_paths, write_manifest
from zoo.run import open_zoo
from zoo.statistics import save_statistics
from zoo.verify import verify_run, verify_shard


def test_a_finished_run_opens(run_dir, make_record, layout):
    zoo = open_zoo(run_dir)
    assert list(zoo.records("train")) == [make_record(name) for name in ("c0", "c1", "c2")]
    assert [record.concept_id for record in zoo.records()] == ["c0", "c1", "c2", "v0", "v1"]
    assert [concept.id for concept in zoo.concepts("validation")] == ["v0", "v1"]
    assert zoo.layout == layout
    assert zoo.manifest.counts == {
        "concepts": 6,
        "ok": 5,
        "rejected": 1,
        "failed": 0,
        "ok/train": 3,
        "ok/validation": 2,
    }
    assert verify_run(run_dir) == []


def test_statistics_are_numpys(run_dir, make_record, layout):
    statistics = open_zoo(run_dir).statistics()
    blocks = np.stack([make_record(name).blocks.astype(np.float64) for name in ("c0", "c1", "c2")])
    deviations = blocks - blocks.mean(0)
    mask = layout.mask.numpy()
    std = [np.sqrt((deviations[:, i, mask[i]] ** 2).mean()) for i in range(layout.num_blocks)]
    np.testing.assert_allclose(statistics["mean"], blocks.mean(0), atol=1e-6)
    np.testing.assert_allclose(statistics["std"], std, rtol=1e-5)


def test_the_manifest_is_the_same_when_written_again(run_dir):
    before = (run_dir / MANIFEST_FILE).read_bytes()
    write_manifest(run_dir, collect_manifest(run_dir))
    assert (run_dir / MANIFEST_FILE).read_bytes() == before


def test_damage_is_found(run_dir):
    shard = shard_paths(run_dir)[0]
    for path in (shard, run_dir / "base" / "generator.safetensors", run_dir / "concepts.jsonl"):
        data = path.read_bytes()
        path.write_bytes(data[:-3])
        assert any(path.name in problem for problem in verify_run(run_dir))
        path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
        assert any(path.name in problem for problem in verify_run(run_dir))
        path.unlink()
        assert any(f"{path.name} is missing" in problem for problem in verify_run(run_dir))
        path.write_bytes(data)
    shard.with_name("extra" + shard.suffix).write_bytes(shard.read_bytes())
    assert any("not in the manifest" in problem for problem in verify_run(run_dir))


def test_a_shard_of_another_base_is_found(run_dir, layout, metadata, shard_format, make_record):
    shard = shard_paths(run_dir)[0]
    records = [make_record("c0"), make_record("c1")]
    shard_format.write_shard(shard, records, layout, metadata | {"weightzoo.base_sha256": "f" * 64})
    problems = verify_shard(shard, load_manifest(run_dir))
    assert len(problems) == 1 and "base_sha256" in problems[0]
    with pytest.raises(WeightzooError, match="differs from the other shards"):
        collect_manifest(run_dir)


def test_huge_weights_are_flagged(tmp_path, layout, metadata, shard_format, make_record):
    record = make_record("c0")
    path = tmp_path / f"x{shard_format.SUFFIX}"
    shard_format.write_shard(
        path, [dataclasses.replace(record, blocks=record.blocks * 0 + 900)], layout, metadata
    )
    assert "beyond +-100" in verify_shard(path)[0]


def test_a_lost_or_doubled_concept_stops_the_manifest(run_dir):
    rejected = run_dir / "rejected" / "train-00001-of-00002.jsonl"
    row = json.loads(rejected.read_text())
    rejected.write_text("")
    with pytest.raises(WeightzooError, match="'c3' has 0 outcomes"):
        collect_manifest(run_dir)
    rejected.write_text(json.dumps(row) + "\n" + json.dumps(row | {"concept_id": "c0"}) + "\n")
    with pytest.raises(WeightzooError, match="'c0' has 2 outcomes"):
        collect_manifest(run_dir)


def test_a_reason_may_hold_what_other_readers_take_for_the_end_of_a_line(run_dir):
    (path,) = (run_dir / "rejected").glob("*.jsonl")
    row = json.loads(path.read_text()) | {"reason": "one\u2028two\u2029three\u0085four"}
    path.write_text(json.dumps(row, ensure_ascii=False) + "\n")
    assert read_rejected(run_dir) == [row]
    path.write_text("[" * 10**5)
    with pytest.raises(WeightzooError, match="cannot read"):
        read_rejected(run_dir)


def test_an_unfinished_or_newer_run_is_refused(run_dir, tmp_path):
    with pytest.raises(WeightzooError, match="does not exist"):
        open_zoo(tmp_path / "nowhere")
    path = run_dir / MANIFEST_FILE
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"format_version": 9}))
    with pytest.raises(WeightzooError, match="format version 9"):
        open_zoo(run_dir)
    path.unlink()
    with pytest.raises(WeightzooError, match="no manifest.json"):
        open_zoo(run_dir)


def test_every_listed_file_has_its_size(run_dir):
    manifest = load_manifest(run_dir)
    assert set(manifest.sizes) == set(manifest.files)
    assert all((run_dir / name).stat().st_size == size for name, size in manifest.all_sizes().items())
    for change in ("sizes", "shards"):
        values = json.loads((run_dir / MANIFEST_FILE).read_text())
        if change == "sizes":
            values["sizes"]["layout.json"] += 1
        else:
            values["shards"][0]["bytes"] += 1
        write_json(run_dir / MANIFEST_FILE, values)
        (problem,) = verify_run(run_dir)
        assert "size is not the manifest's" in problem
        write_manifest(run_dir, manifest)
    assert verify_run(run_dir) == []


@pytest.mark.parametrize("name", ["../../x.safetensors", "/tmp/x", "a//b", "a\nb", "x" * 250, "concepts.txt"])
def test_statistics_are_a_file_of_the_zoo(run_dir, name):
    save_statistics(run_dir.parent.parent / "x.safetensors", {"mean": np.zeros(3)})
    values = json.loads((run_dir / MANIFEST_FILE).read_text()) | {"statistics": name}
    write_json(run_dir / MANIFEST_FILE, values)
    (problem,) = verify_run(run_dir)
    assert "not a path inside a zoo" in problem or "not in the manifest's files" in problem
    with pytest.raises(WeightzooError, match="not a path inside a zoo|not in the manifest's files"):
        open_zoo(run_dir).statistics()


@pytest.mark.parametrize(
    "arrays",
    [
        {"mean": np.zeros((4, 8), np.float32)},
        {"mean": np.zeros((4, 8), np.float32), "std": np.ones(5, np.float32)},
        {"mean": np.zeros((4, 8), np.float32), "std": np.full(4, np.nan, np.float32)},
        {"mean": np.zeros((4, 8)), "std": np.ones(4)},
    ],
)
def test_statistics_that_do_not_fit_the_layout(run_dir, arrays):
    zoo = open_zoo(run_dir)
    assert zoo.layout.num_blocks == 4
    save_statistics(run_dir / "statistics.safetensors", arrays)
    with pytest.raises(WeightzooError, match="statistics.safetensors holds"):
        zoo.statistics()


def test_a_base_that_is_not_that_of_the_records_is_found(run_dir):
    """The file and its hash in the manifest fit each other, but not the shards."""
    (run_dir / "base" / "generator.safetensors").write_bytes(b"another")
    write_manifest(run_dir, collect_manifest(run_dir))
    (problem,) = verify_run(run_dir)
    assert "base/generator.safetensors is not the base of the records" in problem


@pytest.mark.parametrize(
    "change", [{"records": -1}, {"records": 10**30}, {"records": 1, "bytes": 10**30}, {"split": "../x"}], ids=str
)
def test_splits_and_sizes_that_no_shard_has(run_dir, change):
    values = json.loads((run_dir / MANIFEST_FILE).read_text())
    values["shards"][0] |= change
    write_json(run_dir / MANIFEST_FILE, values)
    with pytest.raises(WeightzooError, match="impossible split or size of weights/train-00000"):
        open_zoo(run_dir)


def test_a_folder_in_place_of_a_file_is_found(run_dir):
    values = json.loads((run_dir / MANIFEST_FILE).read_text())
    values["files"]["base"] = "0" * 64
    write_json(run_dir / MANIFEST_FILE, values)
    assert any("base is missing" in problem for problem in verify_run(run_dir))


def test_a_config_that_is_no_object_is_named(run_dir):
    write_json(run_dir / "config.json", [])
    with pytest.raises(WeightzooError, match="config.json holds no JSON object"):
        collect_manifest(run_dir)


def test_a_shard_of_no_split_is_refused(run_dir, shard_format, layout, metadata, make_record):
    shard = shard_paths(run_dir)[0]
    without = {key: value for key, value in metadata.items() if key != "weightzoo.split"}
    shard_format.write_shard(shard, [make_record("c0"), make_record("c1")], layout, without)
    with pytest.raises(WeightzooError, match="does not say which split"):
        collect_manifest(run_dir)


def test_keys_of_a_later_writer_are_passed_over(run_dir):
    values = json.loads((run_dir / MANIFEST_FILE).read_text())
    write_json(run_dir / MANIFEST_FILE, values | {"colour": "green"})
    assert verify_run(run_dir) == []
