"""The output layer of a generator, solved on pairs: ridge regression towards a prior, without a training step.

    layer = prior.mean + solve(gram_of(features, targets), prior.penalty(pairs), prior.mean)
    fit = fit_output_layer([(features, targets), ...], prior)    # of each pair: [pixels, F] and [pixels, 3]
    fit.layer              # [F, 3]; never worse than the prior on pictures that are left out

With features X, targets Y and a prior of mean M and penalties p, the layer M + D minimises
|W (X (M + D) - Y)|^2 / n + sum_f p_f |D_f|^2. The weights W come from rounds of reweighting, so that large errors count
as they do in L1. Penalties depend on the number of pairs, p_f = exp(a_f + b_f log(pairs)), and are learned over many
edits (`pipeline.fleets.train_prior`; Bertinetto et al. 2019, "Meta-learning with differentiable closed-form solvers").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.gram import Gram, Rows, added, gram_of, solve

FEWEST_PICTURES = 4  # of which whole ones can be left out; of fewer, parts are
FACTORS = (0.1, 0.3, 1.0, 3.0, 10.0)  # times the learned penalties, tried on what is left out
TO_PRIOR, TO_SOURCE = "prior", "source"  # what layers are pulled to
# of few pairs only parts can be left out, which say little about other pictures. So a pull to the source is tried, for
# edits that change little, and it has all of the layer where the learned prior is as good on what is left out
SOURCE_FACTOR, DOUBT = 100.0, 1.35
# by which a layer's share of the mean falls with its error: the mean of layers that are nearly as good as the best one
# is up to 3 % better than this one with four pairs or more, and 7 to 8 % with one or two (docs/LOG.md)
POWER = 10
LEAST_ERROR, LEAST_SHARE = 1e-6, 0.05  # smaller errors count as this; what has a smaller share of a mean is left out
ROUNDS, ROUNDS_OF_FEW = 1, 2  # of reweighting towards L1; the second one is worth 2 % with one pair, with four nothing
SOFTENING = 0.05  # errors below count as in least squares; targets are in [-1, 1]
ERROR_DIGITS = 6  # the last bits of a sum decide nothing


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
        to: `TO_PRIOR` or `TO_SOURCE`.
        factor: what the learned penalties are multiplied with; infinite: what it is pulled to is the layer.
        doubt: what the error on what is left out is multiplied with where pulls are compared.
    """

    to: str
    factor: float
    doubt: float = 1.0


ITSELF = Pull(TO_PRIOR, math.inf)
# tried on what is left out of so many pairs that whole pictures can be, and of fewer
PULLS = [Pull(TO_PRIOR, factor) for factor in FACTORS]
PULLS_OF_FEW = [Pull(TO_PRIOR, 1.0, DOUBT), Pull(TO_SOURCE, SOURCE_FACTOR)]
Shares = Sequence[tuple[Pull, float]]  # pulls, and what the layers of each have of their mean; of sum 1


class Choice(NamedTuple):
    """What a layer is pulled to.

    Attributes:
        pull: the best one on what was left out; its factor is infinite where the prior itself was.
        error, prior_error: mean absolute errors of these two there, in units of a picture in [0, 1].
        shares: what the layer is the mean of.
    """

    pull: Pull
    error: float
    prior_error: float
    shares: Shares


class Wanted(NamedTuple):
    """A layer that is wanted.

    Attributes:
        prior: over as many of the features as the layer is.
        shares: what it is the mean of.
        share: what it has of the network; of sum 1 over all layers of the same pixels.
    """

    prior: Prior
    shares: Shares
    share: float = 1.0


class Fit(NamedTuple):
    """A solved output layer [F, 3], and what it is pulled to."""

    layer: Tensor
    choice: Choice


