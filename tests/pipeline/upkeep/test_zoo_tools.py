"""What is done with a finished zoo: its card, rebuilding a fleet, held-out pairs, the plan of a build."""

import dataclasses
import json

import huggingface_hub
import numpy as np
import pytest
import yaml
from PIL import Image

from pipeline.concepts.catalogue import zoo_concepts
from pipeline.heldout import write_held_out, write_near_duplicates, write_pictures
from pipeline.presets import PRESETS
from pipeline.run_folder.private_paths import read_config
from pipeline.upkeep.calibrate import CROPS_ON_A_CPU, calibrate, fewer_crops, most_concepts, num_crops
from pipeline.upkeep.rebuild import rebuild_fleet
from tests.pipeline.conftest import micro_concepts
from zoo.concepts import read_concepts
from zoo.config import from_dict, to_dict
from zoo.errors import WeightzooError
from zoo.hub import find_zoo
from zoo.layout import WeightLayout
from zoo.manifest import load_manifest
from zoo.pictures.pair_squares import pairs_to_tensors
from zoo.pictures.pairs import read_pairs


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_complete_and_survive_json(name):
    config = PRESETS[name]()
    assert from_dict(type(config), json.loads(json.dumps(to_dict(config)))) == config
    layout = WeightLayout.for_generator(config.generator_config().build(), config.block_size, config.grouping)
    assert layout.num_blocks > 0
    assert config.generator_config().image_size == config.image_size


def test_zoos_train_without_adams_longest_step():
    assert {preset().training.beta1 for preset in PRESETS.values()} == {0.9}


def test_the_embedded_zoo_is_what_its_preset_builds():
    assert read_config(find_zoo("weightzoo-small")) == PRESETS["small"]()


def test_unknown_names_and_values_are_refused():
    with pytest.raises(WeightzooError, match="gan 'stylegan' is unknown; use one of e2gan"):
        dataclasses.replace(PRESETS["tiny"](), gan="stylegan")
    with pytest.raises(WeightzooError, match="fleet_size is 0"):
        dataclasses.replace(PRESETS["tiny"](), fleet_size=0)
    with pytest.raises(WeightzooError, match="generator: unknown key 'rank'"):
        dataclasses.replace(PRESETS["tiny"](), generator={"rank": 3}).generator_config()


def test_the_card_says_what_the_manifest_says(micro_zoo):
    text, manifest = (micro_zoo / "README.md").read_text(), load_manifest(micro_zoo)
    assert "$" not in text
    data = huggingface_hub.DatasetCard(text).data.to_dict()
    assert data["license"] == "apache-2.0"
    assert data["configs"][0]["data_files"][0] == {"split": "train", "path": "weights/train-*.parquet"}
    splits = {split["name"]: split["num_examples"] for split in data["dataset_info"]["splits"]}
    assert splits == {"train": manifest.counts["ok/train"], "validation": manifest.counts["ok/validation"]}
    assert manifest.base_sha256 in text and manifest.layout_id in text
    assert yaml.safe_load(text.split("---")[1])["size_categories"] == ["n<1K"]


def test_datasets_reads_the_folder_by_its_card(micro_zoo):
    import datasets

    rows = list(datasets.load_dataset(str(micro_zoo), "weights", split="train", streaming=True))
    assert [row["concept_id"] for row in rows] == ["invert-2", "invert-3", "invert-4"]
    layout = WeightLayout.load(micro_zoo / "layout.json")
    assert len(rows[0]["blocks"]) == layout.num_blocks * layout.block_size * 2


def test_another_process_rebuilds_the_same_fleet(micro_zoo):
    comparison = rebuild_fleet(micro_zoo, shard_index=1)
    assert comparison.problems() == []
    assert comparison.same_bytes
    assert list(comparison.l1_ratio) == ["invert-4"]
    worse = dataclasses.replace(comparison, l1_ratio={"a": 1.2}, cosine={"a": 0.5}, same_base=False)
    assert len(worse.problems()) == 3
    with pytest.raises(WeightzooError, match="has no train shard 2; it has 0 to 1"):
        rebuild_fleet(micro_zoo, shard_index=2)


