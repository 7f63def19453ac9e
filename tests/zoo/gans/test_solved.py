"""The bank of features and the generator over it: a crop has the features of the whole photograph."""

import pytest
import torch
from torch.nn.functional import max_pool2d, pad

from zoo.adapters.lora import load_base, save_base
from zoo.gans import solved
from zoo.gans.feature_bank import CHANNELS, PARTS, RIM, FeatureBankConfig, Place
from zoo.gans.solved import SolvedConfig, reduced

SMALL = FeatureBankConfig(colour=4, patch=5, scales=6, tones=3)


@pytest.mark.parametrize("top, left, height, width", [(0, 0, 40, 30), (37, 51, 1, 70), (60, 100, 37, 33)])
def test_a_crop_has_the_maps_of_the_whole_photograph(top, left, height, width):
    torch.manual_seed(0)
    bank, photograph = SMALL.build(), torch.rand(3, 97, 133)
    context = bank.context(reduced(photograph))
    padded = pad(photograph[None], (RIM,) * 4, mode="replicate")[0]
    whole = bank.maps(padded, context, Place(0, 0, 97, 133))
    crop = padded[:, top : top + height + 2 * RIM, left : left + width + 2 * RIM]
    own = bank.maps(crop, context, Place(top, left, 97, 133))
    torch.testing.assert_close(own, whole[:, top : top + height, left : left + width], rtol=0, atol=1e-6)


@pytest.mark.parametrize("height, width", [(1, 1), (3, 40), (97, 133)])
def test_some_pixels_have_the_maps_that_they_have_among_all(height, width):
    torch.manual_seed(0)
    bank, photograph = SMALL.build(), torch.rand(3, height, width)
    context, place = bank.context(reduced(photograph)), Place(0, 0, height, width)
    padded = pad(photograph[None], (RIM,) * 4, mode="replicate")[0]
    chosen = torch.randperm(height * width)[:50]
    whole = bank.maps(padded, context, place)
    assert whole.shape == (CHANNELS, height, width)
    some = bank.maps(padded, context, place, chosen)
    torch.testing.assert_close(some, whole.flatten(1)[:, chosen], rtol=0, atol=1e-6)


def test_extremes_are_those_of_the_neighbourhood():
    torch.manual_seed(0)
    bank, photograph = SMALL.build(), torch.rand(3, 20, 30)
    padded = pad(photograph[None], (RIM,) * 4, mode="replicate")[0]
    maps = bank.maps(padded, bank.context(reduced(photograph)), Place(0, 0, 20, 30))
    found = dict(zip(PARTS, maps.split(list(PARTS.values())), strict=True))["extremes"]
    grey = (padded * 2 - 1).mean(0, keepdim=True)
    for k, side in enumerate((3, 5)):
        around = grey[:, RIM - side // 2 : side // 2 - RIM, RIM - side // 2 : side // 2 - RIM]
        here = grey[:, RIM:-RIM, RIM:-RIM]
        torch.testing.assert_close(found[2 * k], (max_pool2d(around, side, 1) - here)[0], rtol=0, atol=1e-6)
        torch.testing.assert_close(found[2 * k + 1], (max_pool2d(-around, side, 1) + here)[0], rtol=0, atol=1e-6)


def test_strips_change_nothing(monkeypatch):
    torch.manual_seed(0)
    generator = SolvedConfig(4, 5, 6, 3).build()
    generator.layer.data.normal_(std=0.1)
    photograph = torch.rand(3, 90, 70)
    whole = generator.edit(photograph)
    monkeypatch.setattr(solved, "STRIP_PIXELS", 7 * 70)
    torch.testing.assert_close(generator.edit(photograph), whole, rtol=0, atol=1e-5)


def test_a_new_generator_copies_its_source():
    photographs = torch.rand(2, 3, 33, 47)
    torch.testing.assert_close(SolvedConfig().build()(photographs), photographs, rtol=0, atol=1e-6)


def test_every_feature_is_finite_on_an_even_photograph():
    bank = SMALL.build()
    for value in (0.0, 1.0):
        photograph = torch.full((3, 64, 80), value)
        padded = pad(photograph[None], (RIM,) * 4, mode="replicate")[0]
        maps = bank.maps(padded, bank.context(reduced(photograph)), Place(0, 0, 64, 80))
        features = bank.expand(maps.flatten(1).T)
        assert features.shape == (64 * 80, bank.num_features)
        assert features.isfinite().all() and (features[:, -1] == 1).all()


def test_brightness_that_the_photograph_as_a_whole_has_lost_is_stretched_away():
    """Features of the tones do not change when the whole photograph is darker and flatter."""
    torch.manual_seed(0)
    bank, photograph = SMALL.build(), torch.rand(3, 64, 64)
    first = sum((3, 18, 9, 4, 1))
    tones = []
    for image in (photograph, photograph * 0.6 + 0.1):
        padded = pad(image[None], (RIM,) * 4, mode="replicate")[0]
        tones.append(bank.maps(padded, bank.context(image), Place(0, 0, 64, 64))[first : first + 5])
    torch.testing.assert_close(tones[0], tones[1], rtol=0, atol=2e-3)


def test_a_file_gives_the_same_generator(tmp_path):
    torch.manual_seed(0)
    generator = SolvedConfig(4, 5, 6, 3, image_size=128).build()
    generator.layer.data.normal_(std=0.1)
    save_base(tmp_path / "g.safetensors", generator)
    loaded = load_base(tmp_path / "g.safetensors")
    assert loaded.config == generator.config
    photographs = torch.rand(1, 3, 40, 50)
    assert torch.equal(loaded(photographs), generator(photographs))
