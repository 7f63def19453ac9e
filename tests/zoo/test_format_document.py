"""docs/FORMAT.md is enough: the golden shards are read here by its rules, without any code of weightzoo."""

import hashlib
import json
import math
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from zoo.layout import Slot, WeightLayout
from zoo.records import WeightRecord, record_metadata
from zoo.shards import FORMATS, read_shard

GOLDEN = Path(__file__).parent.parent / "data"


def golden_record() -> tuple[WeightLayout, WeightRecord]:
    layout = WeightLayout((Slot("a.bias", (3,), "a"), Slot("a.lora_B", (2, 2), "a"), Slot("b", (5,), "b")), 4)
    values = np.array([[1, 2, 3, 4], [5, 6, 7, 0], [-1, -2, -3, -4], [0.5, 0, 0, 0]], "<f2")
    metrics = {"l1": 0.125, "l1_copy": 0.25, "psnr": 20.0, "kid": 0.5}
    attributes = {"strength": 0.5, "recipe": [{"op": "invert"}]}
    words = ("negative", "Farben umgekehrt: grün")
    return layout, WeightRecord("invert", "Invert it", words, attributes, "train", 3, 250, 2, values, metrics)


def metadata(layout: WeightLayout) -> dict[str, str]:
    return record_metadata(
        layout, "ab" * 32, "filters", "Apache-2.0", "e2gan", "efficientnet-lite0", split="train"
    )


def tensors_by_the_document(layout: dict, blocks: np.ndarray) -> dict[str, np.ndarray]:
    flat, position, tensors = blocks.reshape(-1), 0, {}
    for layer in dict.fromkeys(slot["layer"] for slot in layout["slots"]):
        for slot in (slot for slot in layout["slots"] if slot["layer"] == layer):
            size = math.prod(slot["shape"])
            tensors[slot["name"]] = flat[position : position + size].reshape(slot["shape"])
            position += size
        position += -position % layout["block_size"]
    return tensors


def check(metadata: dict[str, str], row: dict, blocks: np.ndarray) -> None:
    layout = json.loads(metadata["weightzoo.layout"])
    digest = hashlib.sha256(json.dumps(layout, sort_keys=True).encode()).hexdigest()
    assert metadata["weightzoo.layout_id"] == digest[:16]
    assert (metadata["weightzoo.format_version"], metadata["weightzoo.records"]) == ("1", "1")
    tensors = tensors_by_the_document(layout, blocks)
    assert tensors["a.bias"].tolist() == [1, 2, 3]
    assert tensors["a.lora_B"].tolist() == [[4, 5], [6, 7]]
    assert tensors["b"].tolist() == [-1, -2, -3, -4, 0.5]
    assert (row["concept_id"], row["paraphrases"][1], row["attempt"]) == (
        "invert",
        "Farben umgekehrt: grün",
        2,
    )
    assert row["metrics"]["psnr"] == 20.0
    assert json.loads(row["attributes"]) == {"recipe": [{"op": "invert"}], "strength": 0.5}


def test_parquet_by_the_document():
    file = pq.ParquetFile(GOLDEN / "train-00000-of-00001.parquet")
    metadata = {key.decode(): value.decode() for key, value in file.metadata.metadata.items()}
    (row,) = file.read().to_pylist()
    check(metadata, row, np.frombuffer(row["blocks"], "<f2").reshape(-1, 4))


def test_webdataset_by_the_document():
    with tarfile.open(GOLDEN / "train-00000-of-00001.tar") as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}
    assert list(members) == ["__weightzoo__", "invert.json", "invert.safetensors"]
    row, weights = json.loads(members["invert.json"]), members["invert.safetensors"]
    assert hashlib.sha256(weights).hexdigest() == row["sha256"]
    start = 8 + int.from_bytes(weights[:8], "little")
    begin, end = json.loads(weights[8:start])["blocks"]["data_offsets"]
    blocks = np.frombuffer(weights[start + begin : start + end], "<f2").reshape(-1, 4)
    check(json.loads(members["__weightzoo__"]), row, blocks)


@pytest.mark.parametrize("name", FORMATS)
def test_golden_shards_are_read_and_written_as_ever(name, tmp_path):
    layout, record = golden_record()
    file = f"train-00000-of-00001{FORMATS[name].SUFFIX}"
    assert list(read_shard(GOLDEN / file)[0]) == [record]
    FORMATS[name].write_shard(tmp_path / file, [record], layout, metadata(layout))
    if name == "webdataset":  # Parquet files also name the version of the library that wrote them
        assert (tmp_path / file).read_bytes() == (GOLDEN / file).read_bytes()


def write_golden() -> None:
    """Write the golden shards; for a new format version only."""
    layout, record = golden_record()
    for shard_format in FORMATS.values():
        path = GOLDEN / f"train-00000-of-00001{shard_format.SUFFIX}"
        shard_format.write_shard(path, [record], layout, metadata(layout))


if __name__ == "__main__":
    write_golden()
