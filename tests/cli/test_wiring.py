"""What the commands wire together: pictures rendered by the pipeline for polishing, pairs for the evaluation."""

import json

import pytest

from pipeline.heldout import HeldOutRequest, held_out_pairs
from pipeline.picture_batches import open_catalogue_edits
from tests.pipeline.conftest import build_catalogue_zoo
from weightgen.evaluation.grid import FEWEST_PAIRS, FinetuneRow, Grid
from weightgen.evaluation.held_out_pairs import HeldOut
from weightgen.training.config import PolishConfig
from weightgen.training.data import load_zoo
from weightgen.training.pseudo_labels import with_pseudo_labels
from weightgen.training.train import TrainConfig, train
from zoo.concepts import read_concepts


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return build_catalogue_zoo(tmp_path_factory.mktemp("wiring") / "zoo")


@pytest.fixture(scope="module")
def edits(zoo):
    return open_catalogue_edits(zoo)


def test_pseudo_labels_for_the_rest_of_the_catalogue(edits, zoo):
    dataset = load_zoo(zoo, "train")
    few = edits.concepts[:12]
    labelled = with_pseudo_labels(dataset, few, edits.crops, edits.teacher.edit)
    assert labelled.concept_ids[: len(dataset)] == dataset.concept_ids
    assert set(labelled.concept_ids) == {concept.id for concept in few} | set(dataset.concept_ids)
    by_id = {concept.id: (concept.prompt, *concept.paraphrases) for concept in few}
    assert all(
        by_id.get(name, words) == words
        for name, words in zip(labelled.concept_ids, labelled.prompts, strict=True)
    )
    assert labelled.blocks.isfinite().all() and labelled.blocks.shape[1:] == dataset.blocks.shape[1:]


def test_polish(run, zoo, edits, tmp_path, monkeypatch):
    options = {"width": 16, "num_layers": 1, "num_heads": 2}
    config = TrainConfig("transformer", options, steps=2, batch_size=4, device="cpu")
    train(config, load_zoo(zoo), tmp_path / "generated", validation=load_zoo(zoo, "validation"))
    monkeypatch.setattr("pipeline.picture_batches.open_catalogue_edits", lambda folder, seed, more: edits)
    command = ("polish", tmp_path / "generated", "--data", zoo, "-o", tmp_path / "polished")
    result = run(*command, "--steps", 2, "--json")
    assert result.code == 0, result.err
    assert result.json["stage"] == "polished" and result.json["polished"]["steps"] == 2
    rows = (tmp_path / "polished" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(rows[-1])["l1"] > 0
    itself = run(*command[:-1], tmp_path / "generated", "--steps", 2)
    assert itself.code == 2 and "is the model to polish" in itself.error


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("train", "--more-concepts", 9), "--more-concepts is an option of --pseudo-labels"),
        (("polish", "m", "--steps", 3, "--seconds", 3), "exclude each other"),
        (("polish", "m", "--learning-rate", 0), "is not a number above 0"),
    ],
)
def test_options_that_do_not_go_together(run, tmp_path, command, message):
    result = run(*command, "-o", tmp_path / "model")
    assert result.code == 2 and message in result.error and not (tmp_path / "model").exists()


def test_polish_says_its_defaults(run):
    config = PolishConfig()
    assert f"[default: {config.steps};" in run("polish", "--help").out and config.learning_rate == 4e-4


ROW = FinetuneRow("combination", 20, "full", ("base",), 1, 4, 4)
GRID = Grid(
    "toy",
    ("copy",),
    (),
    (ROW,),
    splits=("combination", "external"),
    test_images=4,
    concepts_per_split=2,
    own_concepts=0,
    picture_concepts=1,
    validation_concepts=1,
)


REQUEST = HeldOutRequest(GRID.concept_limits(), GRID.pairs_needed, GRID.test_images, GRID.picture_concepts)


def test_pairs_for_an_evaluation(zoo, tmp_path):
    made = held_out_pairs(tmp_path, zoo, REQUEST)
    held_out = HeldOut.open(made.folders)
    combination = held_out.concepts("combination")
    assert len(combination) == 2 and len(held_out.concepts("validation")) == 1
    assert sorted(held_out.count(c.id, "train") for c in combination) == [FEWEST_PAIRS, 20]
    assert {held_out.count(c.id, "test") for c in combination} == {4}
    external = held_out.concepts("external")
    assert len(external) == 2 and {held_out.count(c.id, "test") for c in external} == {4}
    assert made.near_duplicates.is_file() and len(list(made.pictures.glob("*/source"))) == 2
    zoo_ids = {concept.id for concept in read_concepts(zoo / "concepts.jsonl") if concept.split == "train"}
    assert not zoo_ids & {concept.id for concept in held_out.all_concepts}
    assert held_out_pairs(tmp_path, zoo, REQUEST) == made


def test_pairs_needed():
    assert GRID.pairs_needed("combination", 0, 256) == 20
    assert GRID.pairs_needed("combination", 1, 256) == FEWEST_PAIRS
    assert GRID.pairs_needed("validation", 3, 256) == 20