@dataclass(frozen=True, eq=False)
class Folds:
    """Pixels in sets that are left out in turn, and the sums of each."""

    rows: Sequence[Rows]
    grams: Sequence[Gram]

    @classmethod
    def of(cls, pairs: Sequence[Rows]) -> Folds:
        """Return the pixels of pairs in `FEWEST_PICTURES` sets, of whole pictures where there are enough of them."""
        rows = folds_of(pairs)
        return cls(rows, [gram_of(*fold) for fold in rows])

    @property
    def total(self) -> Gram:
        """Return the sums over all pixels."""
        return added(self.grams)

    def first(self, width: int) -> Folds:
        """Return the same with the first `width` features alone."""
        rows = [(features[:, :width], targets) for features, targets in self.rows]
        return Folds(rows, [gram.first(width) for gram in self.grams])


def mean_errors(layers: Sequence[Tensor], rows: Rows) -> list[float]:
    """Return the mean absolute error of each layer [F, 3] on pixels, as of pictures in [0, 1]."""
    edited = (rows[0] @ torch.cat(list(layers), 1)).clamp(-1, 1).unflatten(1, (len(layers), 3))
    return ((edited - rows[1][:, None]).abs().mean((0, 2)) / 2).tolist()


@torch.no_grad()
def fit_output_layer(pairs: Sequence[Rows], prior: Prior, pulls: Sequence[Pull] | None = None, every: int = 1) -> Fit:
    """Solve the output layer on pairs: the mean of the layers of several pulls, by their errors on left-out pictures.

    Args:
        pairs: pixels of each pair, from the top of its picture to the bottom, so that a part of them is a part of it.
        pulls: in place of those that the number of pairs asks for.
        every: one in so many of the pixels says what the layer is pulled to.

    Returns:
        The prior's own mean where no layer is better on what is left out, or nothing can be solved.
    """
    folds = Folds.of(thinned_rows(pairs, every))
    choice = choose(folds, prior, len(pairs), pulls)
    return Fit(mean_layer(pairs, prior, choice.shares, folds.total), choice)


@torch.no_grad()
def choose(folds: Folds, prior: Prior, pairs: int, pulls: Sequence[Pull] | None = None) -> Choice:
    """Return which pulls have what share of an output layer, by the errors of their layers on left-out pictures.

    Args:
        folds: of the pixels of so many pairs. With fewer than `FEWEST_PICTURES` of them parts of pictures are left out.
        pulls: in place of those that the number of pairs asks for.
    """
    total, penalty = folds.total, prior.penalty(pairs)
    if not all(bool(torch.isfinite(part).all()) for part in total):
        return Choice(ITSELF, math.inf, math.inf, [(ITSELF, 1.0)])
    one_pixel = len(folds.rows) == 1  # nothing can be left out
    tried = [ITSELF, *(() if one_pixel else (pulls or (PULLS if pairs >= FEWEST_PICTURES else PULLS_OF_FEW)))]
    of_folds = []
    for gram, fold in zip(folds.grams, folds.rows, strict=True):
        others = total.plus(gram, -1)
        of_folds.append(mean_errors([pulled(others, prior, penalty, pull) for pull in tried], fold))
    errors = [round(sum(of_pull) / len(of_folds), ERROR_DIGITS) for of_pull in zip(*of_folds, strict=True)]
    prior_error = errors[0]
    # false for what is not a number
    better = [(pull, error) for pull, error in zip(tried, errors, strict=True) if error < prior_error]
    if not better:
        return Choice(ITSELF, prior_error, prior_error, [(ITSELF, 1.0)])
    best, error = min(better, key=lambda found: found[0].doubt * found[1])
    shares = shares_by_error([pull.doubt * error for pull, error in better], POWER)
    kept = [(pull, share) for (pull, _), share in zip(better, shares, strict=True) if share > 0]
    return Choice(best, error, prior_error, kept)


def mean_layer(
    pairs: Sequence[Rows], prior: Prior, shares: Shares, total: Gram | None = None, rounds: int | None = None
) -> Tensor:
    """Return the mean of the layers of several pulls on pairs, [F, 3]: see `mean_layers`."""
    return mean_layers(pairs, [Wanted(prior, shares)], total, rounds)[0]


