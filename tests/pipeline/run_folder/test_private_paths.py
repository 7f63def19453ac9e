"""What a zoo tells the world: labels and hashes of a team's own files, never where they lie."""

import json
import shutil
from dataclasses import replace

import pytest
from PIL import Image

from pipeline.build import build, extend
from pipeline.cards.zoo_card import card_files
from pipeline.executors.ray import EXECUTORS
from pipeline.fleets.rendering import fleet_images
from pipeline.fleets.shared import load_render_context
from pipeline.run_folder.fleet_files import write_fleet
from pipeline.run_folder.private_paths import check_private, read_config, split_places, without_places
from pipeline.sources import load_photos
from tests.pipeline.conftest import micro_concepts, run_inline
from tests.pipeline.fake_fleet import fake_record, write_fake_base
from tests.pipeline.test_own_pairs import concepts_of, write_inverted
from zoo.config import config_diff, save_config
from zoo.errors import WeightzooError
from zoo.files import read_json, sha256_file, write_json
from zoo.hub import download, publish
from zoo.layout import WeightLayout
from zoo.manifest import load_manifest, read_rejected, write_manifest
from zoo.verify import verify_run


def rendering_fleet(task):
    """A fleet that renders its pairs, and then makes its weights up."""
    images = fleet_images(load_render_context(task.run_dir), task)
    layout = WeightLayout.load(f"{task.run_dir}/layout.json")
    return write_fleet(task, [fake_record(concept, layout) for concept in images.concepts], images.failed)


@pytest.fixture(autouse=True)
def inline_fleets(monkeypatch):
    monkeypatch.setitem(EXECUTORS, "local", run_inline)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The home of somebody whose name is nobody's business, with four photographs and pairs of two concepts."""
    folder = tmp_path / "home" / "anna"
    monkeypatch.setenv("HOME", str(folder))
    (folder / "photos").mkdir(parents=True)
    for i in range(4):
        Image.new("RGB", (40, 40), (60 * i, 0, 0)).save(folder / "photos" / f"{i}.png")
    for name in ("one", "two"):
        write_inverted(folder / "pairs" / name, 3)
    return folder


@pytest.fixture
def zoo_of(micro, tmp_path):
    """Build a zoo with changes to its config; its fleets render and do not train."""
    base = write_fake_base(tmp_path / "base", micro)

    def call(name, concepts, fleet=rendering_fleet, **changes):
        config = replace(micro, **changes)
        build(tmp_path / name, config, concepts, base_from=base, fleet=fleet)
        return tmp_path / name

    return call


def published_texts(hub, run_dir):
    check_private(run_dir, run_dir)
    publish(run_dir, "user/own", card_files(run_dir, "user/own"))
    return hub.files("user/own")


def test_what_is_published_of_own_photographs(hub, home, zoo_of, tmp_path, micro):
    photos = str(home / "photos")
    run_dir = zoo_of("run", micro_concepts(), train_photos=photos, test_photos=photos)
    assert read_config(run_dir).train_photos == photos
    assert verify_run(run_dir) == [] and "places.json" not in load_manifest(run_dir).files
    files = published_texts(hub, run_dir)
    assert not [name for name, data in files.items() if b"anna" in data or str(tmp_path).encode() in data]
    config = json.loads(files["config.json"])
    assert config["train_photos"] == config["test_photos"] == "own:photographs"
    card = files["README.md"].decode()
    assert "on crops of 4 photographs" in card, "one folder for both parts is counted once"
    assert sum(f"{i}.png" in card for i in range(4)) == 4 and card.count(".png") == 4

    out = download("user/own", tmp_path / "out")
    with pytest.raises(WeightzooError, match=r"own:photographs\) belong to its makers and were not published"):
        load_photos(read_config(out).train_photos)

    shutil.move(photos, tmp_path / "elsewhere")  # what lies there is what counts
    moved = str(tmp_path / "elsewhere")
    assert zoo_of("run", micro_concepts(), train_photos=moved, test_photos=moved) == run_dir
    assert read_config(run_dir).train_photos == moved
    other = tmp_path / "other"
    shutil.copytree(moved, other)
    (other / "new.png").write_bytes((other / "0.png").read_bytes())
    with pytest.raises(WeightzooError, match="the photographs differ"):
        zoo_of("run", micro_concepts(), train_photos=str(other), test_photos=str(other))
    assert read_config(run_dir).train_photos == moved, "a refused launch leaves the places as they were"
    (tmp_path / "elsewhere" / "0.png").write_bytes((tmp_path / "elsewhere" / "1.png").read_bytes())
    with pytest.raises(WeightzooError, match="the photographs differ .*0.png"):
        zoo_of("run", micro_concepts(), train_photos=moved, test_photos=moved)


