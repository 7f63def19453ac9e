"""The external edits are complete, attributed, and give aligned pairs split by photograph."""

from PIL import Image

from pipeline.concepts.catalogue import catalogue
from pipeline.external import pairs
from zoo.concepts import read_concepts
from zoo.pictures.metrics import l1
from zoo.pictures.pair_squares import pairs_to_tensors
from zoo.pictures.pairs import read_pairs

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


def chosen(*ids):
    return [concept for concept in pairs.external_concepts() if pairs.edit_id(concept) in ids]


def test_crops_are_pairs_that_the_reader_takes(tmp_path):
    assert pairs.write_external_pairs(tmp_path, chosen("touch-brighter", "film-negative")) == tmp_path
    concepts = {concept.id: concept for concept in read_concepts(tmp_path / "concepts.jsonl")}
    assert {concept.split for concept in concepts.values()} == {"external"}
    distance = {}
    for name, concept in concepts.items():
        assert concept.paraphrases[0] == concept.prompt and len(concept.paraphrases) == 5
        train, test = (read_pairs(tmp_path / name / split) for split in ("train", "test"))
        photos = [{pair.split("_")[1] for pair, _, _ in part} for part in (train, test)]
        assert [len(train), len(test)] == [16, 16] and not photos[0] & photos[1]
        assert {source.size for _, source, _ in (*train, *test)} == {(pairs.CROP_SIZE, pairs.CROP_SIZE)}
        assert {pair.split("_")[1] for pair, _, _ in test[:2]} == photos[1]  # the first few show all photographs
        distance[name] = l1(*pairs_to_tensors(test, 64)).mean()
    assert distance["external-touch-brighter"] < 0.1 < 0.3 < distance["external-film-negative"]


def test_no_photograph_is_enlarged():
    for path in (pairs.HERE / "photos").glob("*.jpg"):
        with Image.open(path) as image:
            assert round(min(image.size) * pairs.SMALLEST_CROP) >= pairs.CROP_SIZE


def test_what_is_there_is_kept_and_more_is_added(tmp_path):
    pairs.write_external_pairs(tmp_path, chosen("touch-brighter"), num_test=4)
    train, test = (tmp_path / "external-touch-brighter" / split / "target" for split in ("train", "test"))
    before = (train / "00_bridge.png").stat().st_mtime_ns
    assert len(list(test.glob("*.png"))) == 4
    pairs.write_external_pairs(tmp_path, chosen("touch-brighter"), num_test=6)
    assert (train / "00_bridge.png").stat().st_mtime_ns == before and len(list(test.glob("*.png"))) == 6
    pairs.write_external_pairs(tmp_path, chosen("film-negative"), num_test=6)
    names = {concept.id for concept in read_concepts(tmp_path / "concepts.jsonl")}
    assert names == {"external-touch-brighter", "external-film-negative"}


def test_no_concept_of_the_catalogue_has_the_same_id():
    ids = {pairs.concept_id(edit) for edit in pairs.read_edits()}
    assert len(ids) == len(pairs.read_edits()) and not ids & {concept.id for concept in catalogue()}
