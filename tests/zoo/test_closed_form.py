"""The solved output layer: equal to least squares, never wild, never worse than the prior on what is left out."""

import math

import pytest
import torch

from zoo import closed_form
from zoo.closed_form import Prior, Pull, averaged, fit_output_layer, gram_of, mean_layer, pulled, shares_of, solve

FEATURES = 7


def prior(penalty: float = 1e-3, mean: torch.Tensor | None = None) -> Prior:
    mean = torch.zeros(FEATURES, 3) if mean is None else mean
    return Prior(mean, torch.full((FEATURES,), math.log(penalty)), torch.zeros(FEATURES))


def pixels(layer: torch.Tensor, count: int = 400, noise: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    features = torch.randn(count, FEATURES)
    return features, (features @ layer + noise * torch.randn(count, 3)).clamp(-1, 1)


def test_without_a_penalty_it_is_least_squares():
    torch.manual_seed(0)
    features, targets, mean = torch.randn(50, FEATURES), torch.randn(50, 3), torch.randn(FEATURES, 3)
    layer = mean + solve(gram_of(features, targets, mean), torch.full((FEATURES,), 1e-14))
    wanted = torch.linalg.lstsq(features.double(), targets.double()).solution
    torch.testing.assert_close(layer, wanted, rtol=1e-6, atol=1e-6)


def test_with_penalties_it_minimises_what_it_says():
    torch.manual_seed(0)
    features, targets, mean = torch.randn(50, FEATURES), torch.randn(50, 3), torch.randn(FEATURES, 3)
    weights, penalty = torch.rand(50, 1), torch.rand(FEATURES)
    deviation = solve(gram_of(features, targets, mean, weights), penalty).requires_grad_()
    errors = features.double() @ (mean + deviation) - targets
    loss = (weights * errors.square()).sum() / weights.sum() + (penalty[:, None] * deviation.square()).sum()
    loss.backward()
    torch.testing.assert_close(deviation.grad, torch.zeros_like(deviation), rtol=0, atol=1e-7)


def test_sums_do_not_hang_on_how_pixels_are_taken(monkeypatch):
    torch.manual_seed(0)
    rows = pixels(torch.randn(FEATURES, 3) * 0.2)
    whole = gram_of(*rows, torch.zeros(FEATURES, 3))
    monkeypatch.setattr(closed_form, "ROWS_AT_ONCE", 33)
    for one, other in zip(whole, gram_of(*rows, torch.zeros(FEATURES, 3)), strict=True):
        torch.testing.assert_close(one, other)


def test_sums_are_those_of_the_products():
    torch.manual_seed(0)
    (features, targets), mean, weights = pixels(torch.randn(FEATURES, 3)), torch.randn(FEATURES, 3), torch.rand(400, 1)
    found = gram_of(features, targets, mean, weights)
    exact, residual = features.double(), targets.double() - features.double() @ mean.double()
    torch.testing.assert_close(found.features, exact.T @ (weights.double() * exact), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.residual, exact.T @ (weights.double() * residual), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("pairs", [1, 2, 4, 9])
def test_a_linear_edit_is_found(pairs):
    torch.manual_seed(pairs)
    layer = torch.randn(FEATURES, 3) * 0.1
    fit = fit_output_layer([pixels(layer) for _ in range(pairs)], prior(1e-6))
    torch.testing.assert_close(fit.layer, layer, rtol=0, atol=2e-3)
    assert fit.error < 0.1 * fit.prior_error


@pytest.mark.parametrize("pairs", [1, 5])
def test_the_prior_is_kept_where_pairs_contradict_each_other(pairs):
    """Targets that have nothing to do with the sources: whatever is learned is worse on what is left out."""
    torch.manual_seed(0)
    mean = torch.randn(FEATURES, 3) * 0.1
    noise = [(torch.randn(60, FEATURES), torch.rand(60, 3).sub(0.5).sign()) for _ in range(pairs)]
    fit = fit_output_layer(noise, prior(1e-9, mean))
    assert fit.error <= fit.prior_error
    if math.isinf(fit.pull.factor):
        assert torch.equal(fit.layer, fit.pull.centre)


def test_a_small_change_of_one_pair_is_pulled_to_the_source():
    """Features that the pair does not show stay what they are in the source."""
    torch.manual_seed(0)
    small = torch.eye(FEATURES, 3)
    small[0, 0] = 0.9
    features, _ = pixels(small)
    features[:, 2] = 0.0
    fit = fit_output_layer([(features, features @ small)], prior(1e-5, torch.randn(FEATURES, 3) * 0.3))
    assert torch.equal(fit.pull.centre, torch.eye(FEATURES, 3))
    torch.testing.assert_close(fit.layer[2], small[2], rtol=0, atol=1e-4)


def test_one_pair_like_the_prior_is_pulled_to_the_prior():
    torch.manual_seed(0)
    mean = torch.randn(FEATURES, 3) * 0.1
    fit = fit_output_layer([pixels(mean * 1.05)], prior(1e-3, mean))
    assert torch.equal(fit.pull.centre, mean) and fit.error < fit.prior_error


def test_sums_of_one_layer_are_those_of_another():
    torch.manual_seed(0)
    rows, one, two = pixels(torch.randn(FEATURES, 3)), torch.randn(FEATURES, 3), torch.randn(FEATURES, 3)
    moved, direct = gram_of(*rows, one).beside(two.double() - one.double()), gram_of(*rows, two)
    torch.testing.assert_close(moved.residual, direct.residual)


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
    mean, other = torch.zeros(FEATURES, 3), torch.ones(FEATURES, 3)
    pulls = [Pull(mean, 0.1), Pull(mean, 1.0), Pull(mean, 3.0), Pull(other, 1.0)]
    shares = shares_of(list(zip(pulls, [0.0205, 0.02, 0.04, 0.03], strict=True)))
    assert [pull.factor for pull, _ in shares] == [0.1, 1.0]
    assert sum(share for _, share in shares) == pytest.approx(1) and shares[0][1] < shares[1][1]
    exact = shares_of([(pulls[0], 0.0), (pulls[3], 0.0)])
    assert [share for _, share in exact] == [0.5, 0.5]
    rows, penalty = pixels(torch.randn(FEATURES, 3)), torch.full((FEATURES,), 1e-3)
    gram = gram_of(*rows, mean)
    one, two = (pulled(gram, mean, penalty, pull) for pull, _ in exact)
    torch.testing.assert_close(averaged(gram, mean, penalty, exact), (one + two) / 2)
    centred = gram_of(*rows, other)  # the same layer from sums that were made with its own centre
    torch.testing.assert_close(two, pulled(centred, other, penalty, pulls[3]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("pairs", [1, 4])
def test_the_layer_is_the_mean_by_its_shares_of_what_is_better_than_the_prior(pairs):
    torch.manual_seed(0)
    layer, known = torch.randn(FEATURES, 3) * 0.1, prior(1e-3, torch.randn(FEATURES, 3) * 0.1)
    rows = [pixels(layer, noise=0.05) for _ in range(pairs)]
    fit = fit_output_layer(rows, known)
    assert sum(share for _, share in fit.shares) == pytest.approx(1)
    assert fit.pull in [pull for pull, _ in fit.shares] and all(pull.factor < math.inf for pull, _ in fit.shares)
    torch.testing.assert_close(fit.layer, mean_layer(rows, known, fit.shares))


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_few_pixels_are_enough_not_to_fail(count):
    torch.manual_seed(0)
    fit = fit_output_layer([pixels(torch.randn(FEATURES, 3) * 0.1, count)], prior())
    assert fit.layer.isfinite().all() and fit.error <= fit.prior_error


def test_single_wild_pixels_count_little():
    torch.manual_seed(0)
    layer = torch.randn(FEATURES, 3) * 0.1
    features, targets = pixels(layer, 2000)
    targets[::50] = 1.0
    fit = fit_output_layer([(features, targets)] * 4, prior(1e-6))
    squares = torch.linalg.lstsq(features, targets).solution
    assert (fit.layer - layer).abs().mean() < 0.6 * (squares - layer).abs().mean()
