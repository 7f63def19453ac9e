"""Branches beside networks that are made from pairs: trained in seconds, mixed in as left-out pairs say.

    found = mix_branches({"closed-form": generator}, remake, pixels, [partial(steps_of, 400)] * 2)
    found.generator, found.weights       # {"closed-form": 0.3, "local": 0.7}; None where no branch helps

A solved layer is linear in fixed features, and some edits are not: a poster has steps of colour, a relief the rank of
a slope. Each branch (`zoo.gans.branches`) learns the whole edit on its own, by L1 from the pixels that the layer was
solved on. The branch of a generated network (`weightgen.pairs`) is trained on too, in small steps from where it is.
What each is worth on other photographs is measured on pairs that are left out of solve and training: a quarter of
many, of few each quarter in turn, because a single one may be of photographs unlike the others. The result is a
weighted mean, in which the better ones weigh more, with all parts made again from all pairs. It is one network: its
output layer is linear in the bank and in the branches' ReLUs.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

import torch
from torch import Tensor, nn

from zoo.gans.branches import READS, Branch
from zoo.gans.layers import leaky_clamp
from zoo.gans.solved import Seen, SolvedGenerator, assembled

QUARTERS = 4  # in so many turns each picture is left out once
MANY = 12  # pairs of which one quarter says enough
HIDDEN = 64
BATCH = 1024  # pixels of a step: four such steps teach more than one of 4,096, in the same time (docs/LOG.md)
LEARNING_RATE, TUNED_RATE = 1e-2, 2e-3  # of new branches, and of one that was generated
TUNED = "tuned"  # the name of the latter
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


@dataclass(frozen=True, eq=False)
class Learner:
    """A branch in training, with an output layer of its own.

    Attributes:
        bank: an output layer over the bank that stays as it is, [F, 3]; None: the branch has to do all of the edit.
        beside: branches that stay as they are too, and the output layer over each, [hidden, 3].
    """

    name: str
    branch: Branch
    head: nn.Linear
    rate: float = LEARNING_RATE
    bank: Tensor | None = None
    beside: tuple[tuple[Branch, Tensor], ...] = ()

    def __call__(self, pixels: Pixels) -> Tensor:
        """Return pixels edited, [n, 3] about [-1, 1]."""
        return self.edited(*self.reads(pixels))

    def reads(self, pixels: Pixels) -> list[Tensor]:
        """Return what does not change in a training: the branch's inputs [n, width], and the others' share [n, 3]."""
        inputs = self.branch.inputs(pixels.maps)
        if self.bank is None:
            return [inputs]
        with torch.no_grad():
            share = sum((branch(pixels.maps) @ head for branch, head in self.beside), pixels.features @ self.bank)
        return [inputs, share]

    def edited(self, inputs: Tensor, share: Tensor | float = 0.0) -> Tensor:
        """Return pixels edited, [n, 3] about [-1, 1], from what `reads` gives."""
        return self.head(self.branch.relus(inputs)) + share


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


def steps_of(total: int) -> Schedule:
    """Return the schedule of a training of `total` steps."""
    return lambda step: step / total


def seconds_of(total: float) -> Schedule:
    """Return the schedule of a training that ends `total` seconds after its first step begins.

    What comes before that, such as loading torch's optimizers, can take all of a short training on a busy machine.
    """
    started: list[float] = []

    def done(step: int) -> float:
        if not started:
            started.append(time.perf_counter())
        return (time.perf_counter() - started[0]) / total

    return done


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
        trials.append([outputs(part, asked) for part in (*trial.values(), *learners)])
        if stop():
            return None
    targets = torch.cat([p.targets for left_out, _ in parts for p in left_out])
    edited = [torch.cat(part) for part in zip(*trials, strict=True)]
    weights = mixed(torch.stack([error_of(part, targets) for part in edited]))
    solved_error, error = (error_of(part, targets).item() for part in (edited[0], blend(edited, weights)))
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


def joined(pixels: Sequence[Pixels]) -> Pixels:
    """Return the pixels of several pairs as those of one."""
    return Pixels(*(torch.cat(parts) for parts in zip(*pixels, strict=True)))


def trials_of(pixels: Sequence[Pixels]) -> list[tuple[list[Pixels], list[Pixels]]]:
    """Return pairs to leave out and the others: a quarter of many, of few each quarter in turn, or each pair."""
    turns = range(min(QUARTERS, len(pixels)))
    parts = [
        (list(pixels[turn::QUARTERS]), [p for k, p in enumerate(pixels) if k % QUARTERS != turn]) for turn in turns
    ]
    return parts[-1:] if len(pixels) >= MANY else parts


def learners_of(made: Mapping[str, SolvedGenerator], seed: int) -> list[Learner]:
    """Return new branches, and that of a generated network, its last; each is the same whatever others there are."""
    generated = next((generator for generator in made.values() if generator.branches), None)
    hidden = HIDDEN if generated is None else generated.config.hidden
    learners = [fresh(name, hidden, seed) for name in READS]
    if generated is not None:
        bank, *heads = parts_of(generated)
        *beside, own = zip(generated.branches, heads, strict=True)
        branch = copy.deepcopy(own[0]).requires_grad_(True)
        learners.append(Learner(TUNED, branch, head_of(own[1]), TUNED_RATE, bank.clone(), tuple(beside)))
    return learners


def parts_of(generator: SolvedGenerator) -> Sequence[Tensor]:
    """Return the output layer over the bank [F, 3], and over each branch [hidden, 3]."""
    widths = [generator.config.hidden] * len(generator.branches)
    return generator.layer.split([generator.bank.num_features, *widths])


def fresh(name: str, hidden: int, seed: int) -> Learner:
    """Return a branch that begins at even grey, whatever the pixel is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1000 * seed + list(READS).index(name))
        return Learner(name, Branch(name, hidden), head_of(torch.zeros(hidden, 3)))


