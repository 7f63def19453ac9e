"""Fine detail that the mean error does not ask for, as of paint and grain.

    detailed = with_texture(generator, pictures, pixels, steps_of(200))

The network of the least L1 draws what a photograph decides. Strokes and grain that it hardly decides come out smooth:
of oil paint at 512 px such a network kept 0.4 of the fine band's energy. So all that is learned is trained on, by L1
and by how far the deviation of the fine band is from the target's, on crops. A discriminator of patches, at weights of
0.02 to 0.1 of LSGAN beside L1, changed nothing in 400 steps (docs/LOG.md).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from itertools import count

import numpy as np
import torch
from torch import Tensor

from weightgen.finetuning.branches import BETAS, Schedule
from weightgen.pairs.pixels import Pixels, error_of
from zoo.adapters.lora import free_parameters
from zoo.gans.layers import leaky_clamp
from zoo.gans.solved import Seen, SolvedGenerator
from zoo.pictures.metrics import fine_band
from zoo.training.solved_outputs import OUTPUT

BATCH = 4096  # pixels of a step, beside its crops
CROP, CROPS_OF_A_PAIR, CROPS_OF_A_STEP = 40, 8, 3  # side in pixels
LEARNING_RATE, OUTPUT_RATE = 3e-3, 0.2
WEIGHT = 1.0  # of the deviation beside L1
SMALL = 1e-6  # keeps roots differentiable

Crops = tuple[Tensor, Tensor]  # maps [n, CROP * CROP, channels] and targets [n, 3, CROP, CROP] in [0, 1]


def with_texture(
    generator: SolvedGenerator,
    pictures: Sequence[tuple[Tensor, Tensor]],
    pixels: Sequence[Pixels],
    schedule: Schedule,
    seed: int = 0,
    stop: Callable[[], bool] = lambda: False,
) -> SolvedGenerator:
    """Return a copy of a generator that was trained on, by L1 and by the deviation of the fine band.

    Args:
        pictures: source and target of each pair, [3, H, W] in [0, 1], no side shorter than `CROP`.
        pixels: of the same pairs.
        stop: asked before each step; training ends where it says True.
    """
    network = copy.deepcopy(generator)
    found = [crops_of(network, *pair, np.random.default_rng([seed, k])) for k, pair in enumerate(pictures)]
    crops = torch.cat([maps for maps, _ in found]), torch.cat([targets for _, targets in found])
    seen = Seen(torch.cat([p.maps for p in pixels]), torch.cat([p.features for p in pixels]))
    targets = torch.cat([p.targets for p in pixels])
    learned = {name: value.requires_grad_() for name, value in free_parameters(network).items()}
    rates = {name: LEARNING_RATE * (OUTPUT_RATE if name == OUTPUT else 1) for name in learned}
    groups = [{"params": [value], "lr": rates[name]} for name, value in learned.items()]
    optimizer = torch.optim.Adam(groups, betas=BETAS)
    draw = torch.Generator().manual_seed(seed)
    for step in count():
        done = schedule(step)
        if done >= 1 or stop():
            break
        for group, rate in zip(optimizer.param_groups, rates.values(), strict=True):
            group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * done))
        chosen = torch.randint(len(targets), (BATCH,), generator=draw)
        loss = error_of((network.pixels(Seen(*(part[chosen] for part in seen))) - 0.5) * 2, targets[chosen])
        some = torch.randint(len(crops[0]), (CROPS_OF_A_STEP,), generator=draw)
        loss = loss + crop_loss(network, (crops[0][some], crops[1][some]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.requires_grad_(False)


def crop_loss(network: SolvedGenerator, crops: Crops) -> Tensor:
    """Return L1 and the difference of the fine bands' deviations, on crops."""
    maps, targets = crops
    edited = leaky_clamp(network.pixels(network.see(maps))).transpose(-1, -2).unflatten(-1, targets.shape[-2:])
    own, wanted = (deviation(fine_band(pictures)) for pictures in (edited, targets))
    return (edited - targets).abs().mean() + WEIGHT * (own - wanted).abs()


def deviation(pictures: Tensor) -> Tensor:
    """Return the root of the mean square of each picture [N, 1, H, W], its mean over all of them."""
    return (pictures.square().mean((-1, -2)) + SMALL).sqrt().mean()


@torch.no_grad()
def crops_of(generator: SolvedGenerator, source: Tensor, target: Tensor, rng: np.random.Generator) -> Crops:
    """Return crops of one pair of pictures [3, H, W]."""
    height, width = source.shape[-2:]
    corner = torch.arange(CROP)[:, None] * width + torch.arange(CROP)
    places = [
        int(rng.integers(height - CROP + 1)) * width + int(rng.integers(width - CROP + 1)) + corner.flatten()
        for _ in range(CROPS_OF_A_PAIR)
    ]
    chosen = torch.cat(places)
    maps = generator.maps_of(source, chosen).unflatten(0, (CROPS_OF_A_PAIR, -1))
    targets = target.flatten(1)[:, chosen].unflatten(1, (CROPS_OF_A_PAIR, CROP, CROP)).transpose(0, 1)
    return maps, targets.contiguous()
