"""Pairs -> network: read what the pairs say, generate the network that does it, and solve its output layer on them.

    reader = PairReader(load_model_folder("paired/"))
    start = reader.generate([(before, after), ...], ["a charcoal drawing"])     # pictures [3, H, W] in [0, 1]
    start.generator(photographs)                        # [N, 3, H, W], a `zoo.gans.solved` network
    start.shares                                        # {"paired": 0.8, "closed-form": 0.2}

The pairs decide: the closed form alone, without a generated network, is what the pairs give by themselves. A quarter of
the pairs is left out of both in turn; of fewer than four pairs no whole one can be left out, and parts of them are. The
network is the mean of both, made from all pairs, and the one that is nearer to what was left out weighs more. So a
prompt that contradicts the pairs does no harm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from weightgen.model_folder import ModelFolder, load_model_folder
from weightgen.model_roles import PAIRED, find_best
from weightgen.objective import one_step
from weightgen.pairs.closed_form import (
    CHOSEN_ON_EVERY,
    CLOSED_FORM,
    SOLVED_ON,
    Pictures,
    Start,
    sampled,
    scale_of,
    thinned,
)
from weightgen.pairs.description import Edits, Reading
from weightgen.pairs.means import DIGITS, layers_of, mean_network
from weightgen.pairs.pixels import Pixels, joined
from weightgen.text import TextEncoder, load_text_encoder, no_text
from zoo.adapters.lora import Adapter, load_base, merge_tensors
from zoo.closed_form import (
    FEWEST_PICTURES,
    POWER,
    TO_PRIOR,
    Choice,
    Folds,
    Prior,
    Pull,
    Wanted,
    choose,
    mean_layers,
    shares_by_error,
    thinned_rows,
)
from zoo.errors import WeightzooError
from zoo.gans.solved import Seen, SolvedGenerator, assembled
from zoo.gram import Gram, Rows
from zoo.progress import working
from zoo.training.optimizer_state import under
from zoo.training.solved_outputs import OUTPUT

REMADE_ON = 1 << 13  # of all pairs together: what is made of some pairs for a trained network to be compared with
READ_PIXELS = 1 << 12  # of all pairs together that the description is made from, as many as training shows
# the closed form's error counts this many times: where both are equal on what is left out, the generated network is
# better on further pictures (docs/LOG.md)
LEAD = 1.1
WAYS = (PAIRED, CLOSED_FORM)  # as `weightzoo finetune --init` calls them


@dataclass(frozen=True, eq=False)
class Ways:
    """The two ways from pairs to a network, whose sums over pixels are the same.

    Attributes:
        rows: pixels of each pair as a generated network sees them; the bank's features are the first ones.
        priors: what the output layer of each way is pulled to.
        branches: of the generated network, name and tensors of each.
    """

    rows: Sequence[Rows]
    priors: Mapping[str, Prior]
    branches: Sequence[tuple[str, Mapping[str, Tensor]]]

    def width(self, by: str) -> int:
        """Return how many of the features a way's output layer is over."""
        return len(self.priors[by].mean)

    def folds(self) -> Folds:
        """Return the pixels that say what a layer is pulled to, as a generated network sees them."""
        return Folds.of(thinned_rows(self.rows, CHOSEN_ON_EVERY))

    def choices(self, folds: Folds) -> dict[str, Choice]:
        """Return what the output layer of each way is pulled to."""
        pairs = len(self.rows)
        # of few pairs only parts can be left out: what is generated for them is what they are pulled to
        pulls = {PAIRED: None if pairs >= FEWEST_PICTURES else [Pull(TO_PRIOR, 1.0)], CLOSED_FORM: None}
        return {by: choose(folds.first(self.width(by)), self.priors[by], pairs, pulls[by]) for by in WAYS}

    def layers(
        self,
        choices: Mapping[str, Choice],
        shares: Mapping[str, float],
        total: Gram | None = None,
        rounds: int | None = None,
    ) -> dict[str, Tensor]:
        """Return output layers of ways: see `zoo.closed_form.mean_layers`.

        Args:
            shares: the ways that are wanted, and what each has of the network.
        """
        wanted = [Wanted(self.priors[by], choices[by].shares, share) for by, share in shares.items()]
        return dict(zip(shares, mean_layers(self.rows, wanted, total, rounds), strict=True))


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

    @torch.no_grad()
    def start(
        self, pixels: Sequence[Pixels], prompts: Sequence[str], image_size: int, shown: Sequence[Pixels] | None = None
    ) -> Start:
        """Return the mean of the generated network and the closed form, by how near they are to what is left out.

        Args:
            image_size: short side of the pairs, pixels.
            shown: pixels of other pairs that are read in the place of these.
        """
        ways = self.ways(thinned(pixels), prompts, shown)
        folds = ways.folds()
        choices = ways.choices(folds)
        errors = {by: choice.error for by, choice in choices.items()}
        shares = shares_of_ways(errors)
        first, *_ = shares
        made = self.networks(ways, ways.layers(choices, shares, folds.total), image_size)

        @torch.no_grad()
        def remake(some: Sequence[Pixels]) -> dict[str, SolvedGenerator]:
            # without rounds, which are worth the same to both: to make them as well as from all pairs takes seconds
            part = self.ways(thinned(some, REMADE_ON), prompts)
            both = part.layers(choices, {by: shares.get(by, 0.0) for by in WAYS}, rounds=0)
            again = self.networks(part, both, image_size)
            return {first: mean_of(again, shares), **{by: again[by] for by in WAYS if by != first}}

        @torch.no_grad()
        def others() -> dict[str, SolvedGenerator]:
            missing = ways.layers(choices, {by: 1.0 for by in WAYS if by not in made}, folds.total)
            found = made | self.networks(ways, missing, image_size)
            return {by: found[by] for by in WAYS if by != first}

        return Start(first, mean_of(made, shares), choices[first], errors, remake, others, shares)

    def networks(self, ways: Ways, layers: Mapping[str, Tensor], image_size: int) -> dict[str, SolvedGenerator]:
        """Return the network of each way that there is an output layer of."""
        return {
            by: assembled(self.base, ways.branches if by == PAIRED else (), layer, image_size)
            for by, layer in layers.items()
        }

    @torch.no_grad()
    def ways(self, pixels: Sequence[Pixels], prompts: Sequence[str], shown: Sequence[Pixels] | None = None) -> Ways:
        """Return both ways from these pixels to a network.

        Args:
            shown: see `start`.
        """
        edits = self.read(shown or pixels)
        adapter = self.adapter(edits, prompts)
        own = {name: value[None] for name, value in adapter.items()}
        rows = [
            (torch.cat([self.pairs.features(Seen(*p[:2])), self.reading.hidden(p.maps, own)[0]], 1), p.targets)
            for p in pixels
        ]
        merged = merge_tensors(self.base.state_dict() | adapter)
        branches = [(branch.name, branch.state_dict()) for branch in self.pairs.shared]
        branches += [(name, under(f"branches.{k}", merged)) for k, name in enumerate(self.base.config.branches)]
        return Ways(rows, {PAIRED: self.prior(edits, adapter, len(pixels)), CLOSED_FORM: self.base.prior}, branches)

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
    found = shares_by_error([errors[PAIRED], LEAD * errors[CLOSED_FORM]], POWER)
    return {by: round(share, DIGITS) for by, share in zip(WAYS, found, strict=True) if share > 0}


def mean_of(made: Mapping[str, SolvedGenerator], shares: Mapping[str, float]) -> SolvedGenerator:
    """Return the mean of the networks that have a share."""
    parts = [(layers_of(made[by]), share) for by, share in shares.items()]
    return mean_network(made[next(iter(shares))], parts)
