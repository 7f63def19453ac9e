"""The pictures that the report opens with: each is of the network that stands under it, and made once."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tests.weightgen.tiny_world import SOLVED, make_paired_model, make_pairs, make_zoo
from weightgen.evaluation.grid import LearningRates
from weightgen.evaluation.held_out_pairs import HeldOut
from weightgen.finetuning.starts import Origins
from weightgen.report.pair_pictures import pair_stories
from zoo.concepts import Concept
from zoo.files import read_json


@pytest.fixture
def context(tmp_path):
    """All that the pictures ask of an evaluation of two concepts, the first of them with five pairs."""
    zoo = make_zoo(tmp_path / "zoo", SOLVED)
    model = make_paired_model(tmp_path / "paired", zoo)
    concepts = tuple(Concept(name, "make it dark", ("a dark look",), split="external") for name in ("dark", "none"))
    folders = {concept.id: tmp_path / concept.id for concept in concepts}
    for name, count in (("train", 5), ("test", 2)):
        make_pairs(folders["dark"] / name, count, 24, seed=count)
    grid = SimpleNamespace(splits=("external",), concepts_per_split=8, picture_concepts=3)
    config = SimpleNamespace(
        models={"paired": str(model)}, grid=grid, pictures_dir=None, learning_rates=LearningRates(), seed=0
    )
    return SimpleNamespace(
        out_dir=tmp_path / "out",
        config=config,
        near_duplicates=frozenset(),
        held_out=HeldOut(folders, concepts),
        origins=Origins(str(zoo)),
        size=24,
    )


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), dtype=float) / 255


def test_networks_of_the_pairs_that_there_are_and_scratch_edit_the_photograph_once(context):
    (story,) = pair_stories(context)
    assert [picture.path.name for picture in story.edits] == ["1-pairs.png", "4-pairs.png", "scratch.png"]
    source, target = pixels(story.source), pixels(story.target)
    for picture, pairs in zip(story.edits, ("1 pair", "4 pairs", "scratch, 4 pairs"), strict=True):
        about = read_json(picture.path.with_suffix(".json"))
        assert about["l1"] == pytest.approx(np.abs(pixels(picture.path) - target).mean(), abs=1e-5)
        assert picture.caption.startswith(f"{pairs}, ")
    generated = [read_json(picture.path.with_suffix(".json")) for picture in story.edits[:2]]
    assert all(row["l1"] < np.abs(source - target).mean() / 2 for row in generated)
    scratch = read_json(story.edits[2].path.with_suffix(".json"))
    assert scratch["seconds"] == generated[-1]["seconds"]
    before = {path: path.stat().st_mtime_ns for path in context.out_dir.rglob("*.png")}
    assert pair_stories(context) == [story]
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert not list(context.out_dir.rglob("*.safetensors"))


def test_without_a_model_that_reads_pairs_there_are_none(context):
    context.config.models = {"polished": "somewhere"}
    assert pair_stories(context) == []
