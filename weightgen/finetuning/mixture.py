"""Networks that are made from pairs and trained branches, mixed in as left-out pairs say.

    found = mix_branches({"closed-form": generator}, remake, pixels, [partial(steps_of, 400)] * 2)
    found.generator, found.weights       # {"closed-form": 0.3, "local": 0.7}; None where no branch helps

What each part is worth on other photographs is measured on pairs that are left out of solve and training: a quarter of
many, of few each quarter in turn, because a single one may be of photographs unlike the others. The result is a
weighted mean, in which the better ones weigh more, with all parts made again from all pairs. It is one network: its
output layer is linear in the bank and in the branches' ReLUs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from weightgen.finetuning.branches import Learner, Schedule, learners_of, train
from weightgen.pairs.pixels import Pixels, edited, error_of, joined, trials_of
from zoo.gans.branches import Branch
from zoo.gans.solved import SolvedGenerator, assembled

POWER, LEAST_ERROR = 5, 1e-6  # by which weights fall with the error
LEAST_WEIGHT = 0.05  # a part that weighs less is left out
DIGITS = 4  # of errors and weights that decide


@dataclass(frozen=True)
class Mixture:
    """A generator with branches.

    Attributes:
        weights: of the networks made from the pairs and of each branch; they sum to 1.
        error, solved_error: mean absolute errors on what was left out, of the mixture and of the first network, as of
            pictures in [0, 1].
        steps: of the last training.
    """

    generator: SolvedGenerator
    weights: dict[str, float]
    error: float
    solved_error: float
    steps: int


def part_of(schedule: Schedule, number: int, count: int, taken: int) -> Schedule:
    """Return the schedule of one of `count` trainings that share a schedule's length; `taken` steps of it are done."""
    return lambda step: schedule(taken + step) * count - number


def mix_branches(
    made: Mapping[str, SolvedGenerator],
    remake: Callable[[Sequence[Pixels]], Mapping[str, SolvedGenerator]],
    pixels: Sequence[Pixels],
    schedules: Sequence[Callable[[], Schedule]],
    seed: int = 0,
    stop: Callable[[], bool] = lambda: False,
) -> Mixture | None:
    """Train branches and mix them with networks that were made from the pairs.

    Args:
        made: these networks by name, on one bank; the first is what the mixture has to be better than.
        remake: makes the same networks from some of the pairs.
        pixels: of two pairs at least.
        schedules: of the trainings that choose, all together, and of the one on all pairs.
        stop: asked before each step; nothing is returned where it says True.

    Returns:
        None where no branch makes it better on what is left out.
    """
    parts = trials_of(pixels)
    schedule, taken, trials = schedules[0](), 0, []
    for number, (left_out, rest) in enumerate(parts):
        trial = remake(rest)
        learners = learners_of(trial, seed)
        taken += train(learners, rest, part_of(schedule, number, len(parts), taken), seed, stop)
        asked = joined(left_out)
        trials.append([*(edited(network, asked) for network in trial.values()), *(each(asked) for each in learners)])
        if stop():
            return None
    targets = torch.cat([p.targets for left_out, _ in parts for p in left_out])
    made_of = [torch.cat(part) for part in zip(*trials, strict=True)]
    weights = mixed(torch.stack([error_of(part, targets) for part in made_of]))
    solved_error, error = (error_of(part, targets).item() for part in (made_of[0], blend(made_of, weights)))
    if not round(error, DIGITS) < round(solved_error, DIGITS):  # also for what is not a number
        return None
    names = [*trial, *(part.name for part in learners)]
    named = {name: float(weight) for name, weight in zip(names, weights.tolist(), strict=True) if weight > 0}
    learners = [part for part in learners_of(made, seed) if part.name in named]
    steps = train(learners, pixels, schedules[1](), seed, stop)
    if stop():
        return None
    mixture = mean_network(made, learners, named)
    return Mixture(mixture, {name: round(weight, DIGITS) for name, weight in named.items()}, error, solved_error, steps)


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
def mean_network(
    made: Mapping[str, SolvedGenerator], learners: Sequence[Learner], weights: Mapping[str, float]
) -> SolvedGenerator:
    """Return one generator whose output is the mean of networks and branches with these weights.

    Args:
        made: at least one network; all are on one bank.
        weights: of those that take part.
    """
    like = next(iter(made.values()))
    bank = torch.zeros(like.bank.num_features, 3)
    heads: dict[Branch, Tensor] = {}

    def add(branch: Branch, head: Tensor) -> None:
        heads[branch] = heads[branch] + head if branch in heads else head

    for name, generator in ((name, made[name]) for name in made if name in weights):
        own, *rest = (weights[name] * part for part in generator.layer_parts)
        bank += own
        for branch, head in zip(generator.branches, rest, strict=True):
            add(branch, head)
    for part in learners:
        weight = weights[part.name]
        bank += 0 if part.bank is None else weight * part.bank
        bank[-1] += weight * part.head.bias  # the bank's last feature is 1
        for branch, head in (*part.beside, (part.branch, part.head.weight.T)):
            add(branch, weight * head)
    return assembled(like, [(branch.name, branch.state_dict()) for branch in heads], torch.cat([bank, *heads.values()]))
