"""Teams' own pairs and photographs, and teachers whose targets are stored: what is trained on is what is kept."""

import shutil
import warnings
from dataclasses import replace

import fsspec
import pytest
import torch
import webdataset
from PIL import Image, ImageChops, ImageOps

from pipeline.build import build
from pipeline.build_config import BuildConfig
from pipeline.executors.ray import EXECUTORS
from pipeline.fleets.rendering import fleet_images, render_concept
from pipeline.fleets.shared import RenderContext, load_render_context, make_teacher, source_notes
from pipeline.run_folder import object_store as storage
from pipeline.run_folder.freeze import freeze
from pipeline.run_folder.object_store import Store
from pipeline.run_folder.pair_shards import read_targets, targets_path, write_targets
from pipeline.run_folder.shard_plan import plan_run
from pipeline.sources import load_photos, photo_sets
from pipeline.teachers import TEACHERS
from pipeline.teachers.filters import FiltersTeacher
from pipeline.teachers.instruct_pix2pix import InstructPix2PixTeacher
from pipeline.teachers.pairs import PairsTeacher
from pipeline.upkeep.repair import repair
from tests.pipeline.conftest import micro_concepts, run_inline
from tests.pipeline.fake_fleet import fake_fleet, write_fake_base
from tests.pipeline.test_build import contents
from tests.pipeline.test_teachers import save_random_pipeline
from zoo.concepts import Concept
from zoo.errors import Interrupted, WeightzooError, WeightzooWarning
from zoo.manifest import read_rejected
from zoo.pictures.pair_layouts import DIRECTIONS
from zoo.pictures.pair_squares import pairs_to_tensors
from zoo.pictures.pairs import decode_pair, read_pair_set, read_pairs, split_pairs, write_pairs
from zoo.verify import verify_run


def concepts_of(*names):
    return [Concept(name, "a test", ("a test",)) for name in names]


