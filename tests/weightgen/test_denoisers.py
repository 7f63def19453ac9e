"""Denoisers: one face for all, diffusers twins with equal outputs, text masking and null text, model size."""

import pytest
import torch

from weightgen.denoisers import NETWORKS, class_names
from weightgen.model_folder import load_network

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


def test_the_default_transformer_fits_into_eight_megabytes_as_float16():
    network = NETWORKS["transformer"](num_blocks=60, block_size=256)
    assert sum(p.numel() for p in network.parameters()) * 2 < 8_000_000
