"""Every storage format gives back equal records, writes equal bytes, and refuses what is damaged."""

import dataclasses
import json

import datasets
import numpy as np
import pytest
import safetensors.numpy
import webdataset

from zoo.errors import WeightzooError
from zoo.layout import WeightLayout
from zoo.shards import format_of, parquet, read_shard, shard_name
from zoo.shards import webdataset as webdataset_format


@pytest.fixture
def shard(tmp_path, layout, metadata, make_record, shard_format):
    path = tmp_path / shard_name("train", 0, 2, shard_format.SUFFIX)
    shard_format.write_shard(path, [make_record(f"c{i}") for i in range(5)], layout, metadata)
    return path


def test_round_trip(shard, layout, metadata, make_record):
    records, stored_metadata, stored_layout = read_shard(shard)
    assert list(records) == [make_record(f"c{i}") for i in range(5)]
    assert stored_metadata == metadata | {"weightzoo.records": "5"}
    assert stored_layout == layout


def test_an_empty_shard_describes_itself(tmp_path, layout, metadata, shard_format):
    path = tmp_path / f"empty{shard_format.SUFFIX}"
    shard_format.write_shard(path, [], layout, metadata)
    records, stored_metadata, stored_layout = read_shard(path)
    assert (list(records), stored_layout) == ([], layout)
    assert stored_metadata == metadata | {"weightzoo.records": "0"}


def test_equal_records_give_equal_bytes(shard, tmp_path, layout, metadata, make_record, shard_format):
    again = tmp_path / f"again{shard_format.SUFFIX}"
    shard_format.write_shard(again, [make_record(f"c{i}") for i in range(5)], layout, metadata)
    assert again.read_bytes() == shard.read_bytes()


def test_every_truncation_is_refused(shard, tmp_path):
    data = shard.read_bytes()
    content = len(data.rstrip(b"\0")) if shard.suffix == ".tar" else len(data)  # a tar ends in zeros
    for size in range(0, content, 509):
        cut = tmp_path / f"cut{shard.suffix}"
        cut.write_bytes(data[:size])
        with pytest.raises(WeightzooError, match=r"cut.*(truncated or corrupt|not a weightzoo shard)"):
            list(read_shard(cut)[0])


def test_a_flipped_bit_in_the_weights_is_refused(shard, make_record):
    data = bytearray(shard.read_bytes())
    data[data.index(make_record("c3").blocks.tobytes()) + 5] ^= 4
    shard.write_bytes(data)
    with pytest.raises(WeightzooError, match="truncated or corrupt"):
        list(read_shard(shard)[0])


def test_another_format_version_says_which_tool_reads_it(tmp_path, layout, metadata, shard_format):
    path = tmp_path / f"new{shard_format.SUFFIX}"
    shard_format.write_shard(path, [], layout, metadata | {"weightzoo.format_version": "7"})
    with pytest.raises(WeightzooError, match="format version 7, this weightzoo reads 1; install weightzoo 7"):
        read_shard(path)


def test_unfit_records_are_not_written(tmp_path, layout, metadata, make_record, shard_format):
    path = tmp_path / f"bad{shard_format.SUFFIX}"
    good = make_record("c0")
    nan = dataclasses.replace(good, blocks=np.full_like(good.blocks, np.nan))
    wide = dataclasses.replace(good, blocks=good.blocks.astype(np.float32))
    for record, message in ((nan, "NaN or infinite"), (wide, "needs float16")):
        with pytest.raises(WeightzooError, match=message):
            shard_format.write_shard(path, [record], layout, metadata)
    other = WeightLayout(layout.slots, block_size=16)
    with pytest.raises(WeightzooError, match="needs float16"):
        shard_format.write_shard(path, [good], other, metadata)
    assert not path.exists()


def test_files_that_are_no_shards_are_named(tmp_path):
    with pytest.raises(WeightzooError, match=r"not a weight shard; known suffixes: .parquet, .tar"):
        format_of(tmp_path / "x.zip")
    with pytest.raises(WeightzooError, match="does not exist"):
        read_shard(tmp_path / "x.parquet")


def test_parquet_streams_through_plain_datasets(tmp_path, layout, metadata, make_record):
    path = tmp_path / "train-00000-of-00001.parquet"
    parquet.write_shard(path, [make_record("c0"), make_record("c1")], layout, metadata)
    stream = datasets.load_dataset("parquet", data_files=str(path), split="train", streaming=True)
    row = list(stream)[1]
    assert (row["concept_id"], row["metrics"]["psnr"]) == ("c1", 20.5)
    blocks = np.frombuffer(row["blocks"], "<f2").reshape(-1, 8)
    np.testing.assert_array_equal(blocks, make_record("c1").blocks)


def test_tar_streams_through_plain_datasets(tmp_path, layout, metadata, make_record):
    """Records of a catalogue have attributes of different types under the same key."""
    path = tmp_path / "train-00000-of-00001.tar"
    recipes = [[{"op": "glow", "start": 0.5}], [{"op": "line", "start": [0.0, 1.0]}], []]
    records = [
        dataclasses.replace(make_record(f"c{i}"), attributes={"recipe": recipe})
        for i, recipe in enumerate(recipes)
    ]
    webdataset_format.write_shard(path, records, layout, metadata)
    rows = list(datasets.load_dataset("webdataset", data_files=str(path), split="train", streaming=True))
    assert [json.loads(row["json"]["attributes"])["recipe"] for row in rows] == recipes
    for row, record in zip(rows, records, strict=True):
        np.testing.assert_array_equal(safetensors.numpy.load(row["safetensors"])["blocks"], record.blocks)


def test_tar_streams_through_plain_webdataset(tmp_path, layout, metadata, make_record):
    path = tmp_path / "train-00000-of-00001.tar"
    webdataset_format.write_shard(path, [make_record("c0"), make_record("c1")], layout, metadata)
    rows = list(webdataset.WebDataset(str(path), shardshuffle=False))
    assert [row["__key__"] for row in rows] == ["c0", "c1"]
    assert make_record("c1").blocks.tobytes() in rows[1]["safetensors"]
