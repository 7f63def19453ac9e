"""Which concept is in which shard follows from the small files alone, generations of an extension included."""

import pytest

from zoo.concepts import Concept
from zoo.errors import WeightzooError
from zoo.hub.selection import choose_shards, concepts_by_shard, rejected_name, with_concepts
from zoo.manifest import ShardEntry, ZooManifest

SHARDS = (
    ("weights/train-00000-of-00002.parquet", "train", 2),
    ("weights/train-00001-of-00002.parquet", "train", 1),
    ("weights/train-g01-00000-of-00001.parquet", "train", 2),
    ("weights/validation-00000-of-00001.parquet", "validation", 1),
)
CONCEPTS = [
    Concept(name, name, split="validation" if name == "v" else "train")
    for name in ("a", "b", "v", "c", "d", "x", "y")
]
REJECTED = {"weights/train-00001-of-00002.parquet": ["d"]}


@pytest.fixture
def manifest():
    entries = tuple(ShardEntry(name, split, "0" * 64, 1, records) for name, split, records in SHARDS)
    words = ("layout_id", "base_sha256", "gan", "teacher", "licence", "feature_network", "statistics")
    return ZooManifest(1, "z", *["x"] * len(words), counts={}, shards=entries)


def test_concepts_by_shard(manifest):
    held = concepts_by_shard(manifest, CONCEPTS, REJECTED)
    assert list(held.values()) == [["a", "b"], ["c", "d"], ["x", "y"], ["v"]]
    for wrong in (
        CONCEPTS[:-1],
        [*CONCEPTS, Concept("z", "z")],
        sorted(CONCEPTS, key=lambda concept: concept.id != "d"),
    ):
        with pytest.raises(WeightzooError, match="choose by --shards"):
            concepts_by_shard(manifest, wrong, REJECTED)


@pytest.mark.parametrize(
    ("split", "shards", "expected"),
    [
        (None, None, [0, 1, 2, 3]),
        ("train", None, [0, 1, 2]),
        ("train", "1-2", [1, 2]),
        ("train", "0, 2", [0, 2]),
        (None, "0", [0, 3]),
        (None, "2-99999999999999999999", [2]),
    ],
)
def test_shards_by_split_and_number(manifest, split, shards, expected):
    names = [entry.name for entry in choose_shards(manifest, split, shards)]
    assert names == [SHARDS[i][0] for i in expected]


@pytest.mark.parametrize("shards", ["", "a", "-1", "1-", "1-x", "3-2", "9"])
def test_numbers_that_choose_nothing(manifest, shards):
    with pytest.raises(WeightzooError, match="cannot be read|has no shard"):
        choose_shards(manifest, None, shards)


def test_shards_by_concept(manifest):
    everything = list(manifest.shards)

    def names(*patterns):
        chosen = with_concepts(everything, manifest, CONCEPTS, REJECTED, patterns)
        return [entry.name for entry in chosen]

    assert names("[ab]") == [SHARDS[0][0]]
    assert names("x", "v") == [SHARDS[2][0], SHARDS[3][0]]
    assert names("?") == [shard[0] for shard in SHARDS]
    with pytest.raises(WeightzooError, match="no trained concept of z matches d"):
        names("d")


def test_the_rejected_file_beside_a_shard():
    for suffix in (".parquet", ".tar"):
        assert (
            rejected_name(f"weights/train-g01-00000-of-00001{suffix}")
            == "rejected/train-g01-00000-of-00001.jsonl"
        )