def write_inverted(folder, count):
    """Pairs of one grey each: the target is the source's negative."""
    greys = torch.linspace(0.1, 0.9, count).view(-1, 1, 1, 1).expand(count, 3, 24, 30)
    write_pairs(folder, [f"p{i}" for i in range(count)], greys, 1 - greys)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A teacher of random weights that diffusers itself has written."""
    folder = tmp_path_factory.mktemp("teacher") / "tiny"
    save_random_pipeline(folder)
    return str(folder / "model")


@pytest.fixture
def stored(micro, model) -> BuildConfig:
    options = {"model": model, "steps": 1, "batch_size": 3}
    return replace(
        micro, teacher="instruct_pix2pix", teacher_options=options, num_train_crops=4, num_test_crops=2
    )


def test_every_pair_gives_its_share_of_crops(tmp_path):
    write_inverted(tmp_path / "negative", 6)
    teacher = PairsTeacher(str(tmp_path))
    train, targets = teacher.pairs(concepts_of("negative")[0], "train", 12, 16, seed=0)
    test, _ = teacher.pairs(concepts_of("negative")[0], "test", 4, 16, seed=1)
    assert train.shape == targets.shape == (12, 3, 16, 16) and len(test) == 4
    assert torch.allclose(train + targets, torch.ones(()), atol=2 / 255)
    greys = [round(float(image.mean()), 2) for image in train]
    counts = [greys.count(grey) for grey in set(greys)]
    assert len(counts) == 5 and max(counts) - min(counts) <= 1
    assert not {round(float(image.mean()), 2) for image in test} & set(greys)


class Rendered(FiltersTeacher):
    """A teacher whose pictures are stored, and which needs no model."""

    expensive = True


def test_what_is_left_of_an_interrupted_rendering_in_a_store_has_its_sources(micro, tmp_path, monkeypatch):
    monkeypatch.setitem(EXECUTORS, "local", run_inline)
    monkeypatch.setitem(TEACHERS, "filters", Rendered)
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    storage._scratch.cache_clear()
    uri, base = "memory://bucket/pairs", write_fake_base(tmp_path / "base", micro)
    options = {"base_from": base, "fleet": fake_fleet}
    build(tmp_path / "run", micro, micro_concepts(), **options)

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(Interrupted, match="0 of 3 fleets .* memory://bucket/pairs"):
        patch.setattr("pipeline.build.make_base", stop)
        build(uri, micro, micro_concepts(), **options)
    assert memory.exists("/bucket/pairs/logs/events.jsonl")
    storage._scratch.cache_clear()  # the next launch has new processes
    monkeypatch.setattr(Rendered, "edit", stop)  # nothing is rendered twice
    fetched, copy = [], Store._copy
    monkeypatch.setattr(Store, "_copy", lambda self, *paths: fetched.append(paths[2]) or copy(self, *paths))
    build(uri, micro, micro_concepts(), **options)
    assert not [path for path in fetched if "weightzoo-run-" in path and "/pairs/" in path], "the driver needs none"
    names = [name for name in Store(uri).names() if not name.startswith("logs/")]
    assert {name: memory.cat(f"/bucket/pairs/{name}") for name in names} == contents(tmp_path / "run")
    memory.store.clear()
    storage._scratch.cache_clear()


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: 9 bytes"),
        torch.OutOfMemoryError("CUDA out of memory"),
    ],
)
def test_a_fault_of_the_machine_makes_no_failed_concept(micro, error):
    class Faulty(FiltersTeacher):
        def edit(self, concept, photos):
            raise error

    (concept,) = micro_concepts()[:1]
    crops = torch.zeros(2, 3, 16, 16)
    with pytest.raises(type(error)):
        render_concept(RenderContext(micro, Faulty(), crops, crops), concept)


def test_only_the_pairs_that_are_asked_for_are_decoded(tmp_path, monkeypatch):
    write_inverted(tmp_path / "negative", 10)
    (concept,) = concepts_of("negative")
    every = read_pairs(tmp_path / "negative", 2, 1024)
    names = split_pairs([name for name, _, _ in every])[0]
    expected = pairs_to_tensors([pair for pair in every if pair[0] in names][:3], 16, 1, seed=0)
    decoded = []
    monkeypatch.setattr(
        "pipeline.teachers.pairs.decode_pair",
        lambda pair, *options, **more: decoded.append(pair.name) or decode_pair(pair, *options, **more),
    )
    found = PairsTeacher(str(tmp_path)).pairs(concept, "train", 3, 16, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert decoded == names[:3]


def test_a_zoo_of_own_pairs(micro, tmp_path):
    for name, count in (("one", 4), ("two", 5), ("few", 1)):
        write_inverted(tmp_path / "pairs" / name, count)
    config = replace(micro, teacher="pairs", teacher_options={"folder": str(tmp_path / "pairs")})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.build.run_local", run_inline)
        patch.setitem(EXECUTORS, "local", run_inline)
        build(tmp_path / "run", config, concepts_of("one", "few", "two", "absent"))
    assert verify_run(tmp_path / "run") == []
    reasons = {row["concept_id"]: row["reason"] for row in read_rejected(tmp_path / "run")}
    assert "holds 1 pair; give at least 2" in reasons["few"]
    assert "does not exist" in reasons["absent"] and len(reasons) == 2


def test_own_pairs_are_read_in_every_layout_and_direction_and_told(micro, tmp_path):
    concepts = concepts_of("one", "two", "absent")
    for name in ("one", "two"):
        write_inverted(tmp_path / name, 4)
    for half, name in (("source", "A"), ("target", "B")):
        (tmp_path / "two" / half).rename(tmp_path / "two" / name)
    (tmp_path / "two" / "A" / "x.heic").write_bytes(b"x")
    teachers = [PairsTeacher(str(tmp_path), direction) for direction in DIRECTIONS]
    assert teachers[0].notes(concepts) == [
        "pairs of 1 concept: source/ is the source, target/ the target",
        "pairs of 1 concept: A/ is the source, B/ the target",
        "two: 1 file is left out: A/x.heic (HEIC is not read here; convert to JPEG or PNG)",
    ]
    there, back = (teacher.pairs(concepts[1], "train", 3, 16, seed=0) for teacher in teachers)
    assert torch.equal(there[0], back[1]) and torch.equal(there[1], back[0])
    options = {"folder": str(tmp_path)}
    config = replace(micro, teacher="pairs", teacher_options=options, train_photos=str(tmp_path / "two" / "A"))
    assert source_notes(config, concepts)[-1].startswith(f"{config.train_photos}: 1 file is left out: x.heic")


def write_photographs(folder, shift=0, turn=0, count=4):
    """Pairs of photographs and their negatives, shifted by pixels; each target is that of the pair `turn` further."""
    pictures = [photo.resize((120, 90)) for photo in load_photos("train")[:count]]
    for half in ("source", "target"):
        (folder / half).mkdir(parents=True)
    for i, picture in enumerate(pictures):
        target = ImageOps.invert(pictures[(i + turn) % count])
        picture.save(folder / "source" / f"{i}.png")
        ImageChops.offset(target, shift).save(folder / "target" / f"{i}.png")


def test_what_looks_wrong_with_own_pairs_is_told_once_as_fine_tuning_tells_it(micro, tmp_path):
    folder = tmp_path / "pairs"
    write_photographs(folder / "sound")
    write_photographs(folder / "shifted", shift=3)
    write_photographs(folder / "mixed", turn=1)
    config = replace(micro, teacher="pairs", teacher_options={"folder": str(folder)})
    concepts = concepts_of("sound", "shifted", "mixed", "absent")
    with pytest.warns(WeightzooWarning) as told:
        freeze(tmp_path / "run", config, concepts)
    expected = [f"{name}: {line}" for name in ("shifted", "mixed") for line in read_pair_set(folder / name).notes]
    assert [str(warning.message) for warning in told] == expected and len(expected) == 2
    assert "shifted against the source by up to 3 pixels" in expected[0] and "nothing in common" in expected[1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        freeze(tmp_path / "run", config, concepts)  # a later launch


def test_own_pairs_that_are_none_are_named_before_anything_is_frozen(micro, tmp_path):
    write_photographs(tmp_path / "pairs" / "broken")
    (tmp_path / "pairs" / "broken" / "target" / "2.png").write_bytes(b"no picture")
    (tmp_path / "pairs" / "halves").mkdir()
    for i, photo in enumerate(load_photos("train")[:6]):
        photo.resize((160, 100)).save(tmp_path / "pairs" / "halves" / f"{i}.png")
    config = replace(micro, teacher="pairs", teacher_options={"folder": str(tmp_path / "pairs")})
    for name, words in (("broken", "cannot read the image .*2.png"), ("halves", "halves show different things")):
        with pytest.raises(WeightzooError, match=words):
            freeze(tmp_path / "run", config, concepts_of(name))
    assert not (tmp_path / "run" / "config.json").exists()


def test_one_folder_of_photographs_is_split_by_photograph(tmp_path):
    for i in range(10):
        Image.new("RGB", (40, 40), (i, i, i)).save(tmp_path / f"{i}.png")
    train, test = photo_sets(tmp_path, tmp_path)
    assert len(train) == 8 and len(test) == 2 and not set(train) & set(test)
    assert photo_sets("train", "test")[0] != photo_sets("train", "test")[1]
    [path.unlink() for path in train]
    test[0].unlink()
    with pytest.raises(WeightzooError, match="one photograph"):
        photo_sets(tmp_path, tmp_path)


def test_a_batch_of_photographs_is_edited_as_each_one_alone(model):
    photos = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    (concept,) = concepts_of("c")
    together = InstructPix2PixTeacher(model, steps=1, batch_size=5).edit(concept, photos)
    alone = InstructPix2PixTeacher(model, steps=1, batch_size=1).edit(concept, photos)
    assert torch.allclose(together, alone, atol=1e-4)
    (other,) = concepts_of("d")
    assert not torch.allclose(together, InstructPix2PixTeacher(model, steps=1).edit(other, photos), atol=1e-3)


def test_an_expensive_teacher_is_asked_once_and_its_pairs_are_kept(micro, stored, tmp_path, monkeypatch):
    from diffusers import StableDiffusionInstructPix2PixPipeline as Pipeline

    loaded, load = [], Pipeline.from_pretrained
    monkeypatch.setattr(Pipeline, "from_pretrained", lambda *a, **k: loaded.append(a) or load(*a, **k))
    monkeypatch.setitem(EXECUTORS, "local", run_inline)
    monkeypatch.setattr("pipeline.build.run_local", run_inline)
    run_dir, concepts = tmp_path / "run", [*concepts_of("a", "b", "c")]
    config = replace(stored, training=replace(stored.training, steps=1))
    build(run_dir, config, concepts)
    assert len(loaded) == 1 and verify_run(run_dir) == []
    names = sorted(path.name for path in (run_dir / "pairs").iterdir())
    assert names == ["sources.tar", "targets-train-00000-of-00002.tar", "targets-train-00001-of-00002.tar"]

    whole = contents(run_dir)
    (run_dir / "pairs" / names[1]).write_bytes(whole[f"pairs/{names[1]}"][:2000])
    next((run_dir / "weights").glob("train-00000*")).unlink()
    repair(run_dir)
    assert contents(run_dir) == whole

    for name in (names[0], names[2]):  # of a finished zoo: all shards are there
        (run_dir / "pairs" / name).write_bytes(whole[f"pairs/{name}"][:2000])
    repair(run_dir)
    assert contents(run_dir) == whole and verify_run(run_dir) == []
    (run_dir / "pairs" / names[0]).unlink()
    repair(run_dir)
    assert contents(run_dir) == whole

    copy = shutil.copytree(run_dir, tmp_path / "copy")
    shutil.rmtree(copy / "pairs")  # as a download is
    sound = contents(copy)
    repair(copy)
    assert contents(copy) == sound

    samples = list(webdataset.WebDataset(str(run_dir / "pairs" / names[1]), shardshuffle=False))
    assert [sample["__key__"] for sample in samples][:2] == ["a/train-0000", "a/train-0001"]
    assert samples[0].keys() >= {"target.png"} and len(samples) == 2 * (4 + 2)


def test_stored_pictures_are_those_that_a_fleet_reads(micro, stored, tmp_path):
    from pipeline.run_folder.freeze import freeze

    freeze(tmp_path, replace(stored, teacher_options={"model": "absent"}), concepts_of("a", "b"))
    (task,) = plan_run(tmp_path)
    with pytest.raises(WeightzooError, match="absent or damaged"):
        read_targets(task)
    pictures = torch.randint(0, 256, (6, 3, 16, 16)).float() / 255
    write_targets(task, {"a": (pictures[:4], pictures[4:]), "b": "it cannot"})
    images = fleet_images(load_render_context(str(tmp_path)), task)
    assert torch.equal(images.train_targets[0], pictures[:4])
    assert torch.equal(images.test_targets[0], pictures[4:])
    assert [row["reason"] for row in images.failed] == ["it cannot"] and len(images.concepts) == 1
    first = targets_path(task).read_bytes()
    write_targets(task, {"a": (pictures[:4], pictures[4:]), "b": "it cannot"})
    assert targets_path(task).read_bytes() == first
    write_targets(task, {"a": (pictures[:4], pictures[4:])})
    with pytest.raises(WeightzooError, match="lacks concept 'b'"):
        read_targets(task)


@pytest.mark.parametrize(
    ("teacher", "options", "text"),
    [
        ("instruct_pix2pix", {"model": "absent"}, "cannot load the teacher 'absent'"),
        ("pairs", {"folder": "absent"}, "no folder of pairs at absent"),
    ],
)
def test_a_teacher_that_is_not_there_stops_the_build(micro, tmp_path, monkeypatch, teacher, options, text):
    """It is no reason to reject every concept."""
    monkeypatch.setitem(EXECUTORS, "local", run_inline)
    monkeypatch.setattr("pipeline.build.run_local", run_inline)
    config = replace(micro, teacher=teacher, teacher_options=options)
    with pytest.raises(WeightzooError, match=text):
        build(tmp_path / "run", config, concepts_of("a"))
    assert not (tmp_path / "run" / "weights").exists() and not (tmp_path / "run" / "rejected").exists()


@pytest.mark.parametrize(
    ("teacher", "options", "text"),
    [
        ("pairs", {"folder": "absent"}, "no folder of pairs at absent"),
        ("filters", {}, "'filters' can edit none of the concepts .* has no recipe"),
    ],
)
def test_a_launch_that_cannot_begin_freezes_nothing(micro, tmp_path, teacher, options, text):
    config = replace(micro, teacher=teacher, teacher_options=options)
    with pytest.raises(WeightzooError, match=text):
        freeze(tmp_path / "run", config, [Concept("ours", "What we do"), Concept("theirs", "What they do")])
    assert not list((tmp_path / "run").rglob("*"))


def test_unknown_teacher_options_are_named():
    with pytest.raises(WeightzooError, match="unexpected keyword argument 'modle'"):
        make_teacher("instruct_pix2pix", {"modle": "x"})
