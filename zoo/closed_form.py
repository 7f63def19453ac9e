"""The output layer of a generator, solved on pairs: ridge regression towards a prior, without a training step.

    layer = solve(gram_of(features, targets, prior.mean), prior.penalty(pairs))     # deviation from the mean
    fit = fit_output_layer([(features, targets), ...], prior)    # of each pair: [pixels, F] and [pixels, 3]
    fit.layer              # [F, 3]; never worse than the prior on pictures that are left out

With features X, targets Y and a prior of mean M and penalties p, the layer M + D minimises
|W (X (M + D) - Y)|^2 / n + sum_f p_f |D_f|^2. The weights W come from rounds of reweighting, so that large errors count
as they do in L1. Penalties depend on the number of pairs, p_f = exp(a_f + b_f log(pairs)), and are learned over many
edits (`pipeline.fleets.train_prior`; Bertinetto et al. 2019, "Meta-learning with differentiable closed-form solvers").

All sums are of float64, so the order of the rows changes the layer by less than a float32 holds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

FEWEST_PICTURES = 4  # of which whole ones can be left out; of fewer, parts are
FACTORS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # times the learned penalties, tried on what is left out
# of few pairs only parts can be left out, which say little about other pictures. So a pull to the source is tried, for
# edits that change little, and it has all of the layer where the learned prior is as good on what is left out
SOURCE_FACTOR, DOUBT = 100.0, 1.35
# by which a layer's share of the mean falls with its error: the mean of layers that are nearly as good as the best one
# is up to 3 % better than this one with four pairs or more, and 7 to 8 % with one or two (docs/LOG.md)
POWER, LEAST_SHARE = 10, 0.05
ROUNDS, ROUNDS_OF_FEW = 1, 2  # of reweighting towards L1; the second one is worth 2 % with one pair, with four nothing
SOFTENING = 0.05  # errors below count as in least squares; targets are in [-1, 1]
ROWS_AT_ONCE = 1 << 11  # as float64 they stay in the processor's cache
ERROR_DIGITS = 6  # the last bits of a sum decide nothing

Rows = tuple[Tensor, Tensor]  # features [n, F] and targets [n, 3] in [-1, 1]


class Prior(NamedTuple):
    """What output layers are pulled to, and how hard.

    Attributes:
        mean: [F, 3].
        log_penalty: [F], of one pair.
        slope: [F], by which it grows with the logarithm of the number of pairs.
    """

    mean: Tensor
    log_penalty: Tensor
    slope: Tensor

    @property
    def source(self) -> Tensor:
        """Return the layer that copies the source, [F, 3]: the first three features are the colour."""
        return torch.eye(*self.mean.shape, device=self.mean.device)

    def penalty(self, pairs: int) -> Tensor:
        """Return the penalties for so many pairs, [F]."""
        return (self.log_penalty + self.slope * math.log(pairs)).exp()


class Pull(NamedTuple):
    """What a solve is pulled to.

    Attributes:
        centre: a layer, [F, 3].
        factor: what the learned penalties are multiplied with; infinite: the centre is the layer.
        doubt: what the error on what is left out is multiplied with where pulls are compared.
    """

    centre: Tensor
    factor: float
    doubt: float = 1.0


Shares = Sequence[tuple[Pull, float]]  # pulls, and what the layers of each have of their mean; of sum 1


class Gram(NamedTuple):
    """Sums over pixels, float64: X'WX [F, F], X'WR [F, 3] for the residual R of the prior's mean, and the weights'."""

    features: Tensor
    residual: Tensor
    weight: Tensor

    def plus(self, other: Gram, sign: int = 1) -> Gram:
        """Return the sums over both sets of pixels, or over those of this one that are not in the other."""
        return Gram(*(torch.add(mine, theirs, alpha=sign) for mine, theirs in zip(self, other, strict=True)))

    def beside(self, step: Tensor) -> Gram:
        """Return the same with the residual of a layer that is `step` [F, 3] away from the one it was made with."""
        return self._replace(residual=self.residual - self.features @ step.double())


class Fit(NamedTuple):
    """A solved output layer.

    Attributes:
        layer: [F, 3].
        pull: the best one on what was left out; its factor is infinite where the prior itself was.
        error, prior_error: mean absolute errors of these two there, in units of a picture in [0, 1].
        shares: what the layer is the mean of.
    """

    layer: Tensor
    pull: Pull
    error: float
    prior_error: float
    shares: Shares


def gram_of(features: Tensor, targets: Tensor, mean: Tensor, weights: Tensor | None = None) -> Gram:
    """Return the sums of one set of pixels.

    Args:
        features: [n, F].
        targets: [n, 3].
        mean: the prior's, [F, 3].
        weights: [n, 1]; None counts every pixel once.
    """
    width = features.shape[1]
    half = width // 2
    shapes = (half, half), (half, width - half), (width - half, width - half), (width, 3), ()
    sums = [features.new_zeros(shape, dtype=torch.float64) for shape in shapes]
    for start in range(0, len(features), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        rows = features[part].double()
        residual = targets[part].double() - rows @ mean.double()
        weight = rows.new_ones(len(rows), 1) if weights is None else weights[part].double()
        weighted = rows * weight
        left, right = weighted.split([half, width - half], 1)
        found = left.T @ rows[:, :half], left.T @ rows[:, half:], right.T @ rows[:, half:], weighted.T @ residual
        sums = [one + other for one, other in zip(sums, (*found, weight.sum()), strict=True)]
    first, beside, last, *rest = sums
    # X'WX is symmetric: its fourth quarter is the second one's mirror
    return Gram(torch.cat([torch.cat([first, beside], 1), torch.cat([beside.T, last], 1)]), *rest)


def solve(gram: Gram, penalty: Tensor) -> Tensor:
    """Return the deviation from the prior's mean, float64 [F, 3]; differentiable.

    A penalty above zero makes the system positive definite whatever the pixels are.

    Args:
        gram: sums over at least one pixel.
        penalty: [F], above zero.
    """
    matrix = gram.features / gram.weight + torch.diag(penalty.double())
    return torch.cholesky_solve(gram.residual / gram.weight, torch.linalg.cholesky(matrix))


def mean_errors(layers: Sequence[Tensor], rows: Rows) -> list[float]:
    """Return the mean absolute error of each layer [F, 3] on pixels, as of pictures in [0, 1]."""
    edited = (rows[0] @ torch.cat(list(layers), 1)).clamp(-1, 1).unflatten(1, (len(layers), 3))
    return ((edited - rows[1][:, None]).abs().mean((0, 2)) / 2).tolist()


@torch.no_grad()
def fit_output_layer(
    pairs: Sequence[Rows], prior: Prior, pulls: Sequence[Pull] | None = None, rounds: int | None = None
) -> Fit:
    """Solve the output layer on pairs: the mean of the layers of several pulls, by their errors on left-out pictures.

    With fewer than `FEWEST_PICTURES` pairs parts of them are left out.

    Args:
        pairs: pixels of each pair, from the top of its picture to the bottom, so that a part of them is a part of it.
        pulls: in place of those that the number of pairs asks for.
        rounds: see `mean_layer`.

    Returns:
        The prior's own mean where no layer is better on what is left out, or nothing can be solved.
    """
    mean = prior.mean.float()
    folds = folds_of(pairs)
    grams = [gram_of(*fold, mean) for fold in folds]
    total = added(grams)
    itself = Pull(mean, math.inf)
    if not all(bool(torch.isfinite(part).all()) for part in total):
        return Fit(mean, itself, math.inf, math.inf, [(itself, 1.0)])
    penalty = prior.penalty(len(pairs))

    one_pixel = len(folds) == 1  # nothing can be left out
    tried = [itself, *(() if one_pixel else (pulls or pulls_for(len(pairs), prior)))]
    of_folds = []
    for gram, fold in zip(grams, folds, strict=True):
        others = total.plus(gram, -1)
        of_folds.append(mean_errors([pulled(others, mean, penalty, pull) for pull in tried], fold))
    errors = [round(sum(of_pull) / len(folds), ERROR_DIGITS) for of_pull in zip(*of_folds, strict=True)]
    prior_error = errors[0]
    # false for what is not a number
    better = [(pull, error) for pull, error in zip(tried, errors, strict=True) if error < prior_error]
    if not better:
        return Fit(mean, itself, prior_error, prior_error, [(itself, 1.0)])
    best, error = min(better, key=lambda found: found[0].doubt * found[1])
    shares = shares_of(better)
    layer = mean_layer(pairs, prior, shares, rounds, total)
    if not bool(torch.isfinite(layer).all()):
        return Fit(mean, itself, prior_error, prior_error, [(itself, 1.0)])
    return Fit(layer, best, error, prior_error, shares)


@torch.no_grad()
def mean_layer(
    pairs: Sequence[Rows], prior: Prior, shares: Shares, rounds: int | None = None, total: Gram | None = None
) -> Tensor:
    """Return the mean of the layers of several pulls on pairs, [F, 3].

    Args:
        rounds: of reweighting towards L1, in place of those that the number of pairs asks for; each costs about as much
            as the solve itself.
        total: the sums over all pixels, made with the prior's mean, where they are known.
    """
    mean, penalty = prior.mean.float(), prior.penalty(len(pairs))
    total = total or added([gram_of(*rows, mean) for rows in pairs])
    layer = averaged(total, mean, penalty, shares)
    if rounds is None:
        rounds = ROUNDS if len(pairs) >= FEWEST_PICTURES else ROUNDS_OF_FEW
    for _ in range(rounds):
        weighted = [gram_of(*rows, mean, weights_of(layer, rows)) for rows in pairs]
        layer = averaged(added(weighted), mean, penalty, shares)
    return layer


def shares_of(better: Sequence[tuple[Pull, float]]) -> Shares:
    """Return what each pull has of the mean, given the errors of those that are better than the prior."""
    least = 10**-ERROR_DIGITS
    falls = [(pull, (pull.doubt * max(error, least) / least) ** -POWER) for pull, error in better]
    enough = LEAST_SHARE * sum(fall for _, fall in falls)
    kept = [(pull, fall) for pull, fall in falls if fall >= enough]
    total = sum(fall for _, fall in kept)
    return [(pull, fall / total) for pull, fall in kept]


def averaged(gram: Gram, mean: Tensor, penalty: Tensor, shares: Shares) -> Tensor:
    """Return the mean of the layers of several pulls, float32 [F, 3], of sums that were made with the layer `mean`."""
    return torch.stack([share * pulled(gram, mean, penalty, pull) for pull, share in shares]).sum(0)


def pulls_for(pairs: int, prior: Prior) -> list[Pull]:
    """Return the pulls that are tried with so many pairs."""
    mean = prior.mean.float()
    if pairs >= FEWEST_PICTURES:
        return [Pull(mean, factor) for factor in FACTORS]
    return [Pull(mean, 1.0, DOUBT), Pull(prior.source, SOURCE_FACTOR)]


def folds_of(pairs: Sequence[Rows]) -> list[Rows]:
    """Return the pixels in `FEWEST_PICTURES` sets, whole pictures where there are enough of them."""
    count = FEWEST_PICTURES
    if len(pairs) >= count:
        groups = [pairs[k::count] for k in range(count)]
    else:
        groups = [[tuple(part.tensor_split(count)[k] for part in rows) for rows in pairs] for k in range(count)]
    sets = [(torch.cat([rows[0] for rows in group]), torch.cat([rows[1] for rows in group])) for group in groups]
    return [rows for rows in sets if len(rows[0])]


def pulled(gram: Gram, mean: Tensor, penalty: Tensor, pull: Pull) -> Tensor:
    """Return the layer of a pull, float32 [F, 3], of sums that were made with the layer `mean`."""
    if math.isinf(pull.factor):
        return pull.centre
    there = gram if pull.centre is mean else gram.beside(pull.centre.double() - mean.double())
    return pull.centre + solve(there, penalty * pull.factor).to(pull.centre.dtype)


def weights_of(layer: Tensor, rows: Rows) -> Tensor:
    """Return what each pixel counts so that squares of its error are as absolute errors, [n, 1], in the mean 1."""
    weights = 1 / ((rows[0] @ layer - rows[1]).abs().mean(1, keepdim=True) + SOFTENING)
    return weights / weights.mean()


def added(grams: Sequence[Gram]) -> Gram:
    """Return the sums over all sets of pixels."""
    total = grams[0]
    for gram in grams[1:]:
        total = total.plus(gram)
    return total
