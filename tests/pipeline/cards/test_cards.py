"""The card says what the manifest says; a published zoo is read by plain clients and comes back as it was."""

import hashlib
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import DatasetCard
from PIL import Image

from pipeline.cards.pairs_card import pairs_card
from pipeline.cards.samples import SAMPLES_FILE
from pipeline.cards.zoo_card import _rejected_table, card_files
from zoo.concepts import Concept, read_concepts
from zoo.files import write_text
from zoo.hub import EMBEDDED, download, find_zoo, publish
from zoo.manifest import load_manifest
from zoo.records import METRICS, arrow_schema
from zoo.run import open_zoo
from zoo.verify import verify_run

ROOT = Path(__file__).resolve().parents[3]
REPO = "user/micro"
# what a stranger runs who has never heard of weightzoo
PLAIN_READER = """
import hashlib, json, sys
import fsspec
import numpy as np
import pyarrow.parquet as pq
from datasets import load_dataset

repo, shard = sys.argv[1:]
streamed = {}
for row in load_dataset(repo, "weights", split="train", streaming=True):
    streamed[row["concept_id"]] = hashlib.sha256(np.frombuffer(row["blocks"], "<f2").tobytes()).hexdigest()
with fsspec.open(f"hf://datasets/{repo}/{shard}") as file:
    opened = pq.read_table(file).column("concept_id").to_pylist()
assert not {"zoo", "pipeline", "weightgen"} & set(sys.modules)
print(json.dumps({"streamed": streamed, "opened": opened}))
"""


def lint(text: str, zoo) -> None:
    """Check a card against the manifest of its zoo."""
    manifest, layout = zoo.manifest, zoo.layout
    data = DatasetCard(text).data.to_dict()
    assert data["license"] == manifest.licence.lower() == "apache-2.0"
    assert data["pretty_name"] == manifest.name and "weightzoo" in data["tags"]
    assert data["size_categories"] == ["n<1K"] and manifest.counts["ok"] < 1000
    (config,), info = data["configs"], data["dataset_info"]
    if isinstance(info, list):  # as the first cards have it
        (info,) = info
    splits = list(dict.fromkeys(entry.split for entry in manifest.shards))
    assert [item["split"] for item in config["data_files"]] == splits
    for item, split in zip(config["data_files"], info["splits"], strict=True):
        own = [entry for entry in manifest.shards if entry.split == split["name"]]
        assert all(Path(entry.name).match(item["path"]) for entry in own)
        assert split["num_examples"] == sum(entry.records for entry in own)
        assert split["num_bytes"] == sum(entry.bytes for entry in own)
        row = f"| {split['name']} | {split['num_examples']} | {len(own)} | {split['num_bytes'] / 1e6:.2f} |"
        assert row in text
    assert [feature["name"] for feature in info["features"]] == arrow_schema(layout).names
    for fact in (manifest.base_sha256, manifest.layout_id, manifest.feature_network, manifest.gan):
        assert f"`{fact}`" in text
    assert f"weights of {manifest.counts['ok']} trained" in text
    assert f"{layout.num_blocks} blocks of {layout.block_size}" in text
    rows = re.findall(r"^\| (L1|L1 of copy|PSNR \(dB\)|KID) \| \S+ \| (\S+) \|", text, re.MULTILINE)
    medians = dict(zip(METRICS, (float(median) for _, median in rows), strict=True))
    assert medians == pytest.approx(manifest.quality, rel=1e-3, abs=1e-5)
    table = re.search(r"\| strength \|.*?\n\n", text, re.DOTALL).group()
    rows = re.findall(r"^\| \S+ \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|", table, re.MULTILINE)
    counted = np.array([list(map(int, row)) for row in rows])
    assert counted.sum(0).tolist() == [
        manifest.counts[key] for key in ("concepts", "ok", "rejected", "failed")
    ]


