"""Pseudo-labels: exact on what they were fitted on, right about edits in between, and never mixed up with records."""

from dataclasses import replace

import pytest
import torch

from tests.weightgen.tiny_world import make_zoo
from weightgen.training.data import load_zoo
from weightgen.training.pseudo_labels import edit_descriptors, fit, held_out_r2, label
from zoo.errors import WeightzooError


def edits(strengths: torch.Tensor) -> torch.Tensor:
    """Descriptors of darkening two photographs by each of the strengths."""
    sources = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return edit_descriptors(sources, sources * (1 - strengths)[:, None, None, None, None])


def weights(strengths: torch.Tensor) -> torch.Tensor:
    """Blocks that depend on the strength, [C, 2, 4]."""
    return (strengths[:, None] * torch.arange(8.0) + strengths[:, None].square()).view(-1, 2, 4)


def test_descriptors_are_changes_at_a_small_size():
    sources, targets = torch.rand(2, 3, 64, 64), torch.rand(5, 2, 3, 64, 64)
    descriptors = edit_descriptors(sources, targets)
    assert descriptors.shape == (5, 2 * 3 * 16 * 16)
    assert torch.equal(edit_descriptors(sources, sources[None]), torch.zeros(1, 2 * 3 * 16 * 16))
    expected = (targets - sources)[1, 0, 2, :4, :4].mean()
    assert descriptors.view(5, 2, 3, 16, 16)[1, 0, 2, 0, 0] == pytest.approx(float(expected), abs=1e-6)


def test_labels_follow_the_edit():
    strengths = torch.linspace(0.1, 0.9, 17)
    predict = fit(edits(strengths), weights(strengths))
    between = torch.tensor([0.325, 0.625])
    error = (predict(edits(between)) - weights(between)).abs().max()
    assert error < 0.15 * weights(strengths).std()
    assert held_out_r2(edits(strengths), weights(strengths)) > 0.8
    shuffled = weights(strengths)[torch.randperm(17, generator=torch.Generator().manual_seed(0))]
    assert held_out_r2(edits(strengths), shuffled) < 0.3


def test_labelled_concepts_come_after_the_records(tmp_path):
    zoo = load_zoo(make_zoo(tmp_path / "zoo"))
    descriptors = torch.rand(len(zoo), 6, generator=torch.Generator().manual_seed(1))
    names, prompts = ("new", zoo.concept_ids[0]), (("a new edit", "another wording"), ("not used",))
    both = label(zoo, descriptors, names, prompts, descriptors[:2])
    assert both.concept_ids == (*zoo.concept_ids, "new")
    assert torch.equal(both.blocks[: len(zoo)], zoo.blocks)
    assert both.prompts[-1] == ("a new edit", "another wording") and both.name.endswith("+pseudo-labels")
    assert both.has_pseudo_labels and not zoo.has_pseudo_labels
    assert both.fingerprint != zoo.fingerprint
    again = label(zoo, descriptors, names, prompts, descriptors[:2] * (1 + 1e-7))
    assert again.fingerprint == both.fingerprint  # a resumed training may have other last bits
    nearer = (both.blocks[-1] - zoo.blocks).square().flatten(1).sum(1)
    assert int(nearer.argmin()) == 0  # the same edit as the first record's


def test_rows_must_belong_together(tmp_path):
    zoo = load_zoo(make_zoo(tmp_path / "zoo"))
    with pytest.raises(WeightzooError, match="1 edit for"):
        label(zoo, torch.zeros(1, 3), ("a",), (("a",),), torch.zeros(1, 3))
    with pytest.raises(WeightzooError, match="at least two"):
        fit(torch.zeros(1, 3), replace(zoo, blocks=zoo.blocks[:1]).blocks)
