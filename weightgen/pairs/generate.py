"""Pairs -> network: read what the pairs say, generate the network that does it, and solve its output layer on them.

    reader = PairReader(load_model_folder("paired/"))
    start = reader.generate([(before, after), ...], ["a charcoal drawing"])     # pictures [3, H, W] in [0, 1]
    start.generator(photographs)                        # [N, 3, H, W], a `zoo.gans.solved` network
    start.shares                                        # {"paired": 0.8, "closed-form": 0.2}

The pairs decide: the closed form alone, without a generated network, is what the pairs give by themselves. With four
pairs or more both are made from three quarters of them, of few pairs four times, and measured on the rest. Of fewer
pairs no whole one can be left out, and parts of them are. The network is the mean of both, made from all pairs, and the
one that is nearer to what was left out weighs more. So a prompt that contradicts the pairs does no harm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from weightgen.model_folder import ModelFolder, load_model_folder
from weightgen.model_roles import PAIRED, find_best
from weightgen.objective import one_step
from weightgen.pairs.closed_form import (
    CLOSED_FORM,
    SOLVED_ON,
    Pictures,
    Start,
    sampled,
    scale_of,
    solved_layer,
    thinned,
)
from weightgen.pairs.description import Edits, Reading
from weightgen.pairs.means import DIGITS, layers_of, mean_network, shares_by_error
from weightgen.pairs.pixels import Pixels, edited, error_of, joined, trials_of
from weightgen.text import TextEncoder, load_text_encoder, no_text
from zoo.adapters.lora import Adapter, load_base, merge_tensors
from zoo.closed_form import ERROR_DIGITS, FEWEST_PICTURES, Fit, Prior, Pull, fit_output_layer, pulls_for
from zoo.errors import WeightzooError
from zoo.gans.solved import Seen, SolvedGenerator, assembled
from zoo.progress import working
from zoo.training.optimizer_state import under
from zoo.training.solved_outputs import OUTPUT

TRIAL_PIXELS = 1 << 12  # of all pairs together that the two ways are compared on
REMADE_ON = 1 << 13  # of these: what is made of some pairs for a trained network to be compared with
READ_PIXELS = 1 << 13  # of all pairs together that the description is made from; twice what training shows
# shares fall with this power of the error, and the closed form's error counts this many times: where both are equal on
# what is left out, the generated network is better on further pictures (docs/LOG.md)
POWER, LEAD = 10, 1.1
WAYS = (PAIRED, CLOSED_FORM)  # as `weightzoo finetune --init` calls them


class Solved(NamedTuple):
    """A network whose output layer is solved, and how."""

    generator: SolvedGenerator
    fit: Fit


class PairReader:
    """A model that reads pairs, and its base.

    Raises:
        WeightzooError: a model that reads text alone.
    """

    def __init__(self, model: ModelFolder) -> None:
        base = load_base(model.base_generator_path)
        pairs = getattr(model.denoiser, "pairs", None)
        if pairs is None or not isinstance(base, SolvedGenerator):
            raise WeightzooError(
                f"{model.path} reads no pairs; use a model of `weightzoo polish MODEL --pairs`, or the embedded one"
            )
        self.model, self.base, self.pairs = model, base, pairs
        self.reading = Reading(base, model.layout, pairs.root)

    def prior_network(self, image_size: int) -> SolvedGenerator:
        """Return the network of the learned prior: the bank alone, before any pair is seen."""
        return assembled(self.base, (), self.base.prior.mean, image_size)

    @property
    def encoder(self) -> TextEncoder:
        """Return the encoder of the model's texts."""
        return load_text_encoder(self.model.text_encoder_name)

    def generate(self, pictures: Pictures, prompts: Sequence[str] = (), seed: int = 0) -> Start:
        """Return the network of pairs.

        Args:
            pictures: (source, target) of each pair, [3, H, W] in [0, 1]; the sizes of pairs may differ.
            prompts: wordings of the edit; without any the pairs alone are read.
            seed: of the pixels.
        """
        return self.start(sampled(self.base, pictures, seed, SOLVED_ON), prompts, scale_of(pictures))

    def start(self, pixels: Sequence[Pixels], prompts: Sequence[str], image_size: int) -> Start:
        """Return the mean of the generated network and the closed form, by how near they are to what is left out.

        Args:
            image_size: short side of the pairs, pixels.
        """
        pixels = thinned(pixels)

        def make(by: str, some: Sequence[Pixels] = pixels, rounds: int | None = None) -> Solved:
            if by == PAIRED:
                return self.generated(some, prompts, image_size, rounds)
            return self.closed_form(some, image_size, rounds)

        made: dict[str, Solved] = {}
        if len(pixels) >= FEWEST_PICTURES:
            sums = dict.fromkeys(WAYS, 0.0)
            trials = trials_of(thinned(pixels, TRIAL_PIXELS))
            for left_out, rest in trials:
                for by in WAYS:  # without rounds, which are worth the same to both and cost most of the time
                    sums[by] += error_on(left_out, make(by, rest, rounds=0).generator)
            errors = {by: round(error / len(trials), ERROR_DIGITS) for by, error in sums.items()}
        else:
            made = {by: make(by) for by in WAYS}
            errors = {by: solved.fit.error for by, solved in made.items()}
        shares = shares_of_ways(errors)
        first, *_ = shares
        made |= {by: make(by) for by in shares if by not in made}

        def remake(some: Sequence[Pixels]) -> dict[str, SolvedGenerator]:
            # as they are compared: to make them as well as from all pairs would take half of ten seconds
            again = {by: make(by, thinned(some, REMADE_ON), rounds=0) for by in WAYS}
            return {first: mean_of(again, shares), **{by: again[by].generator for by in WAYS if by != first}}

        def others() -> dict[str, SolvedGenerator]:
            return {by: (made.get(by) or make(by)).generator for by in WAYS if by != first}

        return Start(first, mean_of(made, shares), made[first].fit, errors, remake, others, shares)

    @torch.no_grad()
    def closed_form(self, pixels: Sequence[Pixels], image_size: int, rounds: int | None = None) -> Solved:
        """Return the closed form on the bank alone, pulled to the learned prior."""
        fit = solved_layer(self.base, pixels, rounds)
        return Solved(assembled(self.base, (), fit.layer, image_size), fit)

    @torch.no_grad()
    def generated(
        self, pixels: Sequence[Pixels], prompts: Sequence[str], image_size: int, rounds: int | None = None
    ) -> Solved:
        """Return the generated network with its output layer solved on the pairs."""
        return self.solved(self.read(pixels), pixels, prompts, image_size, rounds)

    @torch.no_grad()
    def solved(
        self, edits: Edits, pixels: Sequence[Pixels], prompts: Sequence[str], image_size: int, rounds: int | None = None
    ) -> Solved:
        """Return the network of what was read, with its output layer solved on pairs.

        Args:
            rounds: see `zoo.closed_form.fit_output_layer`.
        """
        adapter = self.adapter(edits, prompts)
        own = {name: value[None] for name, value in adapter.items()}
        rows = [
            (torch.cat([self.pairs.features(Seen(*p[:2])), self.reading.hidden(p.maps, own)[0]], 1), p.targets)
            for p in thinned(pixels)
        ]
        prior = self.prior(edits, adapter, len(pixels))
        pulls = pulls_for(len(pixels), prior) if len(pixels) >= FEWEST_PICTURES else [Pull(prior.mean, 1.0)]
        fit = fit_output_layer(rows, prior, pulls, rounds)
        merged = merge_tensors(self.base.state_dict() | adapter)
        branches = [(branch.name, branch.state_dict()) for branch in self.pairs.shared]
        branches += [(name, under(f"branches.{k}", merged)) for k, name in enumerate(self.base.config.branches)]
        return Solved(assembled(self.base, branches, fit.layer, image_size), fit)

    def read(self, pixels: Sequence[Pixels]) -> Edits:
        """Return what pairs say of the edit."""
        shown = joined(thinned(pixels, READ_PIXELS))
        return self.reading.describe(Seen(shown.maps, shown.features), shown.targets[None], len(pixels))

    @torch.no_grad()
    def adapter(self, edits: Edits, prompts: Sequence[str]) -> Adapter:
        """Return the generated weights for what was read and for the mean over the prompts."""
        model = self.model
        text = self.encoder.encode(list(prompts)) if prompts else no_text(model.denoiser.settings["text_width"])
        several = Edits(*(part.expand(len(text), *part.shape[1:]) for part in (edits.blocks, edits.facts)))
        blocks = one_step(model.denoiser, text, target=model.target, edits=several).mean(0, keepdim=True)
        adapters = model.layout.from_blocks(model.statistics.denormalize(blocks))
        return {name: value[0] for name, value in adapters.items()}

    def prior(self, edits: Edits, adapter: Adapter, pairs: int) -> Prior:
        """Return what the output layer is pulled to, and how hard for this number of pairs."""
        shared, own = self.pairs.log_penalties(edits.facts, pairs)
        penalty = torch.cat([shared, own[0]])
        return Prior(self.pairs.centre(adapter[OUTPUT].T[None])[0], penalty, torch.zeros_like(penalty))


