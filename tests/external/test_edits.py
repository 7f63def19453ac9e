"""The external edits are complete, attributed, and give aligned pairs split by photograph."""

import sys

import pytest

from pipeline.concepts.catalogue import catalogue
from tests.external import make_edits
from zoo.concepts import read_concepts
from zoo.metrics import l1
from zoo.pairs import pairs_to_tensors, read_pairs

TOOLS = {"ffmpeg", "gegl", "imagemagick"}


def test_edits_are_complete_and_attributed():
    edits = make_edits.read_edits()
    photos = sorted(path.stem for path in (make_edits.HERE / "photos").glob("*.jpg"))
    attribution = (make_edits.HERE / "photos" / "ATTRIBUTION.md").read_text()
    assert len(edits) >= 24 and len({edit["id"] for edit in edits}) == len(edits)
    assert {edit["tool"] for edit in edits} == TOOLS
    assert all(len(edit["paraphrases"]) >= 4 for edit in edits)
    assert len(photos) >= 6 and photos == sorted(sum(make_edits.SPLITS.values(), ()))
    for photo in photos:
        assert f"`{photo}.jpg`" in attribution
        targets = {path.stem for path in (make_edits.HERE / "targets" / photo).glob("*.webp")}
        assert targets == {edit["id"] for edit in edits}


def test_crops_are_pairs_that_the_reader_takes(tmp_path, monkeypatch):
    chosen = [edit for edit in make_edits.read_edits() if edit["id"] in ("touch-brighter", "film-negative")]
    monkeypatch.setattr(make_edits, "read_edits", lambda: chosen)
    monkeypatch.setattr(sys, "argv", ["make_edits.py", "--crops", str(tmp_path)])
    make_edits.main()
    concepts = {concept.id: concept for concept in read_concepts(tmp_path / "concepts.jsonl")}
    assert {concept.split for concept in concepts.values()} == {"external"}
    distance = {}
    for name, concept in concepts.items():
        assert concept.paraphrases[0] == concept.prompt and len(concept.paraphrases) == 5
        train, test = (read_pairs(tmp_path / name / split) for split in ("train", "test"))
        photos = [{pair.rsplit("_")[0] for pair, _, _ in pairs} for pairs in (train, test)]
        assert [len(train), len(test)] == [16, 16] and not photos[0] & photos[1]
        distance[name] = l1(*pairs_to_tensors(test, 64)).mean()
    assert distance["external-touch-brighter"] < 0.1 < 0.3 < distance["external-film-negative"]


def test_a_command_line_without_work_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["make_edits.py"])
    with pytest.raises(SystemExit):
        make_edits.main()


def test_no_concept_of_the_catalogue_has_the_same_id():
    ids = {make_edits.concept_id(edit) for edit in make_edits.read_edits()}
    assert len(ids) == len(make_edits.read_edits()) and not ids & {concept.id for concept in catalogue()}
