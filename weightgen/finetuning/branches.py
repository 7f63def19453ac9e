"""Branches beside networks that are made from pairs, trained in seconds.

    learners = learners_of({"paired": generator}, seed=0)
    train(learners, pixels, steps_of(400), seed=0)

A solved layer is linear in fixed features, and some edits are not: a poster has steps of colour, a relief the rank of
a slope. Each branch (`zoo.gans.branches`) learns the whole edit on its own, by L1 from the pixels that the layer was
solved on. The branch of a generated network (`weightgen.pairs`) is trained on too, in small steps from where it is.
`weightgen.finetuning.mixture` decides what becomes of them.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor, nn

from weightgen.pairs.means import Layers
from weightgen.pairs.pixels import Pixels, error_of
from zoo.gans.branches import READS, Branch
from zoo.gans.solved import SolvedGenerator

HIDDEN = 64
BATCH = 1024  # pixels of a step: four such steps teach more than one of 4,096, in the same time (docs/LOG.md)
LEARNING_RATE, TUNED_RATE = 1e-2, 2e-3  # of new branches, and of one that was generated
TUNED = "tuned"  # the name of the latter
BETAS = (0.9, 0.99)

Schedule = Callable[[int], float]  # the number of steps done -> the share of the training that is done; 1 ends it


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

    @torch.no_grad()
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

    @torch.no_grad()
    def layers(self, features: int) -> Layers:
        """Return the output layer over a bank of so many features, and over all branches."""
        bank = torch.zeros(features, 3) if self.bank is None else self.bank.clone()
        bank[-1] += self.head.bias  # the bank's last feature is 1
        return Layers(bank, [*self.beside, (self.branch, self.head.weight.T)])

    def edited(self, inputs: Tensor, share: Tensor | float = 0.0) -> Tensor:
        """Return pixels edited, [n, 3] about [-1, 1], from what `reads` gives."""
        return self.head(self.branch.relus(inputs)) + share


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
    """Return new branches, and that of a generated network, its last; each is the same whatever others there are."""
    generated = next((generator for generator in made.values() if generator.branches), None)
    hidden = HIDDEN if generated is None else generated.config.hidden
    learners = [fresh(name, hidden, seed) for name in READS]
    if generated is not None:
        bank, *heads = generated.layer_parts
        *beside, own = zip(generated.branches, heads, strict=True)
        branch = copy.deepcopy(own[0]).requires_grad_(True)
        learners.append(Learner(TUNED, branch, head_of(own[1]), TUNED_RATE, bank.clone(), tuple(beside)))
    return learners


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
