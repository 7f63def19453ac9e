"""Baselines: weights for a prompt without a denoiser, all as mixtures of the zoo's own networks.

Every baseline but `base` computes mixing weights over the zoo's concepts from the prompt's text embedding; the
prediction is `zoo mean + mixture @ (zoo - zoo mean)`. So fitting needs only the [N, N] inner products of the
zoo's networks, and every hyperparameter is chosen by R^2 of the (whitened) weights of the validation split.

    predict = fit("kernel_ridge", train, encoder, validation=validation)
    blocks = predict([["a charcoal drawing"], ["make it dusk", "an evening scene"]])   # [2, num_blocks, ...]

A list of several paraphrases stands for one concept: their text embeddings are averaged.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from weightgen.text import TextEncoder, embed, unit
from weightgen.training.data import WeightDataset
from zoo.errors import WeightzooError
from zoo.pictures.metrics import decisive

Mixture = Callable[[Tensor], Tensor]  # text embeddings [K, D] -> mixing weights [K, N]
Candidate = tuple[Mixture, dict[str, Any]]  # a mixture and its hyperparameters
PENALTIES = tuple(10.0 ** (i / 2) for i in range(-8, 5))
KNN_COUNTS, KNN_TEMPERATURES = (2, 4, 8, 16, 32), (0.02, 0.05, 0.1, 0.2)
BANDWIDTHS = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0)


@dataclass(frozen=True)
class Problem:
    """The zoo as its baselines see it.

    Args:
        rows: unit text embeddings of every wording of every train concept, [M, D].
        owner: index of each row's concept, [M].
        gram: inner products of the whitened weights about the zoo mean, [N, N].
        validation: for each set of held-out prompts their embeddings [V, D], inner products with the zoo
            [N, V] and squared norms [V]; empty when there is no validation split.
    """

    rows: Tensor
    owner: Tensor
    gram: Tensor
    validation: list[tuple[Tensor, Tensor, Tensor]]

    @property
    def size(self) -> int:
        return self.gram.shape[0]

    def centres(self) -> Tensor:
        """Return mean embedding of each concept's wordings, as unit vectors [N, D]."""
        members = self.membership()
        return unit(members.T @ self.rows / members.sum(0)[:, None])

    def membership(self) -> Tensor:
        """Return 1 where a row is a wording of a concept and 0 elsewhere, [M, N]."""
        return torch.nn.functional.one_hot(self.owner, self.size).to(self.rows.dtype)

    def score(self, mixture: Mixture) -> float:
        """Return the R^2 of the held-out networks' weights about the zoo mean."""
        error, total = 0.0, 0.0
        for embeddings, cross, norms in self.validation:
            a = mixture(embeddings)
            error += float(((a @ self.gram) * a).sum() - 2 * (a.T * cross).sum() + norms.sum())
            total += float(norms.sum())
        return 1 - error / max(total, 1e-12)


@dataclass(frozen=True)
class Fitted:
    """A baseline that is ready to predict; `choice` holds its hyperparameters and their validation R^2.

    Calling it with one list of paraphrases per concept gives blocks [K, num_blocks, block_size].
    """

    name: str
    encoder: TextEncoder
    origin: Tensor  # what a mixture of zeros gives, [num_blocks, block_size]
    deviations: Tensor  # the zoo's networks minus their mean, [N, num_blocks, block_size]
    mixture: Mixture | None
    choice: dict[str, Any] = field(default_factory=dict)

    def __call__(self, prompts: Sequence[Sequence[str]]) -> Tensor:
        if self.mixture is None:
            return self.origin.expand(len(prompts), *self.origin.shape).clone()
        weights = self.mixture(embed(self.encoder, prompts)).to(self.deviations.dtype)
        return self.origin + torch.tensordot(weights, self.deviations, 1)


def fit(
    name: str,
    train: WeightDataset,
    encoder: TextEncoder,
    validation: WeightDataset | None = None,
    base_blocks: Tensor | None = None,
) -> Fitted:
    """Fit one of `BASELINES`.

    Args:
        train: the zoo's train split.
        validation: the split that every hyperparameter is chosen on; without it the middle of each grid.
        base_blocks: the base generator's own adapter [num_blocks, block_size]; needed by `base` only.
    """
    if name not in BASELINES:
        raise WeightzooError(f"unknown baseline {name!r}; known: {', '.join(BASELINES)}")
    mean = train.blocks.mean(0)
    if name == "base":
        if base_blocks is None:
            raise WeightzooError("baseline 'base' needs the base generator's own adapter; pass base_blocks")
        return Fitted(name, encoder, base_blocks, train.blocks[:0], None)
    problem = build_problem(train, encoder, validation)
    mixture, choice = FITS[name](problem)
    return Fitted(name, encoder, mean, train.blocks - mean, mixture, choice)


