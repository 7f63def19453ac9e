"""Closed forms on pairs: each gives what it can see, and nothing is drawn from torch's own random state."""

import pytest
import torch

from weightgen.finetuning import closed_forms
from weightgen.finetuning.closed_forms import (
    CLOSED_FORMS,
    PLAIN,
    PLAIN_FACTORS,
    TRAINED,
    colour_columns,
    learned,
    plain,
    trained,
)
from zoo.closed_form import TO_PRIOR, fit_output_layer
from zoo.gans.feature_bank import FeatureBankConfig
from zoo.pictures.metrics import figures

SOLVED = [name for name in CLOSED_FORMS if name != TRAINED]


def pictures(count, edit, seed=0, size=24):
    generator = torch.Generator().manual_seed(seed)
    sources = torch.rand(count, 3, size, size, generator=generator)
    sources = torch.nn.functional.avg_pool2d(sources, 3, 1, 1)
    return [(source, edit(source)) for source in sources]


def warmer(source):
    return (source * torch.tensor([1.1, 0.9, 0.7])[:, None, None]).clamp(0, 1)


def shifted_left(source):
    return source.roll(-1, -1)  # no colour of a pixel says what its neighbour has


def error_of(generator, pairs):
    sources, targets = map(torch.stack, zip(*pairs, strict=True))
    return figures(generator(sources), targets)["l1"].mean().item()


@pytest.mark.parametrize("name", SOLVED)
def test_an_edit_of_colour_is_learned_by_all(name):
    others = pictures(2, warmer, seed=1)
    copying = sum((source - target).abs().mean().item() for source, target in others) / len(others)
    assert error_of(CLOSED_FORMS[name](pictures(4, warmer)), others) < 0.15 * copying


def test_the_colour_fit_sees_one_pixel_only():
    train, others = pictures(4, shifted_left), pictures(2, shifted_left, seed=1)
    both = {name: error_of(CLOSED_FORMS[name](train), others) for name in ("closed-form-colour", PLAIN)}
    assert both[PLAIN] < 0.75 * both["closed-form-colour"]
    generator = CLOSED_FORMS["closed-form-colour"](train)
    picture = others[0][0][None]
    changed = picture.clone()
    changed[..., 12, 12] = 1 - changed[..., 12, 12]
    difference = (generator(picture) - generator(changed)).abs().amax((0, 1))
    difference[12, 12] = 0
    assert difference.max() < 1e-5


def test_colour_columns_are_the_colours_products_and_relus():
    config = FeatureBankConfig(colour=5, patch=4, scales=3, tones=2)
    columns = colour_columns(config.build())
    assert columns[:3].tolist() == [0, 1, 2] and columns[-1] == config.build().num_features - 1
    assert len(columns) == 3 + 9 + 5 + 1  # colour, squares and cubes, ReLUs, the constant


@pytest.mark.parametrize("count", [1, 4])
def test_the_plain_penalty_is_chosen_by_folds_and_pulls_to_nothing_learned(count, monkeypatch):
    fits = []

    def solved(*args):
        fits.append(fit_output_layer(*args))
        return fits[-1]

    monkeypatch.setattr(closed_forms, "fit_output_layer", solved)
    plain(pictures(count, warmer))
    ((_, choice),) = fits
    assert choice.pull.factor in PLAIN_FACTORS and choice.pull.to == TO_PRIOR and choice.error < choice.prior_error


def test_training_starts_at_the_solved_layer_and_needs_two_pairs():
    one = pictures(1, warmer)
    solved = CLOSED_FORMS["closed-form"](one)
    assert torch.equal(trained(*learned(one), steps=2).layer, solved.layer)
    assert error_of(trained(*learned(pictures(4, warmer)), steps=2), pictures(2, warmer, seed=1)) < 0.05


def test_the_random_state_is_left_alone_and_the_result_is_the_same():
    state = torch.random.get_rng_state()
    first, second = (CLOSED_FORMS[PLAIN](pictures(2, warmer)).layer for _ in range(2))
    assert torch.equal(first, second) and torch.equal(torch.random.get_rng_state(), state)
