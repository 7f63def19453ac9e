"""The ``paper`` presets at full size: parameter counts, and one step of every part."""

import pytest
import torch

from pipeline.presets import paper
from weightgen.denoisers import NETWORKS
from weightgen.normalize import BlockStatistics
from weightgen.objective import loss, make_scheduler, one_step
from weightgen.text import TextStates
from weightgen.training.config import PRESETS
from zoo.adapters.lora import adapter_names, initial_adapter, plain_config
from zoo.layout import WeightLayout
from zoo.training.batches import material_of
from zoo.training.train_gan import GanTrainConfig, run_generators, train_fleet

CLIP_WIDTH = 768


@pytest.fixture(scope="module")
def config():
    return paper()


@pytest.fixture(scope="module")
def generator(config):
    torch.manual_seed(0)
    return config.generator_config().build()


@pytest.fixture(scope="module")
def layout(config, generator):
    return WeightLayout.for_generator(generator, config.block_size, config.grouping)


@pytest.fixture
def texts():
    draw = torch.Generator().manual_seed(0)
    tokens = torch.randn(1, 12, CLIP_WIDTH, generator=draw)
    return TextStates(tokens, torch.ones(1, 12, dtype=torch.bool), tokens.mean(1))


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_sizes(config, generator, layout):
    """The paper: a generator of 7 M parameters, of which LoRA leaves 0.1 to 0.2 M to learn per concept."""
    assert count(plain_config(generator.config).build()) == 7_001_292
    sizes = {name: parameter.numel() for name, parameter in generator.named_parameters()}
    assert sum(sizes[name] for name in adapter_names(generator)) == layout.num_values == 106_316
    assert count(config.discriminator.build()) == 2_767_809
    assert config.num_concepts >= 1000 and config.image_size == config.block_size == 256


def test_a_fleet_step(config, generator):
    images = torch.rand(1, 3, 256, 256)
    training = GanTrainConfig(steps=1, batch_size=1, mode="adapter")
    material = material_of(generator, images, images.flip(1).expand(2, -1, -1, -1, -1))
    result = train_fleet(generator, config.discriminator.build(), material, training)
    assert not result.diverged.any()
    moved = [not torch.equal(result.params[n][0], v) for n, v in initial_adapter(generator).items()]
    assert sum(moved) > len(moved) / 2


@pytest.mark.parametrize("denoiser", NETWORKS)
def test_a_step_by_weights_and_one_by_pictures(denoiser, generator, layout, texts):
    config = PRESETS["paper"](denoiser)
    torch.manual_seed(0)
    options = config.denoiser_options
    network = NETWORKS[denoiser](layout.num_blocks, layout.block_size, CLIP_WIDTH, **options)
    blocks = layout.to_blocks({n: v.expand(2, *v.shape) for n, v in initial_adapter(generator).items()})
    statistics = BlockStatistics.from_blocks(blocks + 0.1 * torch.randn_like(blocks), layout.mask)
    scheduler = make_scheduler(config.objective)
    value = loss(network, statistics.normalize(blocks[:1]), texts, layout.mask, scheduler, config.objective)
    value.backward()
    assert torch.isfinite(value) and gradients_are_finite(network)

    network.zero_grad()
    adapters = layout.from_blocks(statistics.denormalize(one_step(network, texts)))
    images = torch.rand(1, 3, 64, 64)  # the squares' size changes nothing but the time
    run_generators(generator, adapters, images).sub(0.5).abs().mean().backward()
    assert gradients_are_finite(network)


def gradients_are_finite(network):
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    return bool(gradients) and all(torch.isfinite(gradient).all() for gradient in gradients)
