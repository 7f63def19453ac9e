"""Denoisers: one face for all, diffusers twins with equal outputs, text masking and null text, model size."""

import json
import subprocess
import sys

import pytest
import torch
from torch import nn

from weightgen.denoisers import NETWORKS, class_names
from weightgen.model_folder import WEIGHTS_NAME, load_network
from zoo.errors import WeightzooError
from zoo.tensors import write_tensors

NUM_BLOCKS, BLOCK_SIZE, TEXT_WIDTH = 5, 32, 24
OPTIONS = {
    "transformer": {"width": 32, "num_layers": 2, "num_heads": 2},
    "unet1d": {"width": 32, "channels": [16, 16, 16], "num_heads": 2, "patch_size": 4},
    "transformer+reader": {"width": 32, "num_layers": 2, "num_heads": 2, "text_layers": 2, "text_queries": 3},
}
KINDS = [*NETWORKS, "transformer+reader"]  # what presets.small builds reads the text before the blocks do


def make(name: str, model: bool = False):
    from weightgen.denoisers import DENOISERS

    torch.manual_seed(0)
    classes = DENOISERS if model else NETWORKS
    build, options = classes[name.partition("+")[0]], OPTIONS.get(name, {})
    network = build(NUM_BLOCKS, BLOCK_SIZE, text_width=TEXT_WIDTH, **options).eval()
    with torch.no_grad():
        for parameter in network.parameters():  # zero-initialised gates would hide everything
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return network


def inputs(batch: int = 3, length: int = 6):
    torch.manual_seed(1)
    mask = torch.arange(length)[None] < torch.tensor([[length - 2], [3], [2]])[:batch]
    return {
        "noisy": torch.randn(batch, NUM_BLOCKS, BLOCK_SIZE),
        "timesteps": torch.tensor([999, 500, 0])[:batch],
        "tokens": torch.randn(batch, length, TEXT_WIDTH),
        "mask": mask,
        "pooled": torch.nn.functional.normalize(torch.randn(batch, TEXT_WIDTH), dim=-1),
    }


@pytest.mark.parametrize("name", KINDS)
def test_shape_and_gradients_reach_every_parameter(name):
    network, given = make(name), inputs()
    given["mask"][2] = False  # one row without a prompt, so the null states take part
    out = network(**given)
    assert out.shape == given["noisy"].shape
    out.square().sum().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("name", KINDS)
def test_padding_of_the_text_does_not_matter(name):
    network, given = make(name), inputs()
    expected = network(**given)
    changed = {**given, "tokens": given["tokens"].clone()}
    changed["tokens"][~given["mask"]] = 7.0
    torch.testing.assert_close(network(**changed), expected)
    longer = {
        **given,
        "tokens": torch.nn.functional.pad(given["tokens"], (0, 0, 0, 5)),
        "mask": torch.nn.functional.pad(given["mask"], (0, 5)),
    }
    torch.testing.assert_close(network(**longer), expected)


@pytest.mark.parametrize("name", KINDS)
def test_without_a_prompt_the_text_does_not_matter(name):
    network, given = make(name), inputs()
    given["mask"] = torch.zeros_like(given["mask"])
    other = {**given, "tokens": -given["tokens"], "pooled": -given["pooled"]}
    assert torch.equal(network(**given), network(**other))
    with_prompt = network(**inputs())
    assert not torch.allclose(network(**given), with_prompt)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("what", ["timesteps", "tokens", "pooled"])
