"""PEFT folders: exact round trip, the same image through PEFT alone, clear errors."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from zoo.adapters import peft_format
from zoo.adapters.lora import (
    adapter_names,
    initial_adapter,
    load_adapter,
    load_generator,
    merge,
    plain,
    save_base,
)
from zoo.adapters.peft_config import scaling
from zoo.adapters.peft_format import find_base, load_peft, merge_peft, read_peft, save_peft
from zoo.errors import WeightzooError
from zoo.files import EMBEDDED_DIR, sha256_file
from zoo.gans.e2gan import E2ganConfig
from zoo.gans.solved import SolvedConfig
from zoo.hub import find_zoo
from zoo.layout import WeightLayout
from zoo.pictures.apply import load_network

SMALL = E2ganConfig(channels=(8, 8, 16, 16), lora_rank=4, attention_rank=2, heads=2, context_tokens=2, groups=4)

SOLVED = SolvedConfig(8, 8, 8, 8, branches=("whole",), hidden=8, lora_rank=3)


def base_and_adapter(config=SMALL):
    """A base and an adapter whose every tensor differs from the base's."""
    torch.manual_seed(0)
    base = config.build().eval().requires_grad_(False)
    adapter = {name: value + 0.1 * torch.randn_like(value) for name, value in initial_adapter(base).items()}
    return base, adapter


