"""The external edits are complete, attributed, and give aligned pairs split by photograph."""

from pipeline.concepts.catalogue import catalogue
from pipeline.external import pairs
from zoo.concepts import read_concepts
from zoo.pictures.metrics import l1
from zoo.pictures.pairs import pairs_to_tensors, read_pairs

TOOLS = {"ffmpeg", "gegl", "imagemagick"}


def test_edits_are_complete_and_attributed():
    edits = pairs.read_edits()
    photos = sorted(path.stem for path in (pairs.HERE / "photos").glob("*.jpg"))
    attribution = (pairs.HERE / "photos" / "ATTRIBUTION.md").read_text()
    assert len(edits) >= 24 and len({edit["id"] for edit in edits}) == len(edits)
    assert {edit["tool"] for edit in edits} == TOOLS
    assert all(len(edit["paraphrases"]) >= 4 for edit in edits)
    assert len(photos) >= 6 and photos == sorted(sum(pairs.SPLITS.values(), ()))
    for photo in photos:
        assert f"`{photo}.jpg`" in attribution
        targets = {path.stem for path in (pairs.HERE / "targets" / photo).glob("*.webp")}
        assert targets == {edit["id"] for edit in edits}


def test_crops_are_pairs_that_the_reader_takes(tmp_path, monkeypatch):
    chosen = [edit for edit in pairs.read_edits() if edit["id"] in ("touch-brighter", "film-negative")]
    monkeypatch.setattr(pairs, "read_edits", lambda: chosen)
    assert pairs.write_external_pairs(tmp_path) == tmp_path
    concepts = {concept.id: concept for concept in read_concepts(tmp_path / "concepts.jsonl")}
    assert {concept.split for concept in concepts.values()} == {"external"}
    distance = {}
    for name, concept in concepts.items():
        assert concept.paraphrases[0] == concept.prompt and len(concept.paraphrases) == 5
        train, test = (read_pairs(tmp_path / name / split) for split in ("train", "test"))
        photos = [{pair.rsplit("_")[0] for pair, _, _ in part} for part in (train, test)]
        assert [len(train), len(test)] == [16, 16] and not photos[0] & photos[1]
        distance[name] = l1(*pairs_to_tensors(test, 64)).mean()
    assert distance["external-touch-brighter"] < 0.1 < 0.3 < distance["external-film-negative"]


def test_a_complete_folder_is_left_as_it_is(tmp_path, monkeypatch):
    (tmp_path / "concepts.jsonl").touch()
    assert pairs.write_external_pairs(tmp_path) == tmp_path
    assert [path.name for path in tmp_path.iterdir()] == ["concepts.jsonl"]


def test_no_concept_of_the_catalogue_has_the_same_id():
    ids = {pairs.concept_id(edit) for edit in pairs.read_edits()}
    assert len(ids) == len(pairs.read_edits()) and not ids & {concept.id for concept in catalogue()}