def test_a_strength_that_is_no_number_has_a_row_of_its_own():
    strengths = [0.5, "0.5", 2, "high", None, float("nan"), ["a"]]
    concepts = [Concept(f"c{i}", "Do it", (), {"strength": value}) for i, value in enumerate(strengths)]
    rejected = [{"concept_id": "c3", "status": "failed"}]
    assert _rejected_table([*concepts, Concept("plain", "Do it")], rejected).splitlines() == [
        "| 0.5 | 2 | 2 | 0 | 0 |",
        "| 1 | 1 | 1 | 0 | 0 |",
        "| 2 | 1 | 1 | 0 | 0 |",
        "| other | 4 | 3 | 0 | 1 |",
    ]


def test_the_card_agrees_with_the_manifest(micro_zoo):
    files = card_files(micro_zoo, REPO)
    text = files["README.md"].decode()
    lint(text, open_zoo(micro_zoo))
    assert f'load_dataset("{REPO}", "weights"' in text and f"weightzoo download {REPO} -o micro" in text
    for concept in read_concepts(micro_zoo / "concepts.jsonl"):
        assert f"- `{concept.id}` ({concept.split}): {concept.prompt}" in text
    assert f"({SAMPLES_FILE})" in text and "$" not in text
    picture = Image.open(io.BytesIO(files[SAMPLES_FILE]))
    assert picture.format == "WEBP" and picture.height > 128
    assert card_files(micro_zoo, REPO) == files, "a second run would make another commit"


def test_the_embedded_zoos_card_agrees_with_its_manifest():
    zoo = open_zoo(find_zoo(EMBEDDED[0]))
    lint((zoo.path / "README.md").read_text(encoding="utf-8"), zoo)


def test_own_photographs_are_not_shown(micro_zoo, tmp_path):
    for name in (
        "config.json",
        "concepts.jsonl",
        "layout.json",
        "manifest.json",
        "photographs.json",
        "base",
        "weights",
    ):
        (tmp_path / name).symlink_to(micro_zoo / name)
    (tmp_path / "config.json").unlink()
    config = json.loads((micro_zoo / "config.json").read_text())
    own = ROOT / "pipeline" / "photos" / "test"
    write_text(tmp_path / "config.json", json.dumps(config | {"test_photos": str(own)}))
    assert set(card_files(tmp_path, REPO)) == {"README.md"}


def test_the_card_of_pairs(micro_zoo, tmp_path):
    write_text(tmp_path / "pairs" / "one" / "0.png", "x" * 200_000)
    (tmp_path / "manifest.json").symlink_to(micro_zoo / "manifest.json")
    card = DatasetCard(pairs_card(tmp_path, f"{REPO}-pairs", REPO).decode())
    assert card.data.to_dict()["configs"][0]["data_files"][0]["path"] == "pairs/**"
    assert f"datasets/{REPO}" in card.text and "1 file, 0.2 MB" in card.text and "$" not in card.text
    for name in ("sources", "targets-train-00000-of-00001", "targets-validation-g01-00000-of-00001"):
        write_text(tmp_path / "pairs" / f"{name}.tar", "")
    data = DatasetCard(pairs_card(tmp_path, f"{REPO}-pairs", REPO).decode()).data.to_dict()
    targets, sources = data["configs"]
    assert targets["data_files"] == [
        {"split": split, "path": f"pairs/targets-{split}-*.tar"} for split in ("train", "validation")
    ]
    assert sources["data_files"] == [{"split": "train", "path": "pairs/sources.tar"}]
    assert {info["config_name"] for info in data["dataset_info"]} == {"targets", "sources"}


def test_published_downloaded_verified_and_read_by_plain_clients(hub, micro_zoo, plain_reader, tmp_path):
    publish(micro_zoo, REPO, card_files(micro_zoo, REPO))
    out = download(REPO, tmp_path / "out", revision="v1")
    assert verify_run(out) == [] and load_manifest(out) == load_manifest(micro_zoo)
    zoo = open_zoo(out)
    shard = next(entry.name for entry in zoo.manifest.shards if entry.split == "train")
    read = plain_reader(PLAIN_READER, REPO, shard)
    expected = {r.concept_id: hashlib.sha256(r.blocks.tobytes()).hexdigest() for r in zoo.records("train")}
    assert read["streamed"] == expected
    assert set(read["opened"]) <= set(expected) and read["opened"]
