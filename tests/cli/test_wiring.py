"""What the commands wire together: pictures rendered by the pipeline for polishing, pairs for the evaluation."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from PIL import Image

import pipeline.build
from cli.embedded import zoo_folder
from cli.heldout import FEWEST_PAIRS, held_out_pairs, pairs_needed
from cli.pictures import CONCEPTS_PER_BATCH, CROPS_PER_CONCEPT, open_studio, train_concepts
from pipeline.build import build
from pipeline.concepts.catalogue import more_concepts, polish_concepts, test_concepts, zoo_concepts
from pipeline.executors.ray import EXECUTORS
from pipeline.fleets.shared import source_crops
from pipeline.run_folder.private_paths import read_config
from pipeline.teachers import TEACHERS
from pipeline.teachers.filters import FiltersTeacher
from tests.pipeline.conftest import micro_config, run_inline
from weightgen.evaluation.grid import FinetuneRow, Grid
from weightgen.evaluation.held_out_pairs import HeldOut
from weightgen.training.weights import TrainConfig, train
from zoo.concepts import Concept, read_concepts
from zoo.config import save_config
from zoo.errors import WeightzooError
from zoo.run import open_zoo


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """A zoo of seconds on catalogue concepts, one of them for validation."""
    pool = zoo_concepts(60)
    concepts = pool[:5] + [next(concept for concept in pool if concept.split == "validation")]
    folder = tmp_path_factory.mktemp("wiring") / "zoo"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(EXECUTORS, "local", lambda tasks, fn, workers: run_inline(tasks, fn))
        patch.setattr(pipeline.build, "run_local", run_inline)
        build(folder, micro_config(), concepts)
    torch.use_deterministic_algorithms(False)
    return folder


@pytest.fixture(scope="module")
def studio(zoo):
    return open_studio(zoo)


def test_batches_depend_on_seed_and_step_only(studio):
    first = [batch for _, batch in zip(range(3), studio.batches(), strict=False)]
    again = next(studio.batches(start_step=2))
    assert again.prompts == first[2].prompts
    assert torch.equal(again.targets, first[2].targets) and torch.equal(again.sources, first[2].sources)
    assert first[0].prompts != first[1].prompts
    assert first[0].targets.shape == (CONCEPTS_PER_BATCH, CROPS_PER_CONCEPT, 3, 16, 16)
    assert float(first[0].targets.min()) >= 0 and float(first[0].targets.max()) <= 1


def test_no_held_out_concept_is_polished_on(studio, zoo):
    held_out = {c.id for split in ("combination", "value", "family") for c in test_concepts(split)}
    used = {concept.id for concept in studio.concepts}
    assert not used & held_out and not used & {concept.id for concept in studio.validation}
    assert len(studio.concepts) == len(polish_concepts())
    more = open_studio(zoo, more_concepts=40).concepts[len(studio.concepts) :]
    assert 30 < len(more) <= 40 and not held_out & {concept.id for concept in more}
    (batch,) = studio.validation_batches()
    assert batch.prompts == [studio.validation[0].paraphrases[0]]


def test_a_zoo_of_concepts_beyond_the_catalogue_is_polished_on_its_own(zoo, studio):
    own = [Concept("ours", "Do ours"), studio.concepts[3]]
    held = studio.concepts[:1]
    concepts = train_concepts(own, held, 0)
    assert [c.id for c in concepts] == [c.id for c in studio.concepts[1:]] + ["ours"]
    assert train_concepts(studio.concepts[:9], [], 0) == studio.concepts


def test_the_embedded_zoo_has_no_train_concept_that_the_catalogue_lacks():
    opened = open_zoo(zoo_folder(None))
    members, validation = opened.concepts("train"), opened.concepts("validation")
    assert train_concepts(members, validation, 50) == [*polish_concepts(), *more_concepts(50)]


def test_a_validation_concept_without_paraphrases_is_asked_for_by_its_prompt(studio):
    bare = replace(studio.validation[0], paraphrases=())
    (batch,) = replace(studio, validation=[bare]).validation_batches()
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
        for part in (open_studio(copied).crops, source_crops(config)[1])
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
        open_studio(copied)


def test_pseudo_labels_for_the_rest_of_the_catalogue(studio, zoo):
    from weightgen.training.data import load_zoo

    dataset = load_zoo(zoo, "train")
    few = replace(studio, concepts=studio.concepts[:12])
    labelled = few.pseudo_labelled(dataset)
    assert labelled.concept_ids[: len(dataset)] == dataset.concept_ids
    assert set(labelled.concept_ids) == {concept.id for concept in few.concepts} | set(dataset.concept_ids)
    by_id = {concept.id: (concept.prompt, *concept.paraphrases) for concept in few.concepts}
    assert all(
        by_id.get(name, words) == words
        for name, words in zip(labelled.concept_ids, labelled.prompts, strict=True)
    )
    assert labelled.blocks.isfinite().all() and labelled.blocks.shape[1:] == dataset.blocks.shape[1:]


def test_train_polish(run, zoo, studio, tmp_path, monkeypatch):
    from weightgen.training.data import load_zoo

    options = {"width": 16, "num_layers": 1, "num_heads": 2}
    config = TrainConfig("transformer", options, steps=2, batch_size=4, device="cpu")
    train(config, load_zoo(zoo), tmp_path / "generated", validation=load_zoo(zoo, "validation"))
    monkeypatch.setattr("cli.pictures.open_studio", lambda folder, seed, more: studio)
    command = ("train", "--data", zoo, "--polish", tmp_path / "generated", "-o", tmp_path / "polished")
    result = run(*command, "--steps", 2, "--json")
    assert result.code == 0, result.err
    assert result.json["stage"] == "polished" and result.json["polish"]["steps"] == 2
    rows = (tmp_path / "polished" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(rows[-1])["l1"] > 0
    itself = run(*command[:-1], tmp_path / "generated", "--steps", 2)
    assert itself.code == 2 and "is the model to polish" in itself.error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--polish", "m", "--pseudo-labels"), "--polish takes no --pseudo-labels: train with it alone first"),
        (("--polish", "m", "--denoiser", "unet1d"), "--polish takes no --denoiser"),
        (("--polish", "m", "--data", "a", "--data", "b"), "--polish takes one --data"),
        (("--random-init",), "--random-init is an option of --polish"),
        (("--more-concepts", 9), "needs --pseudo-labels or --polish"),
    ],
)
def test_options_of_another_stage_are_refused(run, tmp_path, options, message):
    result = run("train", "-o", tmp_path / "model", *options)
    assert result.code == 2 and message in result.error and not (tmp_path / "model").exists()


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


def test_pairs_for_an_evaluation(zoo, tmp_path):
    made = held_out_pairs(tmp_path, zoo, GRID)
    held_out = HeldOut.open(made.folders)
    combination = held_out.concepts("combination")
    assert len(combination) == 2 and len(held_out.concepts("validation")) == 1
    assert sorted(held_out.count(c.id, "train") for c in combination) == [FEWEST_PAIRS, 20]
    assert {held_out.count(c.id, "test") for c in combination} == {4}
    assert len(held_out.concepts("external")) >= 24
    assert made.near_duplicates.is_file() and len(list(made.pictures.glob("*/source"))) == 2
    zoo_ids = {concept.id for concept in read_concepts(zoo / "concepts.jsonl") if concept.split == "train"}
    assert not zoo_ids & {concept.id for concept in held_out.all_concepts}
    assert held_out_pairs(tmp_path, zoo, GRID) == made


def test_pairs_needed():
    assert pairs_needed(GRID, "combination", 0, 256) == 20
    assert pairs_needed(GRID, "combination", 1, 256) == FEWEST_PAIRS
    assert pairs_needed(GRID, "validation", 3, 256) == 20
