"""Fine detail: crops are those of the pictures, grain is trained for, and what it costs is bounded."""

import numpy as np
import pytest
import torch

from weightgen.finetuning.branches import steps_of
from weightgen.finetuning.solved import MOST_L1, pays
from weightgen.finetuning.texture import CROP, CROPS_OF_A_PAIR, crops_of, with_texture
from weightgen.pairs.closed_form import pixels_of_pictures
from zoo.gans.solved import SolvedConfig
from zoo.pictures.metrics import fine_detail


@pytest.fixture(scope="module")
def generator():
    """A network that copies its source."""
    torch.manual_seed(0)
    return SolvedConfig(8, 8, 8, 8, image_size=64, branches=("local",), hidden=8).build().requires_grad_(False)


@pytest.fixture(scope="module")
def pairs():
    """Smooth photographs, and the same with grain that nothing in them decides."""
    draw = torch.Generator().manual_seed(1)
    small = torch.rand(4, 3, 12, 12, generator=draw) * 0.5 + 0.25
    smooth = torch.nn.functional.interpolate(small, (64, 72), mode="bicubic", align_corners=False).clamp(0, 1)
    sources = smooth + 0.02 * torch.randn(4, 1, 64, 72, generator=draw)
    return list(zip(sources, sources + 0.06 * torch.randn(4, 1, 64, 72, generator=draw), strict=True))


def test_crops_are_those_of_the_pictures(generator, pairs):
    source, target = pairs[0]
    network = SolvedConfig(8, 8, 8, 8).build()
    maps, targets = crops_of(network, source, source, np.random.default_rng(0))
    assert targets.shape == (CROPS_OF_A_PAIR, 3, CROP, CROP)
    copied = network(network.see(maps)).transpose(-1, -2).unflatten(-1, (CROP, CROP))
    torch.testing.assert_close(copied, targets)
    _, others = crops_of(network, source, target, np.random.default_rng(0))
    windows = target.unfold(1, CROP, 1).unfold(2, CROP, 1).permute(1, 2, 0, 3, 4).flatten(0, 1)
    assert all((windows == crop).flatten(1).all(1).any() for crop in others)


def test_grain_is_trained_for(generator, pairs):
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    rng = np.random.default_rng(0)
    pixels = [pixels_of_pictures(generator, *pair, rng, len(pairs)) for pair in pairs]
    detailed = with_texture(generator, pairs, pixels, steps_of(80))
    sources, targets = (torch.stack(part) for part in zip(*pairs, strict=True))
    smooth, grainy = (fine_detail(network(sources), targets)[0].mean() for network in (generator, detailed))
    assert smooth < 0.45 and grainy > smooth + 0.2
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())
    again = with_texture(generator, pairs, pixels, steps_of(80))
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in detailed.state_dict().items())
    stopped = with_texture(generator, pairs, pixels, steps_of(80), stop=lambda: True)
    assert all(torch.equal(value, before[name]) for name, value in stopped.state_dict().items())


BEST = {"l1": 0.02, "fine_energy": 0.5, "source_l1": 0.03}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"fine_energy": 0.8}, True),
        ({"fine_energy": 0.45}, False),
        ({"fine_energy": 3.0}, False),  # further above than the other is below
        ({"fine_energy": 0.8, "l1": 0.0201 * MOST_L1}, False),
        ({"fine_energy": 0.8, "l1": 0.021, "source_l1": 0.0205}, False),  # worse than the photograph as it is
        ({"fine_energy": None}, False),
        ({"l1": None}, False),
    ],
)
def test_detail_is_kept_where_it_is_worth_its_error(changes, expected):
    assert pays(BEST | changes, BEST) is expected
