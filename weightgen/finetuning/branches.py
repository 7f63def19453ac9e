"""Branches beside a solved layer: trained on a user's pairs in seconds, mixed in as left-out pairs say.

    found = mix_branches(generator, pixels, fit, [partial(steps_of, 400)] * 2)
    found.generator, found.weights       # {"solved": 0.3, "local": 0.7}; None where no branch helps

The solved layer is linear in fixed features, and some edits are not: a poster has steps of colour, a relief the rank of
a slope. Each branch (`zoo.gans.branches`) learns the whole edit on its own, by L1 from the pixels that the layer was
solved on. What each is worth on other photographs is measured on pairs that are left out of solve and training. The
result is a weighted mean, in which the better ones weigh more, with all parts made again from all pairs. It is one
network: its output layer is linear in the bank and in the branches' ReLUs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import NamedTuple

import torch
from torch import Tensor, nn

from zoo.closed_form import Fit, fit_output_layer
from zoo.gans.branches import READS, Branch
from zoo.gans.layers import leaky_clamp
from zoo.gans.solved import SolvedGenerator

EVERY = 4  # one picture in so many is left out
HIDDEN = 64
BATCH = 4096  # pixels of a step
LEARNING_RATE = 1e-2
BETAS = (0.9, 0.99)
POWER, LEAST_ERROR = 5, 1e-6  # by which weights fall with the error
LEAST_WEIGHT = 0.05  # a part that weighs less is left out
DIGITS = 4  # of errors and weights that decide

Schedule = Callable[[int], float]  # the number of steps done -> the share of the training that is done; 1 ends it


class Pixels(NamedTuple):
    """Pixels of one pair: the bank's maps [n, channels], its features [n, F] and the targets [n, 3] in [-1, 1]."""

    maps: Tensor
    features: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Mixture:
    """A generator with branches.

    Attributes:
        weights: of the solved layer and of each branch; they sum to 1.
        error, solved_error: mean absolute errors on what was left out, as of pictures in [0, 1].
        steps: of the last training.
    """

    generator: SolvedGenerator
    weights: dict[str, float]
    error: float
    solved_error: float
    steps: int


def steps_of(total: int) -> Schedule:
    """Return the schedule of a training of `total` steps."""
    return lambda step: step / total


def seconds_from_now(seconds: float) -> Schedule:
    """Return the schedule of a training that ends after `seconds`."""
    started = time.perf_counter()
    return lambda step: (time.perf_counter() - started) / seconds


def mix_branches(
    generator: SolvedGenerator,
    pixels: Sequence[Pixels],
    fit: Fit,
    schedules: Sequence[Callable[[], Schedule]],
    seed: int = 0,
    stop: Callable[[], bool] = lambda: False,
) -> Mixture | None:
    """Train branches and mix them with a solved layer.

    Args:
        generator: without branches; not changed.
        pixels: of two pairs at least.
        fit: the layer that was solved on them.
        schedules: of the training that chooses, and of the one on all pairs; each begins when it is called.
        stop: asked before each step; nothing is returned where it says True.

    Returns:
        None where no branch makes it better on what is left out.
    """
    left_out, rest = split(pixels)
    branches = draw(tuple(READS), seed)
    heads, _ = train(branches, rest, schedules[0](), seed, stop)
    if stop():
        return None
    layer = solved_on(rest, generator, fit)
    targets = torch.cat([p.targets for p in left_out])
    edited = [torch.cat([p.features for p in left_out]) @ layer, *outputs(branches, heads, left_out)]
    weights = mixed(torch.stack([error_of(part, targets) for part in edited]).detach())
    solved_error, error = (error_of(part, targets).item() for part in (edited[0], blend(edited, weights)))
    if not round(error, DIGITS) < round(solved_error, DIGITS):  # also for what is not a number
        return None
    kept = tuple(name for name, weight in zip(READS, weights[1:].tolist(), strict=True) if weight > 0)
    branches = draw(kept, seed)
    heads, steps = train(branches, pixels, schedules[1](), seed, stop)
    if stop():
        return None
    parts = [weight for weight in weights.tolist()[1:] if weight > 0]
    mixture = assembled(generator, fit.layer, float(weights[0]), branches, heads, parts)
    named = dict(zip(("solved", *kept), (round(w, DIGITS) for w in (float(weights[0]), *parts)), strict=True))
    return Mixture(mixture, named, error, solved_error, steps)


def solved_on(pixels: Sequence[Pixels], generator: SolvedGenerator, fit: Fit) -> Tensor:
    """Return the layer of some of the pairs, pulled as that of all of them was."""
    if math.isinf(fit.pull.factor):
        return fit.layer
    return fit_output_layer([(p.features, p.targets) for p in pixels], generator.prior, [fit.pull]).layer