def test_own_pairs_are_hashed_and_their_place_is_not_told(hub, home, zoo_of, tmp_path):
    pairs = {"teacher": "pairs", "teacher_options": {"folder": str(home / "pairs")}}
    concepts = concepts_of("one", "absent")
    run_dir = zoo_of("run", concepts, **pairs)
    hashes = read_json(run_dir / "photographs.json")["pairs"]
    path = home / "pairs" / "one" / "source" / "p0.png"
    assert hashes["one"]["source/p0.png"] == sha256_file(path) and len(hashes["one"]) == 6
    assert hashes["absent"] == {}
    (row,) = read_rejected(run_dir)
    assert row["reason"].startswith("absent does not exist")
    files = published_texts(hub, run_dir)
    assert not [name for name, data in files.items() if b"anna" in data]
    assert json.loads(files["config.json"])["teacher_options"] == {"folder": "own:folder"}
    assert "6 files of 2 concepts" in files["README.md"].decode()
    assert "license: other\n" in files["README.md"].decode(), "the Hub knows no licence 'the pictures' own'"

    first = read_json(run_dir / "photographs.json")
    extend(run_dir, concepts_of("two"), fleet=rendering_fleet)
    second = read_json(run_dir / "photographs.json")
    assert (
        second["pairs"] == first["pairs"] | {"two": second["pairs"]["two"]}
        and len(second["pairs"]["two"]) == 6
    )
    assert verify_run(run_dir) == []

    path.write_bytes((home / "pairs" / "one" / "source" / "p1.png").read_bytes())
    for again in (lambda: zoo_of("run", concepts, **pairs), lambda: extend(run_dir, concepts_of("three"))):
        with pytest.raises(WeightzooError, match=r"the photographs differ .*pairs\.one\.source/p0\.png"):
            again()


def test_pairs_that_change_under_a_build_stop_it(home, zoo_of):
    def changed(task):
        write_inverted(home / "pairs" / "one" / "more", 2)
        return rendering_fleet(task)

    pairs = {"teacher": "pairs", "teacher_options": {"folder": str(home / "pairs")}}
    with pytest.raises(WeightzooError, match=r"the photographs differ .*pairs\.one\.more"):
        zoo_of("run", concepts_of("one"), fleet=changed, **pairs)


def test_relative_places_are_resolved(micro, home, tmp_path, monkeypatch):
    monkeypatch.chdir(home)
    for where in ("./model", "../anna/model", "~/model"):
        _, places = split_places(replace(micro, teacher_options={"model": where}))
        assert places == {"teacher_options": {"model": str(home / "model")}}


def test_labels_stand_for_what_is_local_only(micro, home, tmp_path):
    for changes, labels in (
        ({}, {}),
        ({"train_photos": "photos"}, {"train_photos": "own:train"}),
        ({"test_photos": str(home)}, {"test_photos": "own:test"}),
        ({"teacher_options": {"model": "somebody/model", "steps": 2}}, {}),
        ({"teacher_options": {"model": "~/model"}}, {"teacher_options": {"model": "own:model"}}),
        (
            {"teacher_options": {"model": str(home), "steps": 2}},
            {"teacher_options": {"model": "own:model", "steps": 2}},
        ),
    ):
        config = replace(micro, **changes)
        labelled, places = split_places(config)
        assert labelled == replace(config, **labels) and bool(places) == bool(labels)
        assert split_places(labelled) == (labelled, {})
        save_config(tmp_path / "config.json", labelled)
        write_json(tmp_path / "places.json", places)
        found = read_config(tmp_path)
        assert "own:" not in str(found)
        if str(home) in str(changes):
            assert config_diff(found, config) == ""


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("cannot read /home/anna/photos/x.png (no such file)", "cannot read x.png (no such file)"),
        ("ValueError: '/data/team/a-b.c/p.tar' is cut", "ValueError: 'p.tar' is cut"),
        (r"C:\Users\anna\x.png is no image", "x.png is no image"),
        ("l1 0.2/0.3 is above, see https://example.org/a/b or s3://bucket/a", None),
        ("1/2 and /x and a/b/c", None),
    ],
)
def test_reasons_are_published_without_folders(text, public):
    assert without_places(text) == (text if public is None else public)


def test_a_zoo_that_names_a_place_is_not_published(micro_zoo, home, tmp_path):
    run_dir = tmp_path / "run"
    shutil.copytree(micro_zoo, run_dir)
    check_private(run_dir, run_dir)
    config = json.loads((run_dir / "config.json").read_text())
    write_json(run_dir / "config.json", config | {"train_photos": str(home / "photos")})
    write_manifest(run_dir, load_manifest(run_dir))
    with pytest.raises(WeightzooError, match="config.json of .* names .*anna, a place on your machine"):
        check_private(run_dir, run_dir)
