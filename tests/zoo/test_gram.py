"""Ridge regression from sums: equal to least squares, however the pixels are taken."""

import pytest
import torch

from zoo import gram
from zoo.gram import gram_of, solve

FEATURES = 7


def test_without_a_penalty_it_is_least_squares():
    torch.manual_seed(0)
    features, targets, mean = torch.randn(50, FEATURES), torch.randn(50, 3), torch.randn(FEATURES, 3)
    layer = mean + solve(gram_of(features, targets), torch.full((FEATURES,), 1e-14), mean)
    wanted = torch.linalg.lstsq(features.double(), targets.double()).solution
    torch.testing.assert_close(layer, wanted, rtol=1e-6, atol=1e-6)


def test_with_penalties_it_minimises_what_it_says():
    torch.manual_seed(0)
    features, targets, mean = torch.randn(50, FEATURES), torch.randn(50, 3), torch.randn(FEATURES, 3)
    weights, penalty = torch.rand(50, 1), torch.rand(FEATURES)
    deviation = solve(gram_of(features, targets, weights), penalty, mean).requires_grad_()
    errors = features.double() @ (mean + deviation) - targets
    loss = (weights * errors.square()).sum() / weights.sum() + (penalty[:, None] * deviation.square()).sum()
    loss.backward()
    torch.testing.assert_close(deviation.grad, torch.zeros_like(deviation), rtol=0, atol=1e-7)


def test_sums_do_not_hang_on_how_pixels_are_taken(monkeypatch):
    torch.manual_seed(0)
    rows = torch.randn(400, FEATURES), torch.rand(400, 3)
    whole = gram_of(*rows)
    monkeypatch.setattr(gram, "ROWS_AT_ONCE", 33)
    for one, other in zip(whole, gram_of(*rows), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("width", [1, 3, FEATURES])  # of which strips are empty, or uneven
def test_sums_are_those_of_the_products(width):
    torch.manual_seed(0)
    features, targets, weights = torch.randn(400, width), torch.rand(400, 3), torch.rand(400, 1)
    found = gram_of(features, targets, weights)
    exact = features.double()
    torch.testing.assert_close(found.features, exact.T @ (weights.double() * exact), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.targets, exact.T @ (weights.double() * targets.double()), rtol=1e-12, atol=1e-12)
    assert torch.equal(gram_of(features, targets).features, gram_of(features, targets, torch.ones(400, 1)).features)