def head_of(weight: Tensor) -> nn.Linear:
    """Return an output layer without bias over ReLUs, from its weight [hidden, 3]."""
    head = nn.utils.skip_init(nn.Linear, *weight.shape)
    with torch.no_grad():
        head.weight.copy_(weight.T)
    nn.init.zeros_(head.bias)
    return head


def train(
    learners: Sequence[Learner],
    pixels: Sequence[Pixels],
    schedule: Schedule,
    seed: int,
    stop: Callable[[], bool] = lambda: False,
) -> int:
    """Train each branch with its output layer to give the targets; returns the number of steps."""
    groups = [{"params": [*part.branch.parameters(), *part.head.parameters()], "lr": part.rate} for part in learners]
    if not groups:
        return 0
    optimizer = torch.optim.Adam(groups, betas=BETAS, fused=True)
    # what a step needs of the pixels, in an order in which it is a slice: to gather it costs more than to learn from it
    order = torch.randperm(sum(len(p.targets) for p in pixels), generator=torch.Generator().manual_seed(seed))
    targets = torch.cat([p.targets for p in pixels])[order]
    shown = [[torch.cat(rows)[order] for rows in zip(*map(part.reads, pixels), strict=True)] for part in learners]
    batches = max(1, len(order) // BATCH)
    for step in count():
        done = schedule(step)
        if done >= 1 or stop():
            return step
        for group, part in zip(optimizer.param_groups, learners, strict=True):
            group["lr"] = part.rate * 0.5 * (1 + math.cos(math.pi * done))
        batch = slice(step % batches * BATCH, (step % batches + 1) * BATCH)
        edited = [part.edited(*(rows[batch] for rows in own)) for part, own in zip(learners, shown, strict=True)]
        loss = torch.stack([error_of(each, targets[batch]) for each in edited]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    raise AssertionError("the schedule never ends")


def error_of(edited: Tensor, targets: Tensor) -> Tensor:
    """Return the mean absolute error of pixels [n, 3] in [-1, 1], as of pictures in [0, 1]."""
    return (leaky_clamp(edited / 2 + 0.5) - (targets / 2 + 0.5)).abs().mean()


@torch.no_grad()
def outputs(part: SolvedGenerator | Learner, pixels: Pixels) -> Tensor:
    """Return what a network or a branch makes of pixels, [n, 3] about [-1, 1]."""
    if isinstance(part, Learner):
        return part(pixels)
    return part.pixels(Seen(pixels.maps, pixels.features)) * 2 - 1


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
        own, *rest = (weights[name] * part for part in parts_of(generator))
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
