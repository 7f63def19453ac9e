"""Random edits: a seed is an edit, whatever it is applied to."""

import numpy as np
import pytest
import torch

from pipeline.teachers.random_edits import DRAWS, random_edit


@pytest.fixture
def photos():
    torch.manual_seed(0)
    return torch.rand(2, 3, 40, 56)


@pytest.mark.parametrize("name", sorted(DRAWS))
def test_every_operation_keeps_shape_and_is_finite(name, photos):
    for seed in range(6):
        edited = DRAWS[name](np.random.default_rng(seed))(photos)
        assert edited.shape == photos.shape and edited.isfinite().all()


def test_a_seed_is_an_edit(photos):
    for seed in range(30):
        edited = random_edit(seed)(photos)
        assert torch.equal(edited, random_edit(seed)(photos))
        assert edited.min() >= -1e-6 and edited.max() <= 1 + 1e-6


def test_edits_differ_and_most_of_them_show(photos):
    edited = [random_edit(seed)(photos) for seed in range(40)]
    assert sum(float((image - photos).abs().mean()) > 0.02 for image in edited) > 30
    assert len({image.sum().item() for image in edited}) == 40


@pytest.mark.parametrize("even", [0.0, 0.5, 1.0])
def test_even_pictures_are_edited_too(even):
    photos = torch.full((1, 3, 24, 24), even)
    for seed in range(40):
        assert random_edit(seed)(photos).isfinite().all()
