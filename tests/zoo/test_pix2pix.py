"""The two classic pix2pix networks: the reference implementation's sizes, shapes, use in fleets."""

import pytest
import torch

from zoo.errors import WeightzooError
from zoo.gans.patchgan import NORMS, PatchGanConfig, pix2pix_70x70
from zoo.gans.pix2pix import Pix2pixConfig


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameter_counts_are_those_of_the_reference_implementation():
    with torch.device("meta"):
        assert parameters(Pix2pixConfig().build()) == 54_413_955  # printed there as 54.414 M
        assert parameters(pix2pix_70x70().build()) == 2_768_705  # printed there as 2.769 M


def test_a_logit_of_the_classic_discriminator_sees_70x70_pixels():
    discriminator = PatchGanConfig(channels=(2, 2, 2, 2), last_stride=1).build()
    image = torch.rand(1, 3, 256, 256, requires_grad=True)
    discriminator(image.detach(), image)[0, 0, 15, 15].backward()
    rows = image.grad.abs().sum((0, 1, 3)).nonzero().flatten()
    assert rows.max() - rows.min() + 1 == 70
    assert discriminator(image, image).shape == (1, 1, 30, 30)


@pytest.mark.parametrize("size", [32, 64, 128])
def test_generator_maps_unit_range_to_unit_range_at_every_size(size):
    torch.manual_seed(0)
    generator = Pix2pixConfig(image_size=size, filters=4).build()
    images = torch.rand(2, 3, size, 2 * size)
    edited = generator(images)
    assert edited.shape == images.shape
    assert 0 <= edited.min() and edited.max() <= 1
    assert edited.std() > 0


@pytest.mark.parametrize("norm", NORMS)
def test_both_networks_train_in_a_fleet(norm):
    """Under vmap over concepts and grad, as `zoo.training.train_gan` runs them, each concept as if alone."""
    torch.manual_seed(0)
    generator = Pix2pixConfig(image_size=32, filters=4, norm=norm).build().eval()
    discriminator = PatchGanConfig(channels=(4, 8), norm=norm).build()
    sources = torch.rand(2, 3, 32, 32)
    fleet_g = {n: torch.stack([p.detach(), p.detach() * 1.1]) for n, p in generator.named_parameters()}
    fleet_d = {n: torch.stack([p.detach(), p.detach() * 0.9]) for n, p in discriminator.named_parameters()}

    def loss(params_g, params_d):
        images = torch.func.functional_call(generator, params_g, (sources,))
        return torch.func.functional_call(discriminator, params_d, (sources, images)).square().mean()

    losses, gradients = zip(*(_single(loss, fleet_g, fleet_d, k) for k in range(2)), strict=True)
    fused, (fused_g, _) = torch.func.vmap(lambda g, d: _value_and_grad(loss, g, d))(fleet_g, fleet_d)
    torch.testing.assert_close(fused, torch.stack(losses))
    for name, gradient in fused_g.items():
        expected = torch.stack([g[0][name] for g in gradients])
        torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-5)


def _value_and_grad(loss, params_g, params_d):
    gradients, value = torch.func.grad_and_value(loss, argnums=(0, 1))(params_g, params_d)
    return value, gradients


def _single(loss, fleet_g, fleet_d, k):
    return _value_and_grad(loss, {n: p[k] for n, p in fleet_g.items()}, {n: p[k] for n, p in fleet_d.items()})


def test_wrong_sizes_and_norms_are_named():
    with pytest.raises(WeightzooError, match="32, 64, 128"):
        Pix2pixConfig(image_size=48).build()
    with pytest.raises(WeightzooError, match="multiples of 32, not 32x48"):
        Pix2pixConfig(image_size=32, filters=4).build()(torch.rand(1, 3, 32, 48))
    with pytest.raises(WeightzooError, match="unknown norm 'layer'"):
        PatchGanConfig(norm="layer").build()