@pytest.mark.parametrize("config", [SMALL, dataclasses.replace(SMALL, train_output=False), SOLVED])
def test_peft_alone_gives_the_same_image(tmp_path, config):
    peft = pytest.importorskip("peft")
    base, adapter = base_and_adapter(config)
    save_peft(tmp_path, base, adapter)
    images = torch.rand(2, 3, 40, 48)
    expected = load_adapter(base, adapter)(images)
    assert (expected - base(images)).abs().mean() > 1e-2

    wrapped = peft.PeftModel.from_pretrained(plain(base), str(tmp_path)).eval()
    torch.testing.assert_close(wrapped(images), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(merge(base, adapter)(images), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(merge_peft(tmp_path, base)(images), expected, rtol=0, atol=1e-5)

    # What PEFT writes again (another file, other metadata) reads back as the same adapter.
    wrapped.save_pretrained(str(tmp_path / "again"))
    again, _ = load_peft(tmp_path / "again", base)
    for name in adapter:
        torch.testing.assert_close(again[name], adapter[name])


def test_round_trip_is_exact_and_described(tmp_path):
    base, adapter = base_and_adapter()
    save_peft(tmp_path / "c", base, adapter, {"prompt": "a charcoal drawing", "base_sha256": "0" * 64})
    loaded, metadata = load_peft(tmp_path / "c", base)
    assert set(loaded) == set(adapter_names(base))
    assert all(torch.equal(loaded[name], adapter[name]) for name in adapter)
    assert metadata["prompt"] == "a charcoal drawing"
    assert metadata["gan"] == "e2gan"
    assert metadata["layout_id"] == WeightLayout.for_generator(base).id


def test_alpha_scales_the_factors(tmp_path):
    base, adapter = base_and_adapter()
    save_peft(tmp_path, base, adapter)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    doubled = config | {
        "lora_alpha": 2 * config["r"],
        "alpha_pattern": {n: 2 * r for n, r in config["rank_pattern"].items()},
    }
    (tmp_path / "adapter_config.json").write_text(json.dumps(doubled))
    loaded, _ = load_peft(tmp_path, base)
    for name, value in adapter.items():
        torch.testing.assert_close(loaded[name], value * (2 if name.endswith("lora_B") else 1))


def test_alphas_are_found_as_peft_finds_them():
    from peft.utils.other import get_pattern_key

    alphas = {"query": 12, "mid.query": 30, "key": 6}
    config = {"lora_alpha": 3, "alpha_pattern": alphas}
    for layer in ("query", "down.mid.query", "my_query", "up.key", "value"):
        expected = alphas.get(get_pattern_key(alphas, layer), 3) / 3
        assert scaling(Path("c"), config, layer, 3) == expected, layer
    with pytest.raises(WeightzooError, match="has the pattern .* name its layers"):
        scaling(Path("c"), {"lora_alpha": 3, "alpha_pattern": {"(a+)+$": 3}}, "a" * 60, 3)


LINEAR = ["transformer.expand", "transformer.contract"]


def trained_by_peft(folder, base, start=True, **options):
    """A folder that PEFT alone trained and wrote; returns the wrapped network."""
    peft = pytest.importorskip("peft")
    torch.manual_seed(3)
    config = peft.LoraConfig(**({"r": 4, "target_modules": LINEAR, "init_lora_weights": start} | options))
    wrapped = peft.get_peft_model(plain(base), config).eval()
    wrapped.save_pretrained(str(folder / "start"))
    for name, value in wrapped.named_parameters():
        if ".lora_" in name or ".modules_to_save." in name:
            value.data += torch.randn_like(value)
    wrapped.save_pretrained(str(folder / "trained"))
    return wrapped


@pytest.mark.parametrize(
    "options",
    [
        {"use_rslora": True, "lora_alpha": 12},
        {"start": "gaussian"},
        {"start": "orthogonal"},
        {"start": "mica"},
        {"fan_in_fan_out": True},
        {"rank_pattern": {"expand": 2}, "alpha_pattern": {"expand": 5}},
        {"target_modules": [*LINEAR, "stem"], "modules_to_save": ["output"]},
    ],
)
@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
def test_what_peft_trained_gives_the_same_image(tmp_path, options):
    base, _ = base_and_adapter()
    wrapped = trained_by_peft(tmp_path, base, **options)
    images = torch.rand(2, 3, 40, 48)
    expected = wrapped(images)
    assert (expected - plain(base)(images)).abs().mean() > 1e-3
    torch.testing.assert_close(merge_peft(tmp_path / "trained", base)(images), expected, rtol=0, atol=1e-4)


@pytest.mark.filterwarnings("ignore:.*changes the base weights")
@pytest.mark.parametrize("start", ["pissa", "pissa_niter_4", "olora"])
def test_an_adapter_of_a_changed_base_is_refused_until_peft_has_converted_it(tmp_path, start):
    base, _ = base_and_adapter()
    wrapped = trained_by_peft(tmp_path, base, start)
    with pytest.raises(WeightzooError, match=f"init_lora_weights is {start}.*path_initial_model_for_weight_conversion"):
        merge_peft(tmp_path / "trained", base)
    images = torch.rand(1, 3, 40, 48)
    expected = wrapped(images)
    initial = str(tmp_path / "start")
    wrapped.save_pretrained(str(tmp_path / "converted"), path_initial_model_for_weight_conversion=initial)
    torch.testing.assert_close(merge_peft(tmp_path / "converted", base)(images), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("start", ["corda", "loftq", "lora_ga", "of_next_year"])
def test_every_initialisation_that_may_change_the_base_is_refused(tmp_path, start):
    save_peft(tmp_path, *base_and_adapter())
    change_config(tmp_path, init_lora_weights=start)
    with pytest.raises(WeightzooError, match=f"init_lora_weights is {start}"):
        read_peft(tmp_path)


@pytest.mark.parametrize(
    "feature", ["use_dora", "lora_bias", "kasa_config", "layer_replication", "target_parameters", "of_next_year"]
)
def test_features_beyond_plain_lora_are_refused(tmp_path, feature):
    save_peft(tmp_path, *base_and_adapter())
    change_config(tmp_path, **{feature: {"some": 1}})
    with pytest.raises(WeightzooError, match=f"kind LORA, {feature}; weightzoo reads plain LoRA only"):
        read_peft(tmp_path)
    change_config(tmp_path, **{feature: None})
    assert read_peft(tmp_path).up


def change_config(folder, **changes):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("prefix", ["base_model.model.", ""])
@pytest.mark.parametrize("name", ["", "default.", "mine."])
def test_keys_as_peft_has_them_in_memory(tmp_path, prefix, name):
    base, adapter = base_and_adapter()
    save_peft(tmp_path, base, adapter)
    path = tmp_path / "adapter_model.safetensors"
    tensors = {}
    for key, value in load_file(path).items():
        own = key.removeprefix("base_model.model.")
        own = own.replace(".weight", f".{name}weight") if ".lora_" in own else own
        if name and own.startswith("output."):
            own = own.replace("output.", f"output.modules_to_save.{name}")
        tensors[prefix + own] = value
    save_file(tensors, path)
    loaded, _ = load_peft(tmp_path, base)
    assert set(loaded) == set(adapter) and all(torch.equal(loaded[key], adapter[key]) for key in adapter)


def test_a_tensor_that_plain_lora_does_not_have_is_named(tmp_path):
    save_peft(tmp_path, *base_and_adapter())
    path = tmp_path / "adapter_model.safetensors"
    save_file(load_file(path) | {"base_model.model.stem.lora_magnitude_vector": torch.ones(8)}, path)
    with pytest.raises(WeightzooError, match="holds stem.lora_magnitude_vector, which plain LoRA does not have"):
        read_peft(tmp_path)


def test_an_adapter_of_an_earlier_zoo_needs_that_zoos_base(tmp_path, monkeypatch):
    base, adapter = base_and_adapter()
    save_base(tmp_path / "elsewhere.safetensors", base)
    digest = sha256_file(tmp_path / "elsewhere.safetensors")
    monkeypatch.setitem(peft_format.EARLIER_BASES, digest, "the zoo of last year")
    save_peft(tmp_path / "c", base, adapter, {"base_sha256": digest})
    with pytest.raises(WeightzooError, match="c belongs to the zoo of last year; generate or train it again, or name"):
        load_network(tmp_path / "c")
    with pytest.raises(WeightzooError, match="made with another base"):
        load_network(tmp_path / "c", find_zoo("weightzoo-small") / "base" / "generator.safetensors")
    images = torch.rand(1, 3, 16, 16)
    expected = load_adapter(base, adapter)(images)
    assert torch.allclose(load_network(tmp_path / "c", tmp_path / "elsewhere.safetensors")(images), expected, atol=1e-5)


def test_no_earlier_base_is_one_of_the_package():
    shas = {sha256_file(path) for path in EMBEDDED_DIR.glob("*/base/generator.safetensors")}
    assert shas and not shas & peft_format.EARLIER_BASES.keys()


def test_the_base_is_found_by_its_hash(tmp_path):
    base, _ = base_and_adapter()
    save_base(tmp_path / "base" / "generator.safetensors", base)
    digest = sha256_file(tmp_path / "base" / "generator.safetensors")
    assert (
        find_base({"base_sha256": digest}, tmp_path / "adapters" / "c")
        == (tmp_path / "base" / "generator.safetensors").resolve()
    )
    with pytest.raises(WeightzooError, match="--base"):
        find_base({"base_sha256": "f" * 64}, tmp_path / "c")
    with pytest.raises(WeightzooError, match="does not say which base"):
        find_base({}, tmp_path / "c")


def test_what_does_not_fit_is_named(tmp_path):
    base, adapter = base_and_adapter()
    with pytest.raises(WeightzooError, match="NaN"):
        save_peft(tmp_path / "nan", base, adapter | {"stem.bias": torch.full((8,), torch.nan)})
    save_peft(tmp_path / "c", base, adapter)
    torch.manual_seed(1)
    with pytest.raises(WeightzooError, match="another .*lora_A"):
        load_peft(tmp_path / "c", SMALL.build())
    wider = dataclasses.replace(SMALL, channels=(8, 16, 16, 16)).build()
    with pytest.raises(WeightzooError, match="does not fit this base"):
        merge_peft(tmp_path / "c", wider)


def test_broken_folders_are_named(tmp_path):
    base, adapter = base_and_adapter()
    with pytest.raises(WeightzooError, match="adapter_config.json does not exist"):
        load_peft(tmp_path / "nothing")
    save_peft(tmp_path, base, adapter)
    weights = tmp_path / "adapter_model.safetensors"
    tensors = load_file(weights)
    save_file(tensors | {"base_model.model.stem.base_layer.bias": torch.full((8,), torch.inf)}, weights)
    with pytest.raises(WeightzooError, match="stem.base_layer.bias holds NaN or infinite"):
        load_peft(tmp_path)
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(WeightzooError, match="not a readable safetensors"):
        load_peft(tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"use_dora": True}))
    with pytest.raises(WeightzooError, match="use_dora"):
        load_peft(tmp_path)


@pytest.mark.parametrize("name", ["adapter_config.json", "weightzoo.json"])
@pytest.mark.parametrize("text", ["[]", "3", '"x"', "null", "{", "[" * 10**5])
def test_files_that_hold_something_else_are_named(tmp_path, name, text):
    save_peft(tmp_path, *base_and_adapter())
    (tmp_path / name).write_text(text)
    with pytest.raises(WeightzooError, match=f"{name} (holds no JSON object|is not valid JSON)"):
        read_peft(tmp_path)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("weightzoo.json", {"format_version": "x"}, "format version 'x'"),
        ("weightzoo.json", {"format_version": None}, "format version None"),
        ("weightzoo.json", {"base_sha256": 3}, "does not name its base by a hash"),
        ("adapter_config.json", {"alpha_pattern": []}, None),
        ("adapter_config.json", {"alpha_pattern": [3]}, "no alpha for"),
        ("adapter_config.json", {"lora_alpha": "x"}, "no alpha for"),
        ("adapter_config.json", {"lora_alpha": 10**400}, "no alpha for"),
        ("adapter_config.json", {"lora_alpha": float("nan")}, "no alpha for"),
    ],
)
def test_values_of_another_kind_are_named(tmp_path, name, change, message):
    save_peft(tmp_path, *base_and_adapter())
    (tmp_path / name).write_text(json.dumps(json.loads((tmp_path / name).read_text()) | change))
    if message is None:
        read_peft(tmp_path)
        return
    with pytest.raises(WeightzooError, match=message):
        read_peft(tmp_path)


