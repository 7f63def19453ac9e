"""The solved output layer: never wild, never worse than the prior on what is left out."""

import math

import pytest
import torch

from zoo.closed_form import (
    ITSELF,
    TO_PRIOR,
    TO_SOURCE,
    Folds,
    Prior,
    Pull,
    Wanted,
    averaged,
    fit_output_layer,
    mean_layer,
    mean_layers,
    pulled,
    shares_by_error,
    weights_of,
)
from zoo.gram import added, gram_of

FEATURES = 7


def prior(penalty: float = 1e-3, mean: torch.Tensor | None = None) -> Prior:
    mean = torch.zeros(FEATURES, 3) if mean is None else mean
    return Prior(mean, torch.full((FEATURES,), math.log(penalty)), torch.zeros(FEATURES))


def pixels(layer: torch.Tensor, count: int = 400, noise: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    features = torch.randn(count, FEATURES)
    return features, (features @ layer + noise * torch.randn(count, 3)).clamp(-1, 1)


@pytest.mark.parametrize("pairs", [1, 2, 4, 9])
def test_a_linear_edit_is_found(pairs):
    torch.manual_seed(pairs)
    layer = torch.randn(FEATURES, 3) * 0.1
    fit = fit_output_layer([pixels(layer) for _ in range(pairs)], prior(1e-6))
    torch.testing.assert_close(fit.layer, layer, rtol=0, atol=2e-3)
    assert fit.choice.error < 0.1 * fit.choice.prior_error


@pytest.mark.parametrize("pairs", [1, 5])
def test_the_prior_is_kept_where_pairs_contradict_each_other(pairs):
    """Targets that have nothing to do with the sources: whatever is learned is worse on what is left out."""
    torch.manual_seed(0)
    mean = torch.randn(FEATURES, 3) * 0.1
    noise = [(torch.randn(60, FEATURES), torch.rand(60, 3).sub(0.5).sign()) for _ in range(pairs)]
    fit = fit_output_layer(noise, prior(1e-9, mean))
    assert fit.choice.error <= fit.choice.prior_error
    if fit.choice.pull == ITSELF:
        assert torch.equal(fit.layer, mean)


def test_a_small_change_of_one_pair_is_pulled_to_the_source():
    """Features that the pair does not show stay what they are in the source."""
    torch.manual_seed(0)
    small = torch.eye(FEATURES, 3)
    small[0, 0] = 0.9
    features, _ = pixels(small)
    features[:, 2] = 0.0
    fit = fit_output_layer([(features, features @ small)], prior(1e-5, torch.randn(FEATURES, 3) * 0.3))
    assert fit.choice.pull.to == TO_SOURCE
    torch.testing.assert_close(fit.layer[2], small[2], rtol=0, atol=1e-4)


def test_one_pair_like_the_prior_is_pulled_to_the_prior():
    torch.manual_seed(0)
    mean = torch.randn(FEATURES, 3) * 0.1
    fit = fit_output_layer([pixels(mean * 1.05)], prior(1e-3, mean))
    assert fit.choice.pull.to == TO_PRIOR and fit.choice.error < fit.choice.prior_error


def test_sums_of_the_first_features_are_those_of_these_alone():
    torch.manual_seed(0)
    pairs = [pixels(torch.randn(FEATURES, 3)) for _ in range(5)]
    found, alone = Folds.of(pairs).first(3), Folds.of([(features[:, :3], targets) for features, targets in pairs])
    for one, other in zip(found.total, alone.total, strict=True):
        torch.testing.assert_close(one, other)
    assert all(torch.equal(one[0], other[0]) for one, other in zip(found.rows, alone.rows, strict=True))


def test_the_prior_is_kept_where_it_is_right():
    torch.manual_seed(0)
    mean = torch.randn(FEATURES, 3) * 0.1
    fit = fit_output_layer([pixels(mean) for _ in range(4)], prior(1e-3, mean))
    torch.testing.assert_close(fit.layer, mean, rtol=0, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 1.0, math.nan, math.inf])
def test_constant_and_broken_features_give_finite_layers(value):
    features, targets = torch.full((200, FEATURES), value), torch.full((200, 3), 0.5)
    fit = fit_output_layer([(features, targets)] * 4, prior())
    assert fit.layer.isfinite().all()


