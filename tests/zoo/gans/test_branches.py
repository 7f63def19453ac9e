"""Branches: two ways of their sums, the same pixels."""

import pytest
import torch

from zoo.gans.branches import READS, Branch
from zoo.gans.feature_bank import CHANNELS


@pytest.mark.parametrize("name", READS)
@pytest.mark.parametrize("rank", [0, 2])
def test_a_first_layer_over_all_maps_is_that_over_the_maps_that_are_read(name, rank):
    torch.manual_seed(0)
    branch, maps = Branch(name, 8, rank), torch.randn(50, CHANNELS)
    if rank:
        torch.nn.init.normal_(branch.first.lora_B)
    found, expected = branch(maps), branch.relus(branch.inputs(maps))
    assert found.max() > 0
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    unread = [k for k in range(CHANNELS) if k not in branch.columns]
    assert not branch.over_all_maps()[:, unread].any()
