"""The whole journey of a team: a zoo is built on a cluster, published, downloaded elsewhere, learned and used."""

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.pipeline.conftest import micro_concepts
from zoo.concepts import write_concepts
from zoo.files import write_json
from zoo.manifest import load_manifest
from zoo.run import open_zoo

PHOTO = Path(__file__).parents[2] / "pipeline" / "photos" / "test" / "chelsea.jpg"
# seconds instead of a minute; the fleets, their workers and their files are the real ones
MICRO = {
    "name": "micro",
    "image_size": 16,
    "num_train_crops": 8,
    "num_test_crops": 4,
    "base": {"num_concepts": 2, "steps": 2},
    "training": {"steps": 3},
    "fleet_size": 2,
    "median_l1": 10.0,
}


@pytest.mark.ray
def test_from_a_cluster_by_way_of_the_hub_to_a_picture(step, hub, tmp_path):
    config, concepts = tmp_path / "config.json", tmp_path / "concepts.jsonl"
    write_json(config, MICRO)
    write_concepts(concepts, micro_concepts())
    built = step(
        "build", "--preset", "tiny", "--config", config, "--concepts", concepts, "--run-dir", tmp_path / "run",
        "--executor", "ray", "--workers", "2", "--json",
    )  # fmt: skip
    done = [
        json.loads(line) for line in (tmp_path / "run" / "logs" / "events.jsonl").read_text().splitlines()
    ]
    assert sum(event["event"] == "fleet" for event in done) == 3
    assert load_manifest(tmp_path / "run").counts["ok"] == built.json["counts"]["ok"] == 5
    step("inspect", tmp_path / "run", "--verify")

    step("publish", tmp_path / "run", "--repo", "user/team")
    step("download", "user/team", "--revision", "v1", "-o", tmp_path / "elsewhere")
    step("inspect", tmp_path / "elsewhere", "--verify")
    ours, theirs = open_zoo(tmp_path / "run"), open_zoo(tmp_path / "elsewhere")
    assert list(theirs.records()) == list(ours.records()) and theirs.manifest == ours.manifest

    step(
        "train",
        "--data",
        tmp_path / "elsewhere",
        "--preset",
        "tiny",
        "--steps",
        "3",
        "-o",
        tmp_path / "model",
    )
    step("generate", "Turn it into a negative", "--model", tmp_path / "model", "-o", tmp_path / "negative")
    step("apply", tmp_path / "negative", PHOTO, "-o", tmp_path / "negative.png")
    assert Image.open(tmp_path / "negative.png").size == Image.open(PHOTO).size