def test_held_out_pairs_go_on_where_they_stopped(micro, inline, tmp_path):
    first, second = micro_concepts()[:2]
    out = write_held_out(tmp_path / "held", micro, [(first, 4)], num_test=3)
    few = read_pairs(out / first.id / "train")
    kept = (out / first.id / "test" / "target" / "0000.png").stat().st_mtime_ns
    write_held_out(out, micro, [(first, 20), (second, 2)], num_test=3)
    many = read_pairs(out / first.id / "train")
    assert (len(few), len(many), len(read_pairs(out / second.id / "train"))) == (4, 20, 2)
    assert all((a == b).all() for a, b in zip(_tensors(few), _tensors(many[:4]), strict=True))
    assert (out / first.id / "test" / "target" / "0000.png").stat().st_mtime_ns == kept
    assert read_concepts(out / "concepts.jsonl") == [first, second]
    with pytest.raises(WeightzooError, match="made with other settings"):
        write_held_out(out, dataclasses.replace(micro, seed=5), [(first, 4)], num_test=3)
    with pytest.raises(WeightzooError, match="5 test pairs requested, but the zoo has 4"):
        write_held_out(tmp_path / "other", micro, [(first, 4)], num_test=5)


def test_pictures_and_near_duplicates(micro, inline, tmp_path):
    concepts = micro_concepts()
    out = write_pictures(tmp_path / "pictures", micro, concepts[:1])
    assert [image.size for _, image, _ in read_pairs(out / concepts[0].id)] == [(512, 512)] * 3
    path = write_near_duplicates(tmp_path / "near.json", micro, concepts[:1], concepts)
    assert json.loads(path.read_text()) == {concepts[0].id: {"nearest": concepts[0].id, "l1": 0.0}}


def test_the_list_of_near_duplicates_follows_an_extended_zoo(micro, inline, tmp_path):
    concepts, path = micro_concepts(), tmp_path / "near.json"
    write_near_duplicates(path, micro, concepts[:1], concepts[1:2])
    assert json.loads(path.read_text()) == {}
    write_near_duplicates(path, micro, concepts[:1], concepts)
    assert json.loads(path.read_text()).keys() == {concepts[0].id}


def test_no_test_photograph_is_trained_on_where_one_folder_holds_all(micro, inline, one_folder, tmp_path):
    config = dataclasses.replace(micro, train_photos=str(one_folder), test_photos=str(one_folder))
    (concept,) = micro_concepts()[:1]
    out = write_held_out(tmp_path / "pairs", config, [(concept, 40)], num_test=4)
    pictures = write_pictures(tmp_path / "pictures", config, [concept])
    train, test = (greys(out / concept.id / part) for part in ("train", "test"))
    shown = greys(pictures / concept.id)
    assert len(train) == 8 and len(test) == 2 and not train & test
    assert shown == test
    leaky = json.loads((out / "settings.json").read_text())
    leaky.pop("split")  # as earlier versions wrote it, with test photographs to train on
    (out / "settings.json").write_text(json.dumps(leaky))
    with pytest.raises(WeightzooError, match="made with other settings"):
        write_held_out(out, config, [(concept, 40)], num_test=4)


def greys(pairs):
    return {round(float(np.asarray(source).mean())) for _, source, _ in read_pairs(pairs)}


@pytest.fixture
def one_folder(tmp_path):
    """Ten photographs of one grey each."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(10):
        Image.new("RGB", (40, 40), (20 * i, 20 * i, 20 * i)).save(folder / f"{i}.png")
    return folder


def test_the_plan_says_what_a_build_costs(micro):
    plan = calibrate(micro, micro_concepts(), workers=1, steps=1)
    assert (plan["concepts"], plan["fleets"], plan["shards"]) == (5, 3, 3)
    assert plan["bytes"] > 0 and plan["minutes"] >= 0
    assert plan["measured_concepts"] == micro.fleet_size


@pytest.mark.parametrize("name", PRESETS)
def test_the_catalogue_has_the_concepts_of_every_preset(name):
    assert len(zoo_concepts(PRESETS[name]().num_concepts)) == PRESETS[name]().num_concepts


def test_a_part_of_a_large_fleet_is_measured_on_a_cpu(micro):
    small, paper = PRESETS["small"](), PRESETS["paper"]()
    assert most_concepts(small, "cpu") == 8 and fewer_crops(small, "cpu") == small
    assert most_concepts(paper, "cuda") == 16 and fewer_crops(paper, "cuda") == paper
    assert most_concepts(paper, "cpu") == 1 and num_crops(fewer_crops(paper, "cpu")) == 2 * CROPS_ON_A_CPU


def _tensors(pairs):
    return pairs_to_tensors(pairs, 16)
