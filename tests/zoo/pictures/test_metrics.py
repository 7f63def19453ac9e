"""Metrics against torchmetrics and brute force; intervals against what they promise."""

import itertools

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure
from torchmetrics.image.kid import poly_mmd

from zoo.errors import WeightzooError
from zoo.pictures import metrics
from zoo.pictures.metrics import BEST_PSNR, FIGURES, figures, fine_detail, kid, kid_interval, l1, psnr, ssim


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    targets = torch.rand(4, 3, 24, 20, generator=generator)
    return (targets + 0.2 * torch.randn(targets.shape, generator=generator)).clamp(0, 1), targets


def features(count, seed, shift=0.0, width=6):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed)) + shift


def test_image_metrics_equal_torchmetrics(images):
    a, b = images
    one_by_one = list(zip(a.split(1), b.split(1), strict=True))
    expected = [peak_signal_noise_ratio(x, y, data_range=1.0) for x, y in one_by_one]
    torch.testing.assert_close(psnr(a, b), torch.stack(expected))
    expected = [structural_similarity_index_measure(x, y, data_range=1.0) for x, y in one_by_one]
    torch.testing.assert_close(ssim(a, b), torch.stack(expected))
    torch.testing.assert_close(l1(a, b), torch.stack([(x - y).abs().mean() for x, y in one_by_one]))


def test_equal_images_and_values_outside(images):
    a, b = images
    assert (psnr(b, b) == BEST_PSNR).all() and (l1(b, b) == 0).all()
    assert torch.equal(l1(torch.full_like(b, 7.0), b), l1(torch.ones_like(b), b))
    assert ssim(a[:1], b[:1]).shape == (1,)
    with pytest.raises(WeightzooError, match=r"cannot compare images \[4, 3, 24, 20\]"):
        l1(a, b[:2])


def test_all_figures_at_once_are_those_of_each(images, monkeypatch):
    a, b = images
    monkeypatch.setattr(metrics, "PIXELS_AT_ONCE", 24 * 20 * 3)  # three of the four, then the last
    expected = (l1(a, b), psnr(a, b), ssim(a, b), *fine_detail(a, b))
    found = figures(a, b)
    assert tuple(found) == FIGURES
    for own, wanted in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(own, wanted)
    with pytest.raises(WeightzooError, match="cannot compare"):
        figures(a, b[:2])


def test_fine_detail_sees_what_l1_does_not(images):
    _, targets = images
    flat = targets.mean((2, 3), keepdim=True).expand_as(targets)
    energy, correlation = fine_detail(targets, targets)
    torch.testing.assert_close(torch.stack([energy, correlation]), torch.ones(2, 4))
    assert fine_detail(flat, targets)[0].max() < 1e-3
    torch.testing.assert_close(fine_detail(flat + (targets - flat) / 2, targets)[0], torch.full((4,), 0.5))


def test_kid_equals_torchmetrics():
    a, b = features(20, 0), features(20, 1, 0.5)
    assert kid(a, b) == pytest.approx(poly_mmd(a.double(), b.double()).item(), rel=1e-9)


def test_kid_equals_brute_force_for_unequal_sets():
    a, b = features(4, 0).double(), features(6, 1, 0.5).double()

    def kernel(x, y):
        return ((x @ y).item() / 6 + 1) ** 3

    inside_a = np.mean([kernel(x, y) for x, y in itertools.permutations(a, 2)])
    inside_b = np.mean([kernel(x, y) for x, y in itertools.permutations(b, 2)])
    across = np.mean([kernel(x, y) for x in a for y in b])
    assert kid(a, b) == pytest.approx(inside_a + inside_b - 2 * across, rel=1e-9)
    with pytest.raises(WeightzooError, match="at least 2 images"):
        kid(a[:1], b)


def test_kid_is_unbiased():
    same = [kid(features(16, 2 * seed), features(16, 2 * seed + 1)) for seed in range(400)]
    assert abs(np.mean(same)) < 3 * np.std(same) / 20
    assert kid(features(64, 0), features(64, 1, 1.0)) > 10 * np.std(same)


@pytest.mark.parametrize("paired", [False, True])
def test_kid_interval_holds_the_estimate_and_grows_with_the_difference(paired):
    targets = features(8 * 10, 0).reshape(8, 10, 6)
    near, far = targets + 0.1, targets + 1.0
    near_interval, far_interval = (kid_interval(images, targets, paired) for images in (near, far))
    for interval, method in ((near_interval, near), (far_interval, far)):
        assert interval[0] < kid(method.reshape(80, 6), targets.reshape(80, 6), paired) < interval[1]
    assert near_interval[1] < far_interval[0]
    assert kid_interval(near, targets, paired) == near_interval


def test_paired_kid_of_a_perfect_method_is_zero():
    targets = features(30, 0)
    assert kid(targets, targets, paired=True) == pytest.approx(0, abs=1e-9)
    assert kid(targets, targets) < -0.1
    with pytest.raises(WeightzooError, match="cannot be paired"):
        kid(targets, targets[:20], paired=True)
