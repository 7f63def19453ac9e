"""Adapters and base files: what is trained per concept, exact save and load, errors a user can cause."""

from __future__ import annotations

import pytest
import torch

from zoo.adapters.lora import adapter_names, initial_adapter, load_adapter, load_base, merge, plain, save_base
from zoo.errors import WeightzooError
from zoo.gans.e2gan import E2ganConfig


@pytest.fixture
def generator():
    torch.manual_seed(0)
    return E2ganConfig(channels=(4, 4, 8, 8), lora_rank=2, attention_rank=2, heads=2, groups=2).build()


def test_the_shared_factors_are_never_part_of_an_adapter(generator):
    names = set(adapter_names(generator))
    assert not {name for name in names if name.endswith("lora_A")}
    assert {
        "stem.lora_B",
        "stem.bias",
        "res1.norm1.weight",
        "transformer.norm1.bias",
        "output.weight",
    } <= names
    assert "res1.conv1.weight" not in names and "transformer.tokens" not in names
    frozen_output = E2ganConfig(channels=(4, 4, 8, 8), heads=2, groups=2, train_output=False).build()
    assert "output.weight" not in adapter_names(frozen_output)


def test_a_base_survives_its_file_bit_for_bit(generator, tmp_path):
    save_base(tmp_path / "base.safetensors", generator, {"note": "test"})
    loaded = load_base(tmp_path / "base.safetensors")
    assert loaded.config == generator.config
    assert all(torch.equal(a, b) for a, b in zip(generator.parameters(), loaded.parameters(), strict=True))
    assert not any(p.requires_grad for p in loaded.parameters())


def test_with_zero_B_the_merged_generator_is_the_plain_one(generator):
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(merge(generator)(images), plain(generator)(images))


def test_loading_an_adapter_leaves_the_base_alone(generator):
    before = initial_adapter(generator)
    moved = load_adapter(generator, {name: value + 1 for name, value in before.items()})
    assert all(torch.equal(value, before[name]) for name, value in initial_adapter(generator).items())
    assert torch.equal(moved.stem.bias, before["stem.bias"] + 1)


def test_errors_name_the_tensor_and_the_fix(generator, tmp_path):
    adapter = initial_adapter(generator)
    with pytest.raises(WeightzooError, match="stem.bias holds NaN.*download it again"):
        load_adapter(generator, {**adapter, "stem.bias": adapter["stem.bias"] * torch.nan})
    with pytest.raises(WeightzooError, match="stem.bias has shape"):
        load_adapter(generator, {**adapter, "stem.bias": torch.zeros(7)})
    with pytest.raises(WeightzooError, match="another generator"):
        load_adapter(generator, {"x": torch.zeros(1)})
    with pytest.raises(WeightzooError, match="no such file"):
        load_base(tmp_path / "absent.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"not a tensor file")
    with pytest.raises(WeightzooError, match="not a readable safetensors file"):
        load_base(tmp_path / "bad.safetensors")