def split(pixels: Sequence[Pixels]) -> tuple[list[Pixels], list[Pixels]]:
    """Return the pairs to leave out, one in `EVERY` and at least one, and the others."""
    chosen = set(range(EVERY - 1, len(pixels), EVERY)) or {len(pixels) - 1}
    return [p for k, p in enumerate(pixels) if k in chosen], [p for k, p in enumerate(pixels) if k not in chosen]


def draw(names: Sequence[str], seed: int) -> list[Branch]:
    """Return new branches; each has the same weights whatever others there are."""
    branches = []
    for name in names:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1000 * seed + list(READS).index(name))
            branches.append(Branch(name, HIDDEN))
    return branches


def train(
    branches: Sequence[Branch],
    pixels: Sequence[Pixels],
    schedule: Schedule,
    seed: int,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[list[nn.Linear], int]:
    """Train each branch with an output layer of its own to give the targets.

    Returns:
        The output layers, and the number of steps.
    """
    maps, targets = torch.cat([p.maps for p in pixels]), torch.cat([p.targets for p in pixels])
    heads = [nn.utils.skip_init(nn.Linear, branch.second.out_features, 3) for branch in branches]
    for head in heads:  # even grey, whatever the pixel is
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
    learned = [tensor for part in (*branches, *heads) for tensor in part.parameters()]
    optimizer = torch.optim.Adam(learned, lr=LEARNING_RATE, betas=BETAS)
    generator = torch.Generator().manual_seed(seed)
    for step in count():
        done = schedule(step)
        if done >= 1 or stop():
            return heads, step
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * done))
        chosen = torch.randint(len(maps), (BATCH,), generator=generator)
        rows, wanted = maps[chosen], targets[chosen]
        losses = [error_of(head(branch(rows)), wanted) for branch, head in zip(branches, heads, strict=True)]
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        optimizer.step()
    raise AssertionError("the schedule never ends")


def error_of(edited: Tensor, targets: Tensor) -> Tensor:
    """Return the mean absolute error of pixels [n, 3] in [-1, 1], as of pictures in [0, 1]."""
    return (leaky_clamp(edited / 2 + 0.5) - (targets / 2 + 0.5)).abs().mean()


@torch.no_grad()
def outputs(branches: Sequence[Branch], heads: Sequence[nn.Linear], pixels: Sequence[Pixels]) -> list[Tensor]:
    """Return what each branch makes of pixels, [n, 3]."""
    maps = torch.cat([p.maps for p in pixels])
    return [head(branch(maps)) for branch, head in zip(branches, heads, strict=True)]


def blend(edited: Sequence[Tensor], weights: Tensor) -> Tensor:
    """Return the weighted mean of predictions [n, 3]."""
    return sum((weight * part for weight, part in zip(weights, edited, strict=True)), torch.zeros(()))


def mixed(errors: Tensor) -> Tensor:
    """Return the weights of parts with these errors on what was left out, [B], of sum 1.

    They fall with a power of the error. Weights that minimise the error of the mean itself are no better on further
    pictures: few pictures are left out, and what is nearly as good on them is often better on others.
    """
    errors = errors.nan_to_num(nan=math.inf).clamp_min(LEAST_ERROR)
    weights = (errors.min() / errors) ** POWER
    weights = weights / weights.sum()
    weights = torch.where(weights.round(decimals=DIGITS) < LEAST_WEIGHT, 0.0, weights)
    return weights / weights.sum()


@torch.no_grad()
def assembled(
    generator: SolvedGenerator,
    layer: Tensor,
    weight: float,
    branches: Sequence[Branch],
    heads: Sequence[nn.Linear],
    weights: Sequence[float],
) -> SolvedGenerator:
    """Return one generator whose output is `weight` of the solved layer's and `weights` of the branches'."""
    names = tuple(name for name in READS if any(branch.name == name for branch in branches))
    config = replace(generator.config, branches=names, hidden=HIDDEN)
    result = config.build().requires_grad_(False).eval()
    result.bank.load_state_dict(generator.bank.state_dict())
    for name, value in generator.prior._asdict().items():
        getattr(result, name).copy_(value)
    bank = layer * weight
    for own, branch in zip(result.branches, branches, strict=True):
        own.load_state_dict(branch.state_dict())
    for part, head in zip(weights, heads, strict=True):
        bank[-1] += part * head.bias  # the bank's last feature is 1
    columns = [bank, *(part * head.weight.T for part, head in zip(weights, heads, strict=True))]
    result.layer.copy_(torch.cat(columns))
    return result
