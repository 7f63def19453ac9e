"""Networks that are made from pairs and trained branches, mixed in as left-out pairs say.

    found = mix_branches({"closed-form": generator}, remake, pixels, step_schedules(len(pixels), 400))
    found.generator, found.weights       # {"closed-form": 0.3, "local": 0.7}; None where no branch helps

What each part is worth on other photographs is measured on pairs that are left out of solve and training: a quarter of
many, of few each quarter in turn, because a single one may be of photographs unlike the others. The result is a
weighted mean, in which the better ones weigh more (`weightgen.pairs.means`). The networks are those of all pairs, and
branches are trained on all of them: from where they are if one quarter was left out, and else anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from weightgen.finetuning.branches import TUNED, Learner, Schedule, learners_of, steps_of, train
from weightgen.pairs.means import DIGITS, layers_of, mean_network
from weightgen.pairs.pixels import MANY, Pixels, edited, error_of, joined, trials_of
from zoo.closed_form import ERROR_DIGITS, POWER, shares_by_error
from zoo.gans.solved import SolvedGenerator

# of a training on all pairs that goes on from one on three quarters: its length and rates, as parts of the first one's
AGAIN = 0.3


@dataclass(frozen=True)
class Mixture:
    """A generator with branches.

    Attributes:
        weights: of the networks made from the pairs and of each branch; they sum to 1.
        error, solved_error: mean absolute errors on what was left out, of the mixture and of the first network, as of
            pictures in [0, 1].
        steps: of the training that its branches are of.
    """

    generator: SolvedGenerator
    weights: dict[str, float]
    error: float
    solved_error: float
    steps: int


def lengths(pairs: int) -> tuple[float, float]:
    """Return how long the trainings are that choose, all together, and the one on all pairs; 1 is the length asked for.

    Of few pairs each quarter is left out in turn: these trainings are half as long each as that of many pairs.
    """
    return (1.0, AGAIN) if pairs >= MANY else (2.0, 1.0)


def step_schedules(pairs: int, steps: int) -> list[Callable[[], Schedule]]:
    """Return the schedules of both trainings on so many pairs, of `steps` steps as their length is told."""
    return [partial(steps_of, max(1, round(steps * length))) for length in lengths(pairs)]


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
    turns = trials_of(pixels)
    schedule, taken, trials = schedules[0](), 0, []
    for number, (left_out, rest) in enumerate(turns):
        trial = remake(rest)
        learners = learners_of(trial, seed)
        taken += train(learners, rest, part_of(schedule, number, len(turns), taken), seed, stop)
        asked = joined(left_out)
        trials.append([*(edited(network, asked) for network in trial.values()), *(each(asked) for each in learners)])
        if stop():
            return None
    targets = torch.cat([p.targets for left_out, _ in turns for p in left_out])
    made_of = [torch.cat(part) for part in zip(*trials, strict=True)]
    names = [*trial, *(part.name for part in learners)]
    found = [round(float(error_of(part, targets)), ERROR_DIGITS) for part in made_of]
    errors = dict(zip(names, found, strict=True))
    origin = next((name for name, network in made.items() if network.branches), None)
    if origin is not None and errors[TUNED] <= errors[origin]:
        errors[origin] = math.inf  # what it became stands for it: a mean of both is hardly better, and twice as slow
    weights = shares_by_error(list(errors.values()), POWER)
    solved_error, error = (error_of(part, targets).item() for part in (made_of[0], blend(made_of, weights)))
    if not round(error, DIGITS) < round(solved_error, DIGITS):  # also for what is not a number
        return None
    named = {name: weight for name, weight in zip(names, weights, strict=True) if weight > 0}
    kept = learners_of(made, seed) if len(turns) > 1 else [continued(part) for part in learners]
    learners = [part for part in kept if part.name in named]
    steps = train(learners, pixels, schedules[1](), seed, stop) + (taken if len(turns) == 1 else 0)
    if stop():
        return None
    like = next(iter(made.values()))
    parts = [(layers_of(network), named[name]) for name, network in made.items() if name in named]
    parts += [(part.layers(like.bank.num_features), named[part.name]) for part in learners]
    mixture = mean_network(like, parts)
    return Mixture(mixture, {name: round(weight, DIGITS) for name, weight in named.items()}, error, solved_error, steps)


def continued(learner: Learner) -> Learner:
    """Return the same branches, to be trained on at smaller rates and for fewer steps."""
    steps = None if learner.steps is None else round(AGAIN * learner.steps)
    return replace(learner, rates=learner.rates.times(AGAIN), steps=steps)


def blend(edited: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Return the weighted mean of predictions [n, 3]."""
    return sum((weight * part for weight, part in zip(weights, edited, strict=True)), torch.zeros(()))