def test_the_order_of_pairs_does_not_matter_beyond_rounding():
    torch.manual_seed(0)
    layer = torch.randn(FEATURES, 3) * 0.1
    rows = [pixels(layer, noise=0.02) for _ in range(3)]
    one, other = (fit_output_layer(order, prior()).layer for order in (rows, rows[::-1]))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_layers_that_do_nearly_as_well_are_averaged():
    assert shares_by_error([0.0, 0.0], 10) == [0.5, 0.5]
    shares = shares_by_error([0.0205, 0.02, 0.04, math.nan], 10)
    assert 0 < shares[0] < shares[1] and shares[2:] == [0.0, 0.0] and sum(shares) == pytest.approx(1)
    torch.manual_seed(0)
    rows, known = pixels(torch.randn(FEATURES, 3)), prior(1e-3, torch.ones(FEATURES, 3))
    gram, penalty = gram_of(*rows), known.penalty(1)
    pulls = [Pull(TO_PRIOR, 1.0), Pull(TO_SOURCE, 10.0)]
    one, two = (pulled(gram, known, penalty, pull) for pull in pulls)
    found = averaged(gram, Wanted(known, [(pull, 0.5) for pull in pulls]), 1)
    torch.testing.assert_close(found, (one + two) / 2)


@pytest.mark.parametrize("pairs", [1, 4])
@pytest.mark.parametrize("every", [1, 3])
def test_the_layer_is_the_mean_by_its_shares_of_what_is_better_than_the_prior(pairs, every):
    torch.manual_seed(0)
    layer, known = torch.randn(FEATURES, 3) * 0.1, prior(1e-3, torch.randn(FEATURES, 3) * 0.1)
    rows = [pixels(layer, noise=0.05) for _ in range(pairs)]
    fit = fit_output_layer(rows, known, every=every)
    shares = fit.choice.shares
    assert sum(share for _, share in shares) == pytest.approx(1)
    assert fit.choice.pull in [pull for pull, _ in shares] and all(pull.factor < math.inf for pull, _ in shares)
    # the first weights are those of the pixels that chose
    torch.testing.assert_close(fit.layer, mean_layer(rows, known, shares), rtol=0, atol=1e-6 if every == 1 else 1e-3)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_few_pixels_are_enough_not_to_fail(count):
    torch.manual_seed(0)
    fit = fit_output_layer([pixels(torch.randn(FEATURES, 3) * 0.1, count)], prior())
    assert fit.layer.isfinite().all() and fit.choice.error <= fit.choice.prior_error


def test_single_wild_pixels_count_little():
    torch.manual_seed(0)
    layer = torch.randn(FEATURES, 3) * 0.1
    features, targets = pixels(layer, 2000)
    targets[::50] = 1.0
    fit = fit_output_layer([(features, targets)] * 4, prior(1e-6))
    squares = torch.linalg.lstsq(features, targets).solution
    assert (fit.layer - layer).abs().mean() < 0.6 * (squares - layer).abs().mean()


@pytest.mark.parametrize("pairs", [1, 4])
def test_layers_of_the_same_pixels_are_reweighted_by_their_mean(pairs):
    torch.manual_seed(0)
    rows = [pixels(torch.randn(FEATURES, 3) * 0.1, noise=0.3) for _ in range(pairs)]
    long, width = prior(1e-3, torch.randn(FEATURES, 3) * 0.1), FEATURES // 2
    short, shares = Prior(*(part[:width] for part in long)), [(Pull(TO_PRIOR, 1.0), 1.0)]
    alone = [mean_layer([(x[:, : len(part.mean)], y) for x, y in rows], part, shares) for part in (long, short)]
    for part, share, expected in ((long, 1.0, alone[0]), (short, 0.0, alone[1])):
        found = mean_layers(rows, [Wanted(long, shares, share), Wanted(short, shares, 1 - share)])
        torch.testing.assert_close(found[0 if part is long else 1], expected)
    both = mean_layers(rows, [Wanted(long, shares, 0.5), Wanted(short, shares, 0.5)], rounds=1)
    first = mean_layers(rows, [Wanted(long, shares, 0.5), Wanted(short, shares, 0.5)], rounds=0)
    mean = 0.5 * first[0] + 0.5 * torch.cat([first[1], torch.zeros(FEATURES - width, 3)])
    weighted = added([gram_of(*part, weights_of(mean, part)) for part in rows])
    for layer, part in zip(both, (long, short), strict=True):
        torch.testing.assert_close(layer, averaged(weighted, Wanted(part, shares), pairs))
    assert mean_layers(rows, []) == []