DOWN, UP = (f"base_model.model.stem.lora_{letter}.weight" for letter in "AB")


@pytest.mark.parametrize(
    ("down", "up", "message"),
    [
        (torch.ones(2, 3, 3, 3), torch.ones(8, 3, 1, 1), "factors of stem do not fit"),
        (torch.ones(2, 3, 3, 3), torch.ones(8, 2, 2, 1), "factors of stem do not fit"),
        (torch.ones(3), torch.ones(8, 3), "factors of stem do not fit"),
        (torch.ones(2, 3), torch.ones(8), "factors of stem do not fit"),
        (torch.ones(0, 3), torch.ones(8, 0), "factors of stem do not fit"),
        (torch.ones(2, 3), torch.ones(0, 2), "factors of stem do not fit"),
        (torch.ones(2, 3, 3, 3), torch.full((8, 2, 1, 1), 3e38), "stem.lora_B holds NaN or infinite"),
        (torch.ones(1, 10**6), torch.ones(10**6, 1), r"stem.weight is \(1000000, 1000000\) there"),
    ],
)
def test_factors_that_do_not_fit_are_named(tmp_path, down, up, message):
    """The last would be four terabytes, were it multiplied before it is compared."""
    base, adapter = base_and_adapter()
    save_peft(tmp_path, base, adapter)
    path, config = tmp_path / "adapter_model.safetensors", tmp_path / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"lora_alpha": 16, "alpha_pattern": {}}))
    save_file(load_file(path) | {DOWN: down, UP: up}, path)
    with pytest.raises(WeightzooError, match=message):
        merge_peft(tmp_path, base)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int32])
def test_tensors_of_another_type_are_read(tmp_path, dtype):
    base, adapter = base_and_adapter()
    save_peft(tmp_path, base, adapter)
    path = tmp_path / "adapter_model.safetensors"
    name = "base_model.model.stem.base_layer.bias"
    save_file(load_file(path) | {name: torch.ones(8).to(dtype)}, path)
    assert read_peft(tmp_path).direct["stem.bias"].equal(torch.ones(8))


def test_a_generator_folder_whose_config_is_something_else_is_named(tmp_path):
    base, _ = base_and_adapter()
    save_base(tmp_path / "generator.safetensors", base)
    for text in ("[]", "3", '{"gan": []}', '{"gan": "e2gan", "config": []}'):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(WeightzooError):
            load_generator(tmp_path)