def reader_in(folder: str | Path) -> PairReader | None:
    """Return the reader of the model in a folder, of several in it of the one trained furthest; None: it reads none."""
    role, path = find_best(folder)
    if role != PAIRED:
        return None
    with working("loading the weight generator"):
        return PairReader(load_model_folder(path))


def shares_of_ways(errors: Mapping[str, float]) -> dict[str, float]:
    """Return what each of WAYS has of the network, given their errors on what was left out; of sum 1."""
    if not math.isfinite(errors[PAIRED]):
        return {CLOSED_FORM: 1.0}
    found = shares_by_error(torch.tensor([errors[PAIRED], LEAD * errors[CLOSED_FORM]]), POWER).tolist()
    return {by: round(share, DIGITS) for by, share in zip(WAYS, found, strict=True) if share > 0}


def mean_of(made: Mapping[str, Solved], shares: Mapping[str, float]) -> SolvedGenerator:
    """Return the mean of the networks that have a share."""
    parts = [(layers_of(made[by].generator), share) for by, share in shares.items()]
    return mean_network(made[next(iter(shares))].generator, parts)


@torch.no_grad()
def error_on(pixels: Sequence[Pixels], generator: SolvedGenerator) -> float:
    """Return the mean absolute error of a network on pixels, as of pictures in [0, 1]."""
    shown = joined(pixels)
    return round(float(error_of(edited(generator, shown), shown.targets)), ERROR_DIGITS)
