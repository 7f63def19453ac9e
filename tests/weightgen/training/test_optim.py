"""Muon equals torch's own, brings matrices near orthogonal ones, and shares a network's parameters with AdamW."""

import pytest
import torch
from torch import nn

from weightgen.denoisers import NETWORKS
from weightgen.training.checkpoint import load_training, save_training
from weightgen.training.optim import (
    Muon,
    linear_weights,
    make_optimizers,
    orthogonal,
    update,
)
from zoo.errors import WeightzooError


def network() -> nn.Module:
    torch.manual_seed(0)
    return NETWORKS["transformer"](
        num_blocks=3, block_size=16, text_width=8, width=10, num_layers=1, num_heads=2, text_layers=1
    )


@pytest.mark.parametrize("shape", [(12, 30), (30, 12), (16, 16)])
def test_singular_values_come_near_one(shape):
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    matrices *= torch.tensor([1e-4, 1, 1e4])[:, None, None]
    made = orthogonal(matrices)
    values = torch.linalg.svdvals(made)
    assert values.min() > 0.3 and values.max() < 1.3
    left, _, right = torch.linalg.svd(matrices[1], full_matrices=False)
    nearest = left @ right
    assert torch.nn.functional.cosine_similarity(made[1].flatten(), nearest.flatten(), dim=0) > 0.95
    torch.testing.assert_close(made[1], orthogonal(matrices[1:2])[0])  # blind to the others


def test_a_matrix_without_a_gradient_does_not_become_nan():
    assert not orthogonal(torch.zeros(2, 4, 5)).any()


def test_equals_the_one_of_torch():
    """torch's iterations are bfloat16's: two or three digits."""
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.randn(shape)) for shape in ((12, 20), (20, 12), (12, 20))]
    theirs = [nn.Parameter(p.detach().clone()) for p in ours]
    before = [p.detach().clone() for p in ours]
    optimizers = (
        Muon(ours, lr=0.02, weight_decay=0.1),
        torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
    )
    for _ in range(3):
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn_like(mine)
            other.grad = mine.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for mine, other, start in zip(ours, theirs, before, strict=True):
        assert (mine - other).norm() < 0.02 * (mine - start).norm()


def test_every_parameter_belongs_to_one_optimiser():
    made = network()
    optimizers = make_optimizers(made, "muon", 1e-3, 0.05)
    groups = [group for optimizer in optimizers.values() for group in optimizer.param_groups]
    owned = [id(p) for group in groups for p in group["params"]]
    assert sorted(owned) == sorted(map(id, made.parameters()))
    assert [group["weight_decay"] for group in groups] == [0.05, 0.0, 0.05]
    names = {name for name, p in made.named_parameters() if any(p is w for w in linear_weights(made))}
    assert "layers.0.mlp.0.weight" in names and "reader.layers.0.self_attn.in_proj_weight" in names
    assert not names & {"matrices", "reader.queries", "block_index.learned", "output_bias"}
    assert list(make_optimizers(made, "adamw", 1e-3, 0.05)) == ["adamw"]


def test_the_learning_rate_is_that_of_all():
    made = network()
    optimizers = make_optimizers(made, "muon", 1e-3, 0.0)
    before = {name: p.detach().clone() for name, p in made.named_parameters()}
    for p in made.parameters():
        p.grad = torch.ones_like(p)
    update(optimizers.values(), 0.0)
    assert all(torch.equal(p, before[name]) and p.grad is None for name, p in made.named_parameters())


def test_a_restored_state_goes_on_exactly(tmp_path):
    def trained(steps: range, restore: bool) -> nn.Module:
        made = network()
        optimizers = make_optimizers(made, "muon", 1e-2, 0.05)
        if restore:
            assert load_training(tmp_path, {"net": made}, optimizers)
        for step in steps:
            torch.manual_seed(step)
            for p in made.parameters():
                p.grad = torch.randn_like(p)
            update(optimizers.values(), 1e-2)
            if step == 1 and not restore:
                save_training(tmp_path, 2, {"net": made}, optimizers, {})
        return made

    whole, resumed = trained(range(4), False), trained(range(2, 4), True)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_checkpoint_of_other_optimisers_is_refused(tmp_path):
    made = network()
    optimizers = make_optimizers(made, "adamw", 1e-3, 0.05)
    for p in made.parameters():
        p.grad = torch.ones_like(p)
    update(optimizers.values(), 1e-3)
    save_training(tmp_path, 1, {"net": made}, optimizers, {})
    with pytest.raises(WeightzooError, match="optimiser muon.*another folder"):
        load_training(tmp_path, {"net": made}, make_optimizers(made, "muon", 1e-3, 0.05))
