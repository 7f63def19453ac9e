"""Generators solved on example pairs: ours, and what ours is to be compared with.

    generator = CLOSED_FORMS["closed-form-plain"]([(source, target), ...])    # pictures [3, H, W] in [0, 1], any size
    edited = generator(photographs)                                           # [N, 3, H, W]

- `closed-form`: the layer that `weightzoo finetune --pairs DIR` begins with, pulled to the learned prior.
- `closed-form-trained`: what it hands over, with the branches that are trained beside the layer.
- `closed-form-plain`: the closed form without a network. The bank's ReLUs are random and nothing is learned before: a
  ridge regression whose penalty is chosen by folds over pictures, or over parts of them where there are few.
- `closed-form-colour`: the same on the features of a pixel's colour alone, the measure for edits of colour.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from weightgen.finetuning.mixture import mix_branches, step_schedules
from weightgen.finetuning.solved import FEWEST_PAIRS, STEPS
from weightgen.pairs.closed_form import Pictures, Start, load_prior, sampled, scale_of, start_of, with_layer
from weightgen.pairs.pixels import Pixels
from zoo.closed_form import FACTORS, TO_PRIOR, Prior, Pull, fit_output_layer, mean_layer
from zoo.gans.feature_bank import CHANNELS, COLOURS, FeatureBank
from zoo.gans.solved import PENALTY, SolvedConfig, SolvedGenerator
from zoo.gram import Rows

PLAIN, TRAINED = "closed-form-plain", "closed-form-trained"
SEED = 3  # of the random ReLUs
PROBES = 256
PLAIN_FACTORS = (0.03, *FACTORS, 30.0)  # nothing is known of its penalty beforehand


def learned(pictures: Pictures) -> tuple[Start, list[Pixels]]:
    """Return the start whose layer is pulled to the learned prior, as `weightzoo finetune` solves it."""
    prior = load_prior(scale_of(pictures))
    pixels = sampled(prior, pictures, seed=0)
    return start_of(prior, pixels), pixels


def trained(start: Start, pixels: Sequence[Pixels], steps: int = STEPS) -> SolvedGenerator:
    """Return what `weightzoo finetune` hands over after so many steps of each training of branches."""
    if len(pixels) < FEWEST_PAIRS:
        return start.generator
    found = mix_branches(start.made(), start.remake, pixels, step_schedules(len(pixels), steps))
    return start.generator if found is None else found.generator


@torch.no_grad()
def plain(pictures: Pictures, colour_only: bool = False) -> tuple[Start, list[Pixels]]:
    """Return the start of a ridge regression on fixed features; each is penalised by its mean square.

    Branches can be trained from it as from a learned one.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        generator = SolvedConfig(image_size=scale_of(pictures)).build().requires_grad_(False).eval()
    generator.mean.zero_()
    pixels = sampled(generator, pictures, seed=0)
    columns = colour_columns(generator.bank) if colour_only else torch.arange(generator.bank.num_features)
    scale = torch.stack([p.features[:, columns].square().mean(0) for p in pixels]).mean(0).clamp_min(1e-4)
    zero = torch.zeros(len(columns), 3)
    prior = Prior(zero, (scale * PENALTY).log(), torch.zeros(len(columns)))

    def rows(some: Sequence[Pixels]) -> list[Rows]:
        return [(p.features[:, columns], p.targets) for p in some]

    def network(found: Tensor) -> SolvedGenerator:
        layer = torch.zeros(generator.bank.num_features, 3)
        layer[columns] = found
        return with_layer(generator, layer)

    fit = fit_output_layer(rows(pixels), prior, [Pull(TO_PRIOR, factor) for factor in PLAIN_FACTORS])

    def remake(some: Sequence[Pixels]) -> dict[str, SolvedGenerator]:
        return {PLAIN: network(mean_layer(rows(some), prior, fit.choice.shares))}

    return Start(PLAIN, network(fit.layer), fit.choice, {PLAIN: fit.choice.error}, remake), pixels


def colour_columns(bank: FeatureBank) -> Tensor:
    """Return which features of a pixel hang on nothing but its colour, [n]."""
    generator = torch.Generator().manual_seed(0)
    rows, others = (torch.rand(PROBES, CHANNELS, generator=generator) * 2 - 1 for _ in range(2))
    others[:, :COLOURS] = rows[:, :COLOURS]
    return (bank.expand(rows) == bank.expand(others)).all(0).nonzero()[:, 0]


CLOSED_FORMS: dict[str, Callable[[Pictures], SolvedGenerator]] = {
    "closed-form-colour": lambda pictures: plain(pictures, colour_only=True)[0].generator,
    PLAIN: lambda pictures: plain(pictures)[0].generator,
    "closed-form": lambda pictures: learned(pictures)[0].generator,
    TRAINED: lambda pictures: trained(*learned(pictures)),
}
