"""Batches of pictures: a function of seed and step, without held-out concepts and without test photographs."""

import shutil
from dataclasses import replace

import pytest
import torch
from PIL import Image

from pipeline.concepts.catalogue import more_concepts, polish_concepts, test_concepts
from pipeline.fleets.shared import source_crops
from pipeline.picture_batches import (
    CONCEPTS_PER_BATCH,
    CROPS_PER_CONCEPT,
    open_catalogue_edits,
    train_concepts,
)
from pipeline.run_folder.private_paths import read_config
from pipeline.teachers import TEACHERS
from pipeline.teachers.filters import FiltersTeacher
from tests.pipeline.conftest import build_catalogue_zoo
from zoo.concepts import Concept
from zoo.config import save_config
from zoo.errors import WeightzooError
from zoo.hub import find_zoo
from zoo.run import open_zoo


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return build_catalogue_zoo(tmp_path_factory.mktemp("pictures") / "zoo")


@pytest.fixture(scope="module")
def edits(zoo):
    return open_catalogue_edits(zoo)


def test_batches_depend_on_seed_and_step_only(edits):
    first = [batch for _, batch in zip(range(3), edits.batches(), strict=False)]
    again = next(edits.batches(start_step=2))
    assert again.prompts == first[2].prompts
    assert torch.equal(again.targets, first[2].targets) and torch.equal(again.sources, first[2].sources)
    assert first[0].prompts != first[1].prompts
    assert first[0].targets.shape == (CONCEPTS_PER_BATCH, CROPS_PER_CONCEPT, 3, 16, 16)
    assert float(first[0].targets.min()) >= 0 and float(first[0].targets.max()) <= 1


def test_no_held_out_concept_is_polished_on(edits, zoo):
    held_out = {c.id for split in ("combination", "value", "family") for c in test_concepts(split)}
    used = {concept.id for concept in edits.concepts}
    assert not used & held_out and not used & {concept.id for concept in edits.validation}
    assert len(edits.concepts) == len(polish_concepts())
    more = open_catalogue_edits(zoo, more_concepts=40).concepts[len(edits.concepts) :]
    assert 30 < len(more) <= 40 and not held_out & {concept.id for concept in more}
    (batch,) = edits.validation_batches()
    assert batch.prompts == [edits.validation[0].paraphrases[0]]


def test_a_zoo_of_concepts_beyond_the_catalogue_is_polished_on_its_own(zoo, edits):
    own = [Concept("ours", "Do ours"), edits.concepts[3]]
    held = edits.concepts[:1]
    concepts = train_concepts(own, held, 0)
    assert [c.id for c in concepts] == [c.id for c in edits.concepts[1:]] + ["ours"]
    assert train_concepts(edits.concepts[:9], [], 0) == edits.concepts


def test_the_embedded_zoo_has_no_train_concept_that_the_catalogue_lacks():
    opened = open_zoo(find_zoo("weightzoo-small"))
    members, validation = opened.concepts("train"), opened.concepts("validation")
    assert train_concepts(members, validation, 50) == [*polish_concepts(), *more_concepts(50)]


def test_a_validation_concept_without_paraphrases_is_worded_as_its_prompt(edits):
    bare = replace(edits.validation[0], paraphrases=())
    (batch,) = replace(edits, validation=[bare]).validation_batches()
    assert batch.prompts == [bare.prompt]


def test_no_test_photograph_is_polished_on_where_one_folder_holds_all(zoo, tmp_path):
    copied, photos = tmp_path / "zoo", tmp_path / "photos"
    shutil.copytree(zoo, copied)
    photos.mkdir()
    for i in range(10):
        Image.new("RGB", (40, 40), (20 * i, 20 * i, 20 * i)).save(photos / f"{i}.png")
    config = replace(read_config(copied), train_photos=str(photos), test_photos=str(photos))
    save_config(copied / "config.json", config)
    seen, measured = (
        {round(float(crop.mean()) * 255) for crop in part}
        for part in (open_catalogue_edits(copied).crops, source_crops(config)[1])
    )
    assert len(seen) == 8 and not seen & measured


@pytest.mark.parametrize(("teacher", "message"), [("pairs", "cannot edit other photographs"), ("refusing", "no train")])
def test_a_teacher_that_can_edit_nothing_else_is_named(zoo, tmp_path, monkeypatch, teacher, message):
    class Refusing(FiltersTeacher):
        def refusal(self, concept):
            return "no"

    monkeypatch.setitem(TEACHERS, "refusing", Refusing)
    copied = tmp_path / "zoo"
    shutil.copytree(zoo, copied)
    save_config(copied / "config.json", replace(read_config(copied), teacher=teacher))
    with pytest.raises(WeightzooError, match=message):
        open_catalogue_edits(copied)