def build_problem(train: WeightDataset, encoder: TextEncoder, validation: WeightDataset | None) -> Problem:
    """Embed every wording and reduce the weights to inner products."""
    if len(train.blocks) == 0:
        raise WeightzooError("the zoo has no train concepts; build or download one first")
    mean = train.blocks.mean(0)
    scale = (train.blocks - mean).square().mean((0, 2)).sqrt().clamp_min(1e-8)[:, None]
    whitened = ((train.blocks - mean) / scale).flatten(1)
    held_out = []
    if validation is not None and len(validation.blocks):
        held = ((validation.blocks - mean) / scale).flatten(1)
        cross, norms = (whitened @ held.T).double(), held.square().sum(1).double()
        for texts in held_out_prompts(validation.prompts):
            held_out.append((embed(encoder, texts), cross, norms))
    owner = torch.tensor([i for i, texts in enumerate(train.prompts) for _ in texts])
    rows = embed(encoder, [[text] for texts in train.prompts for text in texts])
    return Problem(rows, owner, (whitened @ whitened.T).double(), held_out)


def held_out_prompts(prompts: Sequence[Sequence[str]]) -> Iterable[list[list[str]]]:
    """Yield the wordings that held-out concepts are prompted with: each paraphrase alone, then up to four together.

    A concept's first wording is its canonical prompt; evaluation uses the others, its paraphrases.
    """
    chosen = [list(texts[1:5]) or list(texts[:1]) for texts in prompts]
    for i in range(max(map(len, chosen))):
        yield [[texts[i % len(texts)]] for texts in chosen]
    yield chosen


def best(problem: Problem, candidates: Iterable[Candidate]) -> Candidate:
    """Return the candidate with the highest validation R^2 (without a validation split there is only one)."""
    if not problem.validation:
        return next(iter(candidates))
    scored = [(problem.score(mixture), mixture, choice) for mixture, choice in candidates]
    r2, mixture, choice = max(scored, key=lambda item: decisive(item[0]))  # the first of equally good ones
    return mixture, {**choice, "validation_r2": r2}


