"""How close images are to their targets: L1, PSNR, SSIM and fine detail per image; KID per set, with its interval.

All images are `[N, 3, H, W]` in [0, 1]. KID is the unbiased polynomial-kernel distance of feature sets
(x 1): it says nothing without the name of its feature network (`zoo.pictures.features`), and may be below zero.

    l1(images, targets).mean(), kid(network(images), network(targets))
    figures(images, targets)               # {"l1": [N], "psnr": [N], ...}: what every table says of pictures
    low, high = kid_interval(features, target_features)
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from zoo.errors import WeightzooError
from zoo.words import plural

LEVEL = 0.95  # of intervals
BEST_PSNR = 100.0  # dB, for images that are equal: JSON has no infinity
FIGURES = ("l1", "psnr", "ssim", "fine_energy", "fine_correlation")
PIXELS_AT_ONCE = 1 << 19  # that are compared at a time: SSIM needs some 300 bytes of each


def figures(images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Return what tables say of each image, `[N]` by the names in :data:`FIGURES`.

    A few images are compared at a time, so memory is bounded whatever their number and size.
    """
    _check(images, targets)
    count = max(1, PIXELS_AT_ONCE // max(1, images.shape[-2] * images.shape[-1]))
    parts = []
    for own, wanted in zip(images.split(count), targets.split(count), strict=True):
        parts.append((l1(own, wanted), psnr(own, wanted), ssim(own, wanted), *fine_detail(own, wanted)))
    return {name: torch.cat(values) for name, values in zip(FIGURES, zip(*parts, strict=True), strict=True)}


def l1(images: Tensor, targets: Tensor) -> Tensor:
    """Return mean absolute difference of each image, `[N]`."""
    return (_clamped(images, targets) - targets).abs().mean((1, 2, 3))


def psnr(images: Tensor, targets: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio of each image in dB, `[N]`; at most :data:`BEST_PSNR`."""
    error = (_clamped(images, targets) - targets).square().mean((1, 2, 3))
    return -10 * error.clamp(min=10 ** (-BEST_PSNR / 10)).log10()


def fine_detail(images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return how the fine band of each image compares with its target's: luminance minus its 5x5 mean.

    L1 hardly sees it: a drawing without lines is a grey haze of a small error.

    Returns:
        energy [N], the root of the mean square over the target's, and correlation [N]; both are 1 for equal images.
    """
    own, wanted = (fine_band(x) for x in (_clamped(images, targets), targets))
    squares, wanted_squares = (x.square().sum((1, 2, 3)).clamp_min(1e-9) for x in (own, wanted))
    correlation = (own * wanted).sum((1, 2, 3)) / (squares * wanted_squares).sqrt()
    return (squares / wanted_squares).sqrt(), correlation


def fine_band(images: Tensor) -> Tensor:
    """Return the luminance of images minus its 5x5 mean, `[N, 1, H, W]`."""
    grey = images.mean(1, keepdim=True)
    return grey - avg_pool2d(pad(grey, (2, 2, 2, 2), mode="replicate"), 5, 1)


def decisive(value: float) -> float:
    """Return a measured value as it may decide something: rounded to 4 decimals.

    Processors differ in the last bits of a sum. Two values that are equal after rounding count as equal, and what comes
    first in a fixed order wins.
    """
    return round(value, 4)


def ssim(images: Tensor, targets: Tensor) -> Tensor:
    """Return the structural similarity of each image (torchmetrics, 11 x 11 Gaussian window), `[N]`."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    images = _clamped(images, targets)
    values = structural_similarity_index_measure(images, targets, data_range=1.0, reduction="none")
    assert isinstance(values, Tensor)
    return values.reshape(len(images))


def _clamped(images: Tensor, targets: Tensor) -> Tensor:
    _check(images, targets)
    return images.clamp(0, 1)


def _check(images: Tensor, targets: Tensor) -> None:
    if images.shape != targets.shape or images.ndim != 4:
        raise WeightzooError(
            f"cannot compare images {list(images.shape)} with targets {list(targets.shape)}; both must be [N, 3, H, W]"
        )


def polynomial_kernel(features: Tensor, others: Tensor) -> Tensor:
    """Return the kernel of KID, `(x . y / D + 1) ** 3`, in double precision: `[N, M]`."""
    return (features.double() @ others.double().T / features.shape[1] + 1) ** 3


def kid(features: Tensor, others: Tensor, paired: bool = False) -> float:
    """Kernel distance of two feature sets `[N, D]` and `[M, D]`: the unbiased estimate, x 1.

    Args:
        features: of a method's images.
        others: of the targets.
        paired: leave out each image against its own target (row by row). The usual estimate, that of
            torchmetrics, takes the two sets as independent: for outputs and targets of the same photographs
            it is too low, and negative for a perfect method; the paired one is 0 there.

    Raises:
        WeightzooError: a set has fewer than two members, or paired sets differ in size.
    """
    if min(len(features), len(others)) < 2:
        raise WeightzooError("KID needs at least 2 images in each set; give more images")
    if paired and len(features) != len(others):
        raise WeightzooError(f"{plural(len(features), 'image')} cannot be paired with {len(others)}; give equal sets")
    across = polynomial_kernel(features, others)
    mean_across = _off_diagonal_mean(across) if paired else across.mean()
    inside = _off_diagonal_mean(polynomial_kernel(features, features))
    return float(inside + _off_diagonal_mean(polynomial_kernel(others, others)) - 2 * mean_across)


def kid_interval(features: Tensor, others: Tensor, paired: bool = False, resamples: int = 1000) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of :func:`kid` over concepts and photographs.

    The same concepts and photographs are drawn for every method.

    Args:
        features: `[concepts, photos, D]` of a method's images.
        others: `[concepts, photos, D]` of the targets.
        paired: as in :func:`kid`.
        resamples: number of bootstrap samples.
    """
    count, photos, width = features.shape
    features, others = features.reshape(-1, width), others.reshape(-1, width)
    weights = _resampling_weights(count, photos, resamples).to(features.device)
    values = _off_diagonal_mean(polynomial_kernel(features, features), weights)
    values = values + _off_diagonal_mean(polynomial_kernel(others, others), weights)
    across = _off_diagonal_mean(polynomial_kernel(features, others), weights, own=not paired)
    values = values - 2 * across
    low, high = np.quantile(values[values.isfinite()].cpu().numpy(), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _off_diagonal_mean(kernel: Tensor, weights: Tensor | None = None, own: bool = False) -> Tensor:
    """Weighted means `[R]` of a kernel `[N, N]` over pairs of different images, one per row of weights.

    An image drawn twice is never paired with itself. `own` adds the diagonal, once per drawn image.
    """
    if weights is None:
        weights = kernel.new_ones(1, len(kernel))
    diagonal = kernel.diagonal()
    total = ((weights @ kernel) * weights).sum(1) - weights.square() @ diagonal
    count = weights.sum(1).square() - weights.square().sum(1)
    if own:
        total, count = total + weights @ diagonal, count + weights.sum(1)
    return total / count


def _resampling_weights(concepts: int, photos: int, resamples: int) -> Tensor:
    rng = np.random.default_rng(0)
    by_concept = rng.multinomial(concepts, np.full(concepts, 1 / concepts), resamples)
    by_photo = rng.multinomial(photos, np.full(photos, 1 / photos), resamples)
    weights = by_concept[:, :, None] * by_photo[:, None, :]
    return torch.from_numpy(weights.reshape(resamples, -1).astype(np.float64))