def test_every_condition_is_read(name, what):
    network, given = make(name), inputs()
    changed = {**given, what: given[what] // 3 if what == "timesteps" else given[what].flip(0)}
    assert not torch.allclose(network(**changed)[:2], network(**given)[:2], atol=1e-5)


def test_blocks_of_the_unet_are_independent_and_of_the_transformer_are_not():
    given = inputs()
    changed = {**given, "noisy": given["noisy"].clone()}
    changed["noisy"][:, 1] += 1
    for name, independent in (("unet1d", True), ("transformer", False)):
        network = make(name)
        assert network.independent_blocks is independent
        same = torch.isclose(network(**changed), network(**given), atol=1e-6).all(-1)
        assert not same[:, 1].any()
        assert bool(same[:, 0].all()) is independent


def test_chosen_blocks_of_the_unet_equal_those_of_all():
    network, given = make("unet1d"), inputs()
    chosen = torch.tensor([3, 0])
    part = network(**{**given, "noisy": given["noisy"][:, chosen]}, block_index=chosen)
    torch.testing.assert_close(part, network(**given)[:, chosen])


def test_equal_blocks_at_different_indices_and_positions_are_told_apart():
    for name in NETWORKS:
        network, given = make(name), inputs()
        out = network(**{**given, "noisy": torch.zeros_like(given["noisy"])})
        assert out.std(1).min() > 1e-4 and out.std(2).min() > 1e-4


@pytest.mark.parametrize("name", KINDS)
def test_diffusers_twin_saves_and_loads(name, tmp_path):
    from weightgen.denoisers import DENOISERS

    model, given = make(name, model=True), inputs()
    assert type(model).__name__ == class_names()[name.partition("+")[0]]
    assert model.config.num_blocks == NUM_BLOCKS
    model.save_pretrained(tmp_path)
    again = DENOISERS[name.partition("+")[0]].from_pretrained(tmp_path).eval()
    plain_name, plain = load_network(tmp_path)
    assert plain_name == name.partition("+")[0] and not hasattr(plain, "save_pretrained")
    expected = model(**given)
    assert torch.equal(again(**given), expected) and torch.equal(plain(**given), expected)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("transformer", {"width": 10**6}),
        ("transformer", {"num_blocks": 10**12}),
        ("transformer", {"num_blocks": 10**40}),
        ("transformer", {"num_layers": 10**9}),
        ("transformer", {"text_layers": 10**9}),
        ("transformer", {"num_layers": "many"}),
        ("transformer", {"depth": 3}),
        ("transformer", {"mlp_ratio": 1e300}),
        ("unet1d", {"channels": [10**6, 10**6, 10**6]}),
        ("unet1d", {"channels": []}),
        ("unet1d", {"patch_size": 0}),
        ("unet1d", {"num_blocks": None}),
        ("unet1d", {"_class_name": ["UNet1DDenoiser"]}),
    ],
)
def test_a_config_that_its_file_does_not_fit_is_refused_before_anything_is_made(name, change, tmp_path, monkeypatch):
    network, real = make(name), []
    write_tensors(tmp_path / WEIGHTS_NAME, network.state_dict())
    config = {"_class_name": class_names()[name], **network.settings}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert load_network(tmp_path)[0] == name
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    build = nn.Linear.__init__

    def watched(self, *arguments, **options):
        build(self, *arguments, **options)
        real.append(self.weight.device.type)

    monkeypatch.setattr(nn.Linear, "__init__", watched)
    with pytest.raises(WeightzooError, match=str(tmp_path)):
        load_network(tmp_path)
    assert set(real) <= {"meta"}


def test_loading_draws_no_more_random_numbers_than_making(tmp_path):
    network = make("transformer")
    write_tensors(tmp_path / WEIGHTS_NAME, network.state_dict())
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "TransformerDenoiser", **network.settings}))
    states = []
    for action in (lambda: NETWORKS["transformer"](**network.settings), lambda: load_network(tmp_path)):
        torch.manual_seed(0)
        action()
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


def test_comparing_shapes_does_not_load_the_compiler(tmp_path):
    network = make("transformer+reader")
    write_tensors(tmp_path / WEIGHTS_NAME, network.state_dict())
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "TransformerDenoiser", **network.settings}))
    code = (
        "import sys; from weightgen.model_folder import load_network; "
        f"load_network({str(tmp_path)!r}); sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_default_transformer_fits_into_eight_megabytes_as_float16():
    network = NETWORKS["transformer"](num_blocks=60, block_size=256)
    assert sum(p.numel() for p in network.parameters()) * 2 < 8_000_000


def test_a_network_from_before_the_pooled_input_is_the_one_that_was_trained(tmp_path):
    network, given = make("transformer"), inputs()
    write_tensors(tmp_path / WEIGHTS_NAME, network.state_dict(), {"format": "pt"})

    def loaded(settings):
        (tmp_path / "config.json").write_text(
            json.dumps({"_class_name": class_names()["transformer"], **settings})
        )
        return load_network(tmp_path)[1]

    settings = network.settings
    assert torch.equal(loaded(settings)(**given), network(**given))
    before = loaded({key: value for key, value in settings.items() if key != "pooled_at_input"})
    network.pooled_at_input = False
    assert torch.equal(before(**given), network(**given))
    assert not torch.allclose(before(**given), loaded(settings)(**given))
