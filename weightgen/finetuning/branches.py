"""Branches beside networks that are made from pairs, trained in seconds.

    learners = learners_of({"paired": generator}, seed=0)
    train(learners, pixels, steps_of(400), seed=0)

A solved layer is linear in fixed features, and some edits are not: a poster has steps of colour, a relief the rank of
a slope. Each branch (`zoo.gans.branches`) learns the whole edit on its own, by L1 from the pixels that the layer was
solved on. Those of a generated network (`weightgen.pairs`) are trained on, in small steps from where they are.
`weightgen.finetuning.mixture` decides what becomes of them.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from weightgen.pairs.means import Layers
from weightgen.pairs.pixels import Pixels, error_of
from zoo.gans.branches import READS, Branch
from zoo.gans.solved import SolvedGenerator

HIDDEN = 64
BATCH = 1024  # pixels of a step: four such steps teach more than one of 4,096, in the same time (docs/LOG.md)
TUNED = "tuned"  # the name of a generated network's branches
TUNED_STEPS = 300  # theirs, after which they gain little; new ones are worth nothing before (docs/LOG.md)
BETAS = (0.9, 0.99)

Schedule = Callable[[int], float]  # the number of steps done -> the share of the training that is done; 1 ends it


class Rates(NamedTuple):
    """Learning rates at the beginning of a training, of branches and of the output layer over them."""

    branches: float
    head: float

    def times(self, factor: float) -> Rates:
        """Return the rates times a factor."""
        return Rates(factor * self.branches, factor * self.head)


NEW_RATES, TUNED_RATES = Rates(2e-2, 1e-2), Rates(5e-3, 1.5e-3)


@dataclass(frozen=True, eq=False)
class Learner:
    """Branches in training, with an output layer of their own.

    Attributes:
        head: the output layer over the ReLUs of all of them.
        bank: an output layer over the bank that stays as it is, [F, 3]; None: the branches have to do all of the edit.
        steps: after so many its training is over; such learners come first, and the others have what is left.
    """

    name: str
    branches: Sequence[Branch]
    head: nn.Linear
    rates: Rates = NEW_RATES
    bank: Tensor | None = None
    steps: int | None = None

    @torch.no_grad()
    def __call__(self, pixels: Pixels) -> Tensor:
        """Return pixels edited, [n, 3] about [-1, 1]."""
        return self.edited(*self.reads(pixels))

    def groups(self) -> list[dict[str, Any]]:
        """Return what is trained, as groups of an optimizer with the highest rate of each."""
        branches = [own for branch in self.branches for own in branch.parameters()]
        parts = zip((branches, list(self.head.parameters())), self.rates, strict=True)
        return [{"params": parameters, "highest": rate} for parameters, rate in parts]

    def reads(self, pixels: Pixels) -> list[Tensor]:
        """Return what does not change in a training: each branch's inputs [n, width], then the bank's share [n, 3]."""
        inputs = [branch.inputs(pixels.maps) for branch in self.branches]
        share = torch.zeros_like(pixels.targets) if self.bank is None else pixels.features @ self.bank
        return [*inputs, share]

    @torch.no_grad()
    def layers(self, features: int) -> Layers:
        """Return the output layer over a bank of so many features, and over all branches."""
        bank = torch.zeros(features, 3) if self.bank is None else self.bank.clone()
        bank[-1] += self.head.bias  # the bank's last feature is 1
        heads = self.head.weight.T.chunk(len(self.branches))
        return Layers(bank, list(zip(self.branches, heads, strict=True)))

    def edited(self, *seen: Tensor) -> Tensor:
        """Return pixels edited, [n, 3] about [-1, 1], from what `reads` gives."""
        *inputs, share = seen
        relus = [branch.relus(own) for branch, own in zip(self.branches, inputs, strict=True)]
        return self.head(torch.cat(relus, 1)) + share


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


def learners_of(made: Mapping[str, SolvedGenerator], seed: int) -> list[Learner]:
    """Return new branches, and those of a generated network; each is the same whatever others there are."""
    generated = next((generator for generator in made.values() if generator.branches), None)
    hidden = HIDDEN if generated is None else generated.config.hidden
    learners = [fresh(name, hidden, seed) for name in READS]
    if generated is not None:
        bank, *heads = generated.layer_parts
        branches = copy.deepcopy(generated.branches).requires_grad_(True)
        head = head_of(torch.cat(heads))
        learners.append(Learner(TUNED, list(branches), head, TUNED_RATES, bank.clone(), TUNED_STEPS))
    return learners


def fresh(name: str, hidden: int, seed: int) -> Learner:
    """Return a branch that begins at even grey, whatever the pixel is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1000 * seed + list(READS).index(name))
        return Learner(name, [Branch(name, hidden)], head_of(torch.zeros(hidden, 3)))


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
    """Train each learner to give the targets; returns the number of steps."""
    brief = [part for part in learners if part.steps is not None]
    step = 0
    for together in (brief, [part for part in learners if part.steps is None]):
        if together and (step == 0 or schedule(step) < 1):  # a clock begins with the first step
            step = train_together(together, pixels, schedule, step, seed, stop)
    return step


def train_together(
    learners: Sequence[Learner],
    pixels: Sequence[Pixels],
    schedule: Schedule,
    first: int,
    seed: int,
    stop: Callable[[], bool],
) -> int:
    """Train learners side by side in the steps from `first` on; returns the number of the first step that is not done.

    Their rate falls to 0 along a cosine until the schedule, or what steps they have, ends.
    """
    optimizer = torch.optim.Adam([group for part in learners for group in part.groups()], betas=BETAS, fused=True)
    # what a step needs of the pixels, in an order in which it is a slice: to gather it costs more than to learn from it
    order = torch.randperm(sum(len(p.targets) for p in pixels), generator=torch.Generator().manual_seed(seed))
    targets = torch.cat([p.targets for p in pixels])[order]
    shown = [[torch.cat(rows)[order] for rows in zip(*map(part.reads, pixels), strict=True)] for part in learners]
    batches = max(1, len(order) // BATCH)
    most = min((part.steps for part in learners if part.steps is not None), default=math.inf)
    before = schedule(first)
    for step in count(first):
        done = schedule(step)
        if done >= 1 or step - first >= most or stop():
            return step
        part_done = max((done - before) / (1 - before), (step - first) / most)
        for group in optimizer.param_groups:
            group["lr"] = group["highest"] * 0.5 * (1 + math.cos(math.pi * part_done))
        batch = slice(step % batches * BATCH, (step % batches + 1) * BATCH)
        edited = [part.edited(*(rows[batch] for rows in own)) for part, own in zip(learners, shown, strict=True)]
        loss = torch.stack([error_of(each, targets[batch]) for each in edited]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    raise AssertionError("the schedule never ends")
