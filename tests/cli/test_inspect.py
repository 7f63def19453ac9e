"""weightzoo inspect: what everything is called, and damage found by --verify."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import pipeline.upkeep.rebuild
from pipeline.upkeep.rebuild import FleetComparison
from zoo.adapters.lora import initial_adapter, load_base
from zoo.adapters.peft_format import save_peft


@pytest.fixture
def zoo(world, tmp_path):
    """A copy that may be damaged."""
    return shutil.copytree(world / "zoo", tmp_path / "zoo")


def test_names_everything(run, world, tmp_path):
    base = world / "zoo" / "base" / "generator.safetensors"
    assert run("generate", "x", "--model", world / "models" / "polished", "-o", tmp_path / "c").code == 0
    shard = next((world / "zoo" / "weights").glob("train*"))
    expected = {
        world / "zoo": "zoo",
        shard: "shard",
        world / "models" / "polished": "weight generator",
        tmp_path / "c": "adapter",
        base: "generator",
    }
    for path, kind in expected.items():
        result = run("inspect", path, "--verify", "--json")
        assert result.code == 0, result.out + result.err
        assert result.json["kind"] == kind and result.json["problems"] == []
        assert "no problem found" in run("inspect", path, "--verify").out


def test_parameters_are_counted_whatever_the_keys_are_called(run, world, tmp_path):
    path = tmp_path / "c" / "adapter_model.safetensors"
    assert run("generate", "x", "--model", world / "models" / "polished", "-o", tmp_path / "c").code == 0
    first = run("inspect", tmp_path / "c", "--json").json
    tensors = load_file(path)
    factors = {name: name.replace(".weight", ".default.weight") for name in tensors if ".lora_" in name}
    save_file({factors.get(name, name): value for name, value in tensors.items()}, path)
    again = run("inspect", tmp_path / "c", "--json").json
    frozen = sum(value.numel() for name, value in tensors.items() if ".lora_A." in name)
    assert first["parameters"] == again["parameters"] == sum(value.numel() for value in tensors.values()) - frozen
    (tmp_path / "c" / "weightzoo.json").unlink()  # as PEFT alone leaves it, with A trained as well
    assert run("inspect", tmp_path / "c", "--json").json["parameters"] == first["parameters"] + frozen


def test_counts_of_a_zoo(run, world):
    facts = run("inspect", world / "zoo", "--json").json
    assert facts["state"] == "finished" and facts["counts"]["ok"] == 10 and "problems" not in facts


def test_unfinished_zoo(run, zoo):
    (zoo / "manifest.json").unlink()
    facts = run("inspect", zoo, "--verify", "--json").json
    assert facts["state"] == "unfinished" and facts["shards done"] == 2


@pytest.mark.parametrize("in_common", [{"a": 1.04, "b": 0.9}, {}])
def test_a_rebuilt_fleet_is_compared(run, zoo, monkeypatch, in_common):
    compared = FleetComparison("train-0", bool(in_common), True, True, False, in_common, dict.fromkeys(in_common, 0.99))
    monkeypatch.setattr(pipeline.upkeep.rebuild, "rebuild_fleet", lambda path, shard: compared)
    result = run("inspect", zoo, "--rebuild", "0", "--json")
    assert result.code == 1
    assert result.json["rebuilt"]["L1 ratio, largest"] == max(in_common.values(), default=None)
    (problem,) = result.json["problems"]
    assert problem == ("b: L1 is 0.900 x the stored" if in_common else "train-0: other concepts than stored")
    assert "1.04" in run("inspect", zoo, "--rebuild", "0").out or not in_common


@pytest.mark.parametrize("damage", ["flip", "truncate"])
def test_damaged_shard(run, zoo, damage):
    shard = next((zoo / "weights").glob("train*"))
    content = bytearray(shard.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    shard.write_bytes(content if damage == "flip" else content[:-100])
    result = run("inspect", zoo, "--verify", "--json")
    assert result.code == 1 and shard.name in result.json["problems"][0]
    if damage == "truncate":
        alone = run("inspect", shard)
        assert alone.code == 2 and shard.name in alone.error


def test_missing_file_of_a_zoo(run, zoo):
    (zoo / "layout.json").unlink()
    result = run("inspect", zoo, "--verify")
    assert result.code == 1 and "layout.json is missing" in result.out


def test_adapter_of_another_base(run, world, tmp_path):
    base = load_base(world / "zoo" / "base" / "generator.safetensors")
    save_peft(tmp_path / "a", base, initial_adapter(base), {"base_sha256": "0" * 64})
    result = run("inspect", tmp_path / "a", "--verify", "--json")
    assert result.code == 1 and "not at hand" in result.json["problems"][0]


def test_weights_that_are_not_finite(run, world, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(world / "models" / "polished", tmp_path / "m")
    path = folder / "denoiser" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    first = next(iter(tensors))
    tensors[first] = torch.full_like(tensors[first], float("nan"))
    save_file(tensors, path)
    result = run("inspect", folder, "--verify", "--json")
    assert result.code == 1 and "NaN or infinite" in result.json["problems"][0]


def test_what_is_not_ours(run, tmp_path):
    assert run("inspect", tmp_path / "nothing").code == 2
    result = run("inspect", tmp_path)
    assert result.code == 2 and "not something that weightzoo writes" in result.error