@torch.no_grad()
def mean_layers(
    pairs: Sequence[Rows], wanted: Sequence[Wanted], total: Gram | None = None, rounds: int | None = None
) -> list[Tensor]:
    """Solve output layers on the same pixels, each over the first of their features: the mean of several pulls each.

    Args:
        total: the sums over all pixels, or over enough of them to begin with, where they are known.
        rounds: of reweighting towards the L1 of the layers' own mean, in place of those that the number of pairs asks
            for; each costs about as much as the solve itself.

    Returns:
        Layers [F, 3]; the prior's mean where nothing can be solved.
    """
    count = len(pairs)
    gram = total or added([gram_of(*rows) for rows in pairs])
    layers = [averaged(gram, each, count) for each in wanted]
    if rounds is None:
        rounds = ROUNDS if count >= FEWEST_PICTURES else ROUNDS_OF_FEW
    if all(math.isinf(pull.factor) for each in wanted for pull, _ in each.shares):
        return layers
    for _ in range(rounds):
        mean = sum_of(layers, [each.share for each in wanted])
        gram = added([gram_of(*rows, weights_of(mean, rows)) for rows in pairs])
        layers = [averaged(gram, each, count) for each in wanted]
    return [
        layer if bool(torch.isfinite(layer).all()) else each.prior.mean.float()
        for layer, each in zip(layers, wanted, strict=True)
    ]


def shares_by_error(errors: Sequence[float], power: int) -> list[float]:
    """Return what parts with these errors on what was left out have of their mean; of sum 1.

    Shares fall with a power of the error. Those that minimise the error of the mean itself are no better on further
    pictures: few pictures are left out, and what is nearly as good on them is often better on others.

    Args:
        errors: at least one of them a number.
        power: by which shares fall with the error.
    """
    known = [max(error, LEAST_ERROR) if math.isfinite(error) else math.inf for error in errors]
    falls = [(min(known) / error) ** power for error in known]
    kept = [fall if fall >= LEAST_SHARE * sum(falls) else 0.0 for fall in falls]
    return [fall / sum(kept) for fall in kept]


def averaged(gram: Gram, wanted: Wanted, pairs: int) -> Tensor:
    """Return the mean of the layers of several pulls, float32 [F, 3], from the sums over its features and more."""
    prior, shares = wanted.prior, wanted.shares
    own, penalty = gram.first(len(prior.mean)), prior.penalty(pairs)
    return torch.stack([share * pulled(own, prior, penalty, pull) for pull, share in shares]).sum(0)


def sum_of(layers: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Return the weighted sum of layers over the first of the same features, as long as the longest, [F, 3]."""
    longest = max(map(len, layers))
    return torch.stack(
        [weight * F.pad(layer, (0, 0, 0, longest - len(layer))) for layer, weight in zip(layers, weights, strict=True)]
    ).sum(0)


def thinned_rows(pairs: Sequence[Rows], every: int) -> list[Rows]:
    """Return one in so many of the pixels of each pair."""
    return [(features[::every], targets[::every]) for features, targets in pairs]


def folds_of(pairs: Sequence[Rows]) -> list[Rows]:
    """Return the pixels in `FEWEST_PICTURES` sets, whole pictures where there are enough of them."""
    count = FEWEST_PICTURES
    if len(pairs) >= count:
        groups = [pairs[k::count] for k in range(count)]
    else:
        groups = [[tuple(part.tensor_split(count)[k] for part in rows) for rows in pairs] for k in range(count)]
    sets = [(torch.cat([rows[0] for rows in group]), torch.cat([rows[1] for rows in group])) for group in groups]
    return [rows for rows in sets if len(rows[0])]


def pulled(gram: Gram, prior: Prior, penalty: Tensor, pull: Pull) -> Tensor:
    """Return the layer of a pull, float32 [F, 3]."""
    centre = prior.mean.float() if pull.to == TO_PRIOR else prior.source
    return centre if math.isinf(pull.factor) else centre + solve(gram, penalty * pull.factor, centre).float()


def weights_of(layer: Tensor, rows: Rows) -> Tensor:
    """Return what each pixel counts so that squares of its error are as absolute errors, [n, 1], in the mean 1."""
    weights = 1 / ((rows[0][:, : len(layer)] @ layer - rows[1]).abs().mean(1, keepdim=True) + SOFTENING)
    return weights / weights.mean()
