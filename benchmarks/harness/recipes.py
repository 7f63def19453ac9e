"""Trainings of image-to-image networks on a user's pairs, stopped by the clock: ours, pix2pix as published, `modulaic`.

    clock = Clock([10, 600], lambda seconds, edit: ...)
    RECIPES["pix2pix"](pairs, clock, seed=0)      # measured after 10 s of training, and after 600 s, when it ends

Each gets the same squares of pairs. Reading and measuring them is not on the clock, nor is what else the machine does:
the peers' clock counts the processor's seconds, by thread. Ours ends by the clock on the wall, as a user's does, so on
a busy machine it has less.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.harness.machine import EMBEDDED_MODEL
from weightgen.finetuning.closed_forms import CLOSED_FORMS
from weightgen.finetuning.solved import solve_pairs
from weightgen.pairs.generate import reader_in
from zoo.errors import WeightzooError
from zoo.files import write_json
from zoo.gans.patchgan import pix2pix_70x70
from zoo.gans.pix2pix import Pix2pixConfig
from zoo.pictures.apply import load_network
from zoo.pictures.pairs import write_pairs

Edit = Callable[[Tensor], Tensor]  # pictures [N, 3, S, S] in [0, 1] -> the same
RATE, BETAS, L1_WEIGHT = 2e-4, (0.5, 0.999), 100.0  # of pix2pix, for pictures in [-1, 1]
JITTER = 286 / 256  # pictures are enlarged by this, and cut to their size at a random place


@dataclass(frozen=True)
class Squares:
    """Pairs to train on and to measure on, [N, 3, S, S] in [0, 1] each."""

    sources: Tensor
    targets: Tensor
    test_sources: Tensor
    test_targets: Tensor

    @property
    def size(self) -> int:
        return self.sources.shape[-1]


class TimeIsUp(Exception):
    """Ends a training from within."""


def processor_seconds() -> float:
    """Return the seconds that this process has computed for, as if all its threads had computed all the time."""
    return time.process_time() / torch.get_num_threads()


class Clock:
    """The processor's seconds of a training, which stand still while it is measured."""

    def __init__(self, marks: Sequence[float], measure: Callable[[float, Edit], None]) -> None:
        """Begin now.

        Args:
            marks: seconds after which it is measured; the last of them ends it.
            measure: called with a mark and what edits pictures by then.
        """
        self.marks, self.measure, self.steps = sorted(marks), measure, 0
        self.end = self.marks[-1]
        self.restart()

    def restart(self) -> None:
        """Begin now."""
        self.started = processor_seconds()

    @property
    def seconds(self) -> float:
        return processor_seconds() - self.started

    @property
    def share(self) -> float:
        """How much of the training is done, from 0 to 1."""
        return min(1.0, self.seconds / self.end)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Let no time pass."""
        now = processor_seconds()
        yield
        self.started += processor_seconds() - now

    def tick(self, edit: Edit) -> None:
        """Measure if a mark has passed.

        Raises:
            TimeIsUp: it was the last one.
        """
        while self.marks and self.seconds >= self.marks[0]:
            with self.stopped():
                self.measure(self.marks.pop(0), edit)
        if not self.marks:
            raise TimeIsUp


@contextmanager
def until_time_is_up() -> Iterator[None]:
    """Run a training that `Clock.tick` ends."""
    try:
        yield
    except TimeIsUp:
        pass


def editing(generator: nn.Module, low: float = 0.0) -> Edit:
    """Return what edits pictures one by one with a network that may be trained on.

    Args:
        low: the darkest value of the network's pictures; the brightest is 1.
    """

    @torch.no_grad()
    def edit(pictures: Tensor) -> Tensor:
        training = generator.training
        generator.eval()
        span = 1 - low
        edited = [generator(one * span + low) for one in pictures.split(1)]
        generator.train(training)
        return ((torch.cat(edited) - low) / span).clamp(0, 1)

    return edit


def ours(pairs: Squares, clock: Clock, seed: int) -> None:
    """Train as `weightzoo finetune --pairs DIR --seconds S` does, anew for each mark: its schedule ends there.

    At the mark 0 nothing is trained: the network is what `weightzoo generate --pairs DIR` makes.
    """
    reader = reader_in(EMBEDDED_MODEL)
    with TemporaryDirectory() as folder:
        train = Path(folder) / "train"
        write_folder(train, pairs.sources, pairs.targets)
        for mark in list(clock.marks):
            out = Path(folder) / f"{mark:g}"
            clock.restart()
            # test pairs have a say in what is handed over: they are the training pairs here
            length: dict[str, Any] = {"seconds": mark} if mark else {"steps": 0}
            summary = solve_pairs(train, out, test_pairs=train, seed=seed, reader=reader, **length)
            clock.steps = summary["steps"]
            clock.measure(mark, editing(load_network(out)))


def write_folder(path: Path, sources: Tensor, targets: Tensor) -> list[str]:
    """Write pairs as a user has them and return their names."""
    names = [f"{k:03d}" for k in range(len(sources))]
    write_pairs(path, names, sources, targets)
    return names


def pix2pix(pairs: Squares, clock: Clock, seed: int, adversarial: str = "bce") -> None:
    """Train pix2pix as published (Isola et al., CVPR 2017), with the time in place of 200 epochs.

    A U-Net of 64 filters and a 70x70 PatchGAN, Adam of 2e-4, batches of one, binary cross-entropy (or least squares)
    and 100 times L1, random jitter and mirroring; the rate falls to 0 over the second half.
    """
    torch.manual_seed(seed)
    generator, discriminator = Pix2pixConfig(pairs.size).build(), pix2pix_70x70().build()
    optimizers = [torch.optim.Adam(network.parameters(), RATE, BETAS) for network in (generator, discriminator)]
    distance = F.binary_cross_entropy_with_logits if adversarial == "bce" else F.mse_loss

    def judged(source: Tensor, image: Tensor, real: float) -> Tensor:
        logits = discriminator(source, image)
        return distance(logits, torch.full_like(logits, real))

    def step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        optimizer.param_groups[0]["lr"] = RATE * min(1.0, 2 * (1 - clock.share))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    order: list[int] = []
    with until_time_is_up():
        for clock.steps in count():
            clock.tick(editing(generator))
            order = order or torch.randperm(len(pairs.sources)).tolist()
            source, target = jittered(torch.stack([x[order[-1]] for x in (pairs.sources, pairs.targets)]))
            order.pop()
            fake = generator(source)
            step(optimizers[1], (judged(source, fake.detach(), 0.0) + judged(source, target, 1.0)) / 2)
            # pictures are in [0, 1] here, where errors are half of those in [-1, 1]
            step(optimizers[0], judged(source, fake, 1.0) + 2 * L1_WEIGHT * F.l1_loss(fake, target))


def jittered(pair: Tensor) -> tuple[Tensor, Tensor]:
    """Return source and target [1, 3, S, S] of a pair [2, 3, S, S], moved and mirrored at random, both alike."""
    size = pair.shape[-1]
    larger = round(size * JITTER)
    big = F.interpolate(pair, (larger, larger), mode="bicubic", align_corners=False).clamp(0, 1)
    top, left = torch.randint(larger - size + 1, (2,)).tolist()
    cut = big[..., top : top + size, left : left + size]
    source, target = (cut.flip(-1) if bool(torch.rand(()) < 0.5) else cut).split(1)
    return source, target


def modulaic(pairs: Squares, clock: Clock, seed: int) -> None:
    """Train with `modulaic`'s own trainer, networks and settings, without a condition."""
    try:
        from modulaic.config import ExperimentConfig
        from modulaic.data import PairedConditionalDataset
        from modulaic.models import ConditionalUNetGenerator, ConditioningStrategy, PatchDiscriminator
        from modulaic.training import GANLossConfig, GANTrainer
    except ImportError:
        raise WeightzooError("modulaic is not installed; run: pip install --no-deps modulaic==0.1.0 pyyaml") from None
    config = ExperimentConfig()
    torch.manual_seed(seed)
    generator = ConditionalUNetGenerator(
        3,
        3,
        depth=config.model.depth,
        base_channels=config.model.base_channels,
        max_channels=config.model.max_channels,
        norm=config.model.norm,
        conditioning_strategy=ConditioningStrategy.NONE,
    )
    edit = editing(generator, low=-1.0)

    class Timed(PairedConditionalDataset):
        def __getitem__(self, index: int) -> Any:
            clock.tick(edit)
            return super().__getitem__(index)

    discriminator = PatchDiscriminator(
        3, config.model.discriminator_base_channels, config.model.discriminator_num_layers
    )
    losses = GANLossConfig(config.loss.adversarial, config.loss.reconstruction, config.loss.reconstruction_weight)
    rates = config.optimization.lr_generator, config.optimization.lr_discriminator
    betas = config.optimization.beta1, config.optimization.beta2
    trainer = GANTrainer(generator, discriminator, losses, *rates, betas, device="cpu")
    trainer.opt_g.register_step_post_hook(lambda *_: setattr(clock, "steps", clock.steps + 1))
    with TemporaryDirectory() as folder:
        manifest = Path(folder) / "manifest.json"
        with clock.stopped():
            names = write_folder(Path(folder) / "pairs", pairs.sources, pairs.targets)
            rows = [{"input": f"pairs/source/{n}.png", "target": f"pairs/target/{n}.png"} for n in names]
            write_json(manifest, {"examples": [row | {"condition": [0.0]} for row in rows]})
        with until_time_is_up():
            trainer.fit(Timed(manifest), epochs=1 << 30, batch_size=config.training.batch_size)


def closed_form(name: str, pairs: Squares, clock: Clock) -> None:
    """Solve a closed form without a network, which takes what it takes."""
    clock.restart()
    generator = CLOSED_FORMS[name](list(zip(pairs.sources, pairs.targets, strict=True)))
    clock.measure(clock.end, editing(generator))


RECIPES: dict[str, Callable[[Squares, Clock, int], None]] = {
    "ours": ours,
    "plain": lambda pairs, clock, seed: closed_form("closed-form-plain", pairs, clock),
    "colour": lambda pairs, clock, seed: closed_form("closed-form-colour", pairs, clock),
    "modulaic": modulaic,
    "pix2pix": pix2pix,
    "pix2pix-lsgan": lambda pairs, clock, seed: pix2pix(pairs, clock, seed, "lsgan"),
}