def grid(problem: Problem, *axes: Sequence[Any]) -> Iterable[tuple[Any, ...]]:
    """Return every combination of the axes' values; without a validation split only the middle of each axis."""
    return itertools.product(*(axis if problem.validation else (axis[len(axis) // 2],) for axis in axes))


def fit_mean(problem: Problem) -> Candidate:
    """Return the mean of the zoo, whatever the prompt."""
    return best(problem, [(lambda x: x.new_zeros(len(x), problem.size), {})])


def similarity(problem: Problem, x: Tensor) -> Tensor:
    """Return the cosine to each concept, by its closest wording, [K, N]."""
    index = problem.owner.expand(len(x), -1)
    empty = x.new_full((len(x), problem.size), -torch.inf)
    return empty.scatter_reduce(1, index, x @ problem.rows.T, "amax")


def fit_nearest(problem: Problem) -> Candidate:
    """Return the concept with the closest wording."""

    def mixture(x: Tensor) -> Tensor:
        closest = similarity(problem, x).argmax(1)
        return torch.nn.functional.one_hot(closest, problem.size).to(x.dtype)

    return best(problem, [(mixture, {})])


def fit_knn(problem: Problem) -> Candidate:
    """Fit a softmax-weighted mix of the k closest concepts."""

    def candidate(k: int, temperature: float) -> Mixture:
        def mixture(x: Tensor) -> Tensor:
            values, index = similarity(problem, x).topk(min(k, problem.size), 1)
            return x.new_zeros(len(x), problem.size).scatter(1, index, (values / temperature).softmax(1))

        return mixture

    axes = grid(problem, KNN_COUNTS, KNN_TEMPERATURES)
    return best(problem, ((candidate(k, t), {"k": k, "temperature": t}) for k, t in axes))


def training_texts(problem: Problem, texts: str) -> tuple[Tensor, Tensor]:
    """Return inputs [M, D] and the share of each concept in them [M, N]: all wordings, or concept means."""
    if texts == "each":
        return problem.rows, problem.membership()
    return problem.centres(), torch.eye(problem.size, dtype=problem.rows.dtype)


def fit_ridge(problem: Problem) -> Candidate:
    """Fit a ridge regression from the text embedding; penalty and use of paraphrases by validation."""

    def candidates() -> Iterable[Candidate]:
        for (texts,) in grid(problem, ("each", "mean")):
            x, share = training_texts(problem, texts)
            share_of_row = (share / share.sum(0)).sum(1, keepdim=True)  # every concept counts once
            centre = (share_of_row * x).sum(0) / share_of_row.sum()
            z = x - centre
            values, vectors = torch.linalg.eigh(z.T @ (share_of_row * z))
            target = vectors.T @ (z.T @ (share_of_row * share))
            for (penalty,) in grid(problem, PENALTIES):
                # inputs are centred and targets are deviations from the zoo mean: no intercept is left to fit
                solution = vectors @ (target / (values.clamp_min(0) + penalty)[:, None])
                yield linear(centre, solution), {"texts": texts, "penalty": penalty}

    return best(problem, candidates())


def linear(centre: Tensor, solution: Tensor) -> Mixture:
    """Return the mixture of a linear regression around `centre`."""
    return lambda x: (x - centre) @ solution


# between the rows of two matrices at a bandwidth, [len(a), len(b)]
KERNELS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "rbf": lambda a, b, bandwidth: (-torch.cdist(a, b).square() / (2 * bandwidth**2)).exp(),
    "laplace": lambda a, b, bandwidth: (-torch.cdist(a, b) / bandwidth).exp(),
}


def fit_kernel_ridge(problem: Problem) -> Candidate:
    """Fit a kernel ridge regression; kernel, bandwidth, penalty and use of paraphrases by validation."""
    centres = problem.centres()
    distances = torch.pdist(centres)  # cdist's distance of a row to itself is rounding noise
    median = float(distances[distances > 1e-6].median()) if problem.size > 1 else 1.0

    def on_means() -> Iterable[Candidate]:
        for name, factor in grid(problem, tuple(KERNELS), BANDWIDTHS):
            bandwidth = factor * median
            values, vectors = torch.linalg.eigh(KERNELS[name](centres, centres, bandwidth))
            for (penalty,) in grid(problem, PENALTIES):
                shrunk = vectors / (values.clamp_min(0) + penalty)
                choice = {"texts": "mean", "kernel": name, "bandwidth": bandwidth, "penalty": penalty}
                yield kernel_mixture(name, bandwidth, centres, shrunk, vectors.T), choice

    mixture, choice = best(problem, on_means())
    if not problem.validation or len(problem.rows) == problem.size:
        return mixture, choice
    return best(problem, itertools.chain([(mixture, without_score(choice))], on_wordings(problem, choice)))


def on_wordings(problem: Problem, choice: dict[str, Any]) -> Iterable[Candidate]:
    """Yield every wording as a row of its own, with the kernel that was best on concept means; a few penalties."""
    name, bandwidth = choice["kernel"], choice["bandwidth"]
    kernel, share = KERNELS[name](problem.rows, problem.rows, bandwidth), problem.membership()
    for factor in (1.0, 4.0):
        penalty = choice["penalty"] * factor
        diagonal = penalty * share.sum(0)[problem.owner]  # as if each concept were one row
        solution = torch.cholesky_solve(share, torch.linalg.cholesky(kernel + torch.diag(diagonal)))
        changed = {**without_score(choice), "texts": "each", "penalty": penalty}
        yield kernel_mixture(name, bandwidth, problem.rows, solution), changed


def without_score(choice: dict[str, Any]) -> dict[str, Any]:
    """Return a choice of hyperparameters without the score that it had."""
    return {key: value for key, value in choice.items() if key != "validation_r2"}


def kernel_mixture(name: str, bandwidth: float, rows: Tensor, *factors: Tensor) -> Mixture:
    """Return the kernel with `rows`, times each of the factors in turn."""
    return lambda x: functools.reduce(torch.matmul, factors, KERNELS[name](x, rows, bandwidth))


FITS: dict[str, Callable[[Problem], Candidate]] = {
    "mean": fit_mean,
    "nearest": fit_nearest,
    "knn": fit_knn,
    "ridge": fit_ridge,
    "kernel_ridge": fit_kernel_ridge,
}
BASELINES = ("base", *FITS)  # the base generator as it is needs no fit
