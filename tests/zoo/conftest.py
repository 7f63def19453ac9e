"""A tiny layout, records and a finished run folder made without any training."""

import hashlib

import numpy as np
import pytest

from zoo.concepts import Concept, write_concepts
from zoo.files import write_bytes, write_json, write_text
from zoo.layout import Slot, WeightLayout
from zoo.manifest import collect_manifest, write_manifest
from zoo.records import WeightRecord, record_metadata
from zoo.shards import FORMATS, shard_name
from zoo.statistics import block_statistics, save_statistics

BASE = b"weights"  # of the base generator


@pytest.fixture
def layout():
    slots = (Slot("a.lora_B", (5, 3), "a"), Slot("a.bias", (5,), "a"), Slot("b.weight", (7,), "b"))
    return WeightLayout(slots, block_size=8)


@pytest.fixture
def metadata(layout):
    base = hashlib.sha256(BASE).hexdigest()
    return record_metadata(
        layout, base, "filters", "apache-2.0", "e2gan", "efficientnet-lite0", split="train"
    )


@pytest.fixture
def make_record(layout):
    def make(name, split="train"):
        rng = np.random.default_rng(len(name) + sum(map(ord, name)))
        blocks = (rng.normal(size=(layout.num_blocks, 8)) * layout.mask.numpy()).astype("<f2")
        metrics = {"l1": rng.random(), "l1_copy": rng.random(), "psnr": 20.5, "kid": 1e-5}
        attributes = {"recipe": [{"op": "é", "x": 0.1}], "strength": 0.5}
        return WeightRecord(
            name, f"Make it {name}", ("é", "x y"), attributes, split, 3, 250, 1, blocks, metrics
        )

    return make


@pytest.fixture(params=sorted(FORMATS))
def shard_format(request):
    return FORMATS[request.param]


@pytest.fixture
def run_dir(tmp_path, layout, metadata, make_record, shard_format):
    """A finished zoo: two train shards, one validation shard, one rejected concept."""
    path = tmp_path / "run"
    names = {"train": ("c0", "c1", "c2", "c3"), "validation": ("v0", "v1")}
    concepts = [Concept(name, f"Make it {name}", split=split) for split in names for name in names[split]]
    write_concepts(path / "concepts.jsonl", concepts)
    write_json(path / "config.json", {"name": "fake"})
    layout.save(path / "layout.json")
    write_bytes(path / "base" / "generator.safetensors", BASE)
    row = '{"concept_id": "c3", "status": "rejected", "reason": "l1 too high", "strength": 0.5}\n'
    write_text(path / "rejected" / "train-00001-of-00002.jsonl", row)
    shards = [("train", 0, 2, ("c0", "c1")), ("train", 1, 2, ("c2",)), ("validation", 0, 1, ("v0", "v1"))]
    for split, index, count, members in shards:
        shard = path / "weights" / shard_name(split, index, count, shard_format.SUFFIX)
        records = [make_record(name, split) for name in members]
        shard_format.write_shard(shard, records, layout, metadata | {"weightzoo.split": split})
    statistics = block_statistics((make_record(name) for name in ("c0", "c1", "c2")), layout)
    save_statistics(path / "statistics.safetensors", statistics)
    write_text(path / "README.md", "# fake\n")
    write_manifest(path, collect_manifest(path))
    return path
