"""WeightLayout: exact inverses, no block across layers, little padding, errors that name the tensor."""

from __future__ import annotations

import os

import pytest
import torch

from zoo.adapters.lora import initial_adapter
from zoo.errors import WeightzooError
from zoo.files import write_json
from zoo.gans.e2gan import E2ganConfig
from zoo.layout import GROUPINGS, WeightLayout
from zoo.manifest import read_manifest
from zoo.training.train_gan import stack


@pytest.fixture(scope="module")
def generator():
    torch.manual_seed(0)
    return E2ganConfig(channels=(8, 8, 16, 16)).build()


def random_adapters(generator, count=3):
    return {name: torch.randn_like(value) for name, value in stack(initial_adapter(generator), count).items()}


@pytest.mark.parametrize("grouping", GROUPINGS)
@pytest.mark.parametrize("block_size", [32, 256])
def test_blocks_and_tensors_are_exact_inverses(generator, grouping, block_size):
    layout = WeightLayout.for_generator(generator, block_size, grouping)
    adapters = random_adapters(generator)
    blocks = layout.to_blocks(adapters)
    assert blocks.shape == (3, layout.num_blocks, block_size)
    restored = layout.from_blocks(blocks)
    assert restored.keys() == adapters.keys()
    assert all(torch.equal(restored[name], adapters[name]) for name in adapters)
    assert torch.equal(layout.to_blocks(restored), blocks)


def test_padding_is_zero_and_the_mask_counts_the_values(generator):
    layout = WeightLayout.for_generator(generator, 64)
    blocks = layout.to_blocks({name: value + 10 for name, value in random_adapters(generator).items()})
    assert (
        int(layout.mask.sum())
        == layout.num_values
        == sum(v.numel() for v in initial_adapter(generator).values())
    )
    assert (blocks[:, ~layout.mask] == 0).all()


def test_a_block_never_mixes_layers(generator):
    layout = WeightLayout.for_generator(generator, 32)
    for slot in layout.slots:
        marked = {s.name: torch.full((1, *s.shape), float(s.layer == slot.layer)) for s in layout.slots}
        used = layout.to_blocks(marked)[0].any(1)
        assert {layer for layer, hit in zip(layout.block_layers, used, strict=True) if hit} == {slot.layer}


def test_the_small_preset_pads_at_most_15_percent():
    from pipeline.presets import PRESETS

    config = PRESETS["small"]()
    layout = WeightLayout.for_generator(config.generator_config().build(), config.block_size, config.grouping)
    assert 1 - layout.num_values / layout.mask.numel() <= 0.15


def test_json_round_trip_keeps_the_id_and_every_change_alters_it(generator, tmp_path):
    layout = WeightLayout.for_generator(generator)
    layout.save(tmp_path / "layout.json")
    assert WeightLayout.load(tmp_path / "layout.json") == layout
    assert WeightLayout.load(tmp_path / "layout.json").id == layout.id
    assert len({layout.id, *(WeightLayout.for_generator(generator, size).id for size in (32, 64))}) == 3


def test_errors_name_what_is_wrong(generator):
    layout = WeightLayout.for_generator(generator)
    adapters = random_adapters(generator)
    with pytest.raises(WeightzooError, match="stem.bias has shape"):
        layout.to_blocks({**adapters, "stem.bias": torch.zeros(3, 5)})
    with pytest.raises(WeightzooError, match="missing.*stem.bias"):
        layout.to_blocks({name: value for name, value in adapters.items() if name != "stem.bias"})
    with pytest.raises(WeightzooError, match="the layout says"):
        layout.from_blocks(torch.zeros(1, 2, 3))
    with pytest.raises(WeightzooError, match="unknown grouping 'foo'"):
        WeightLayout.for_generator(generator, grouping="foo")
    with pytest.raises(WeightzooError, match="not a weight layout"):
        WeightLayout.from_json({"slots": [{}]})


SLOT = {"name": "a", "layer": "a", "shape": [4]}
HOSTILE = {
    "huge slot": {"slots": [SLOT | {"shape": [10**10]}]},
    "huge product": {"slots": [SLOT | {"shape": [1 << 20, 1 << 20]}]},
    "countless blocks": {"slots": [SLOT | {"shape": [1 << 28]}], "block_size": 1},
    "no block size": {"block_size": 0},
    "a word for a block size": {"block_size": "x"},
    "true for a block size": {"block_size": True},
    "huge blocks": {"block_size": 1 << 40},
    "no slots": {"slots": []},
    "empty slot": {"slots": [SLOT | {"shape": [0]}]},
    "two slots of one name": {"slots": [SLOT, SLOT | {"shape": [5]}]},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_layout_that_no_record_has_is_refused_by_every_reader(tmp_path, name):
    sound = {"slots": [SLOT], "block_size": 4, "grouping": "layer"}
    assert WeightLayout.from_json(sound).num_blocks == 1
    write_json(tmp_path / "layout.json", sound | HOSTILE[name])
    with pytest.raises(WeightzooError, match="layout.json: not a weight layout"):
        WeightLayout.load(tmp_path / "layout.json")
    for values in ([], None, "x", {"slots": 3}):
        with pytest.raises(WeightzooError, match="not a weight layout"):
            WeightLayout.from_json(values)


def test_a_huge_file_is_not_read(tmp_path):
    for name, read in (("layout.json", WeightLayout.load), ("manifest.json", read_manifest)):
        (tmp_path / name).touch()
        os.truncate(tmp_path / name, 1 << 40)
        with pytest.raises(WeightzooError, match=f"{name} has more than"):
            read(tmp_path / name)


def test_the_number_of_blocks_is_that_of_their_layers(generator):
    layout = WeightLayout.for_generator(generator, 32)
    assert layout.num_blocks == len(layout.block_layers) == len(layout.mask)
