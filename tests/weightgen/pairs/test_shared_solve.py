"""Layers solved for many edits at once are those that each would have alone."""

import torch

from weightgen.pairs.shared_solve import SharedSolve
from zoo.gram import gram_of, solve

N, F, H, E = 200, 12, 5, 3


def drawn():
    torch.manual_seed(0)
    features, hidden, targets = torch.randn(N, F), torch.randn(E, N, H).relu(), torch.randn(E, N, 3)
    centre, bank, own = torch.randn(E, F + H, 3), torch.rand(F) + 0.01, torch.rand(E, H) + 0.01
    return features, hidden, targets, centre, bank, own


def test_each_edit_has_the_layer_that_it_has_alone():
    features, hidden, targets, centre, bank, own = drawn()
    layers = SharedSolve(features, bank).with_hidden(hidden, targets, centre, own)
    for k in range(E):
        columns = torch.cat([features, hidden[k]], 1)
        alone = centre[k] + solve(gram_of(columns, targets[k]), torch.cat([bank, own[k]]), centre[k]).float()
        torch.testing.assert_close(layers[k], alone, atol=1e-5, rtol=1e-4)


def test_the_bank_alone():
    features, _, targets, centre, bank, _ = drawn()
    layers = SharedSolve(features, bank).bank(targets, centre[0, :F])
    for k in range(E):
        alone = centre[0, :F] + solve(gram_of(features, targets[k]), bank, centre[0, :F]).float()
        torch.testing.assert_close(layers[k], alone, atol=1e-5, rtol=1e-4)


def test_gradients_flow_through_the_solve():
    features, hidden, targets, centre, bank, own = (part.double().requires_grad_() for part in drawn())

    def layers(*parts):
        return SharedSolve(features[:20], parts[0]).with_hidden(parts[1], targets[:, :20], parts[2], parts[3]).sum()

    assert torch.autograd.gradcheck(layers, (bank, hidden[:, :20], centre, own), fast_mode=True)


def test_fixed_features_change_neither_the_layers_nor_the_gradients_of_the_others():
    def layers(features, fixed):
        _, hidden, targets, centre, bank, own = drawn()
        return SharedSolve(features, bank, fixed).with_hidden(hidden, targets, centre, own)

    one, other = (drawn()[0].requires_grad_() for _ in range(2))
    found, expected = layers(one, 8), layers(other, 0)
    torch.testing.assert_close(found, expected)
    for each in (found, expected):
        each.square().sum().backward()
    # what is fixed still has a part in the solve's right side
    torch.testing.assert_close(one.grad[:, 8:], other.grad[:, 8:])


def test_equal_columns_and_small_penalties_give_finite_layers():
    features, hidden, targets, centre, bank, own = drawn()
    features[:, 1] = features[:, 0]
    hidden[:, :, 1] = hidden[:, :, 0] = 1
    features[:, 2] = 1
    layers = SharedSolve(features, bank * 0 + 1e-7).with_hidden(hidden, targets, centre, own * 0 + 1e-4)
    assert layers.isfinite().all()
