"""What an evaluation covers: which starts, splits, pairs and steps, and with which learning rates.

    grid = GRIDS["reduced"]()                  # tiny | reduced | full | pairs
    rates = LearningRates.load(path)           # or LearningRates(): the defaults
    rates.of("polished", "full", 16)

`full` is what README and LOG carry, `reduced` what the demo shows, `tiny` proves that everything runs. `pairs` measures
zero steps alone, with 1, 2, 4, 8 and 16 example pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from weightgen.finetuning.baselines import BASELINES
from weightgen.finetuning.closed_forms import CLOSED_FORMS, PLAIN, TRAINED
from weightgen.finetuning.loop import LEARNING_RATE
from weightgen.finetuning.starts import RANDOM
from zoo.errors import WeightzooError
from zoo.files import read_json_object

TEST_SPLITS = ("combination", "value", "family", "external")
NETWORK_INITS = ("generated", "generated_few_steps", "generated_unet1d", "polished", "shuffled")
READ, READ_TRAINED = "pairs-and-words", "pairs-trained"
FROM_PAIRS = (READ, "pairs", "pairs-shuffled", READ_TRAINED)  # by a model that reads pairs
PAIR_METHODS = (*CLOSED_FORMS, *FROM_PAIRS)  # see `weightgen.evaluation.pair_methods`
SOLVED = tuple(name for name in PAIR_METHODS if name not in (TRAINED, READ_TRAINED))  # nothing is trained beside it
INITS = ("copy", "scratch", *SOLVED, *BASELINES, *NETWORK_INITS, "own")
# beside the starts of a fine-tuning, on the same pairs
REFERENCES = ("copy", PLAIN, "closed-form", TRAINED, READ, READ_TRAINED)
UNTRAINED = ("copy", *PAIR_METHODS)  # of which a fine-tuning has one figure, and no steps
PROMPTED = (*(name for name in BASELINES if name not in ("base", "mean")), *NETWORK_INITS)  # the prompt matters
HEADLINE_INITS = ("scratch", "base", "nearest", "kernel_ridge", "generated", "polished")
EXTERNAL_INITS = ("scratch", "base", "kernel_ridge", "polished")
SCRATCH_STEPS = {16: 600, 64: 1000, 256: 1500, 1000: 1500}
BUDGETS = (25, 50, 100)
START_STEPS = {16: 300, 64: 300, 256: 400, 1000: 400}
FEWEST_IMAGES, SMALL_SIDE = 8, 64  # test images of a concept; the side up to which there are all that a grid has
FEWEST_PAIRS = 16  # that any concept of an evaluation takes part with
FEW_STEPS = 20  # DDIM steps of `generated_few_steps`


@dataclass(frozen=True)
class FinetuneRow:
    """Fine-tuning of some concepts of one split from several starts, with equally many pairs.

    Args:
        steps: of every start but scratch; the same for all of them, so that their schedules are comparable.
        budget: a training with a schedule for so many steps, as `weightzoo finetune --steps` does it, of which the end
            is measured. It is reported apart, by its steps.
    """

    split: str
    pairs: int
    mode: str
    inits: tuple[str, ...]
    concepts: int
    scratch_steps: int
    steps: int
    budget: bool = False

    def steps_of(self, init: str) -> int:
        if init in UNTRAINED:
            return 0
        return self.scratch_steps if init in RANDOM else self.steps


@dataclass(frozen=True)
class Grid:
    """A complete evaluation.

    Args:
        inits: the zero-step methods; `extra` models are added under their own names.
        four_prompts: the methods that are also run with four paraphrases averaged.
        test_images, kid_images: per concept, the same ones for every method.
        closed_form_pairs: numbers of pairs that the closed forms are solved on at zero steps.
        closed_form_concepts: of each split; None takes all. A solve takes seconds.
        concepts_per_split: None takes all held-out concepts.
        own_splits, own_concepts: which concepts get an adapter trained like a zoo record; None: all of a split.
        own_fleet, finetune_fleet: so many concepts are trained at once; their curves are those of training alone.
        timed_steps: steps of the one-network-at-a-time timing.
        fleet_sizes: K of the fleet throughput measurement.
        picture_concepts: how many fine-tuned concepts the report shows pictures of.
    """

    name: str
    inits: tuple[str, ...]
    four_prompts: tuple[str, ...]
    finetune: tuple[FinetuneRow, ...]
    splits: tuple[str, ...] = TEST_SPLITS
    test_images: int = 32
    kid_images: int = 8
    concepts_per_split: int | None = None
    own_splits: tuple[str, ...] = TEST_SPLITS
    own_concepts: int | None = None
    own_fleet: int = 8
    finetune_fleet: int = 8
    timed_steps: int = 12
    fleet_sizes: tuple[int, ...] = (1, 8)
    resamples: int = 2000
    picture_concepts: int = 3
    validation_concepts: int = 4
    closed_form_pairs: tuple[int, ...] = (FEWEST_PAIRS,)
    closed_form_concepts: int | None = None

    def narrowed(self, splits: Sequence[str], zero_steps_only: bool = False) -> Grid:
        """Return the grid for these splits alone, or for all of them where there is none, and without fine-tuning."""
        rows = tuple(row for row in self.finetune if not zero_steps_only and (not splits or row.split in splits))
        return replace(self, splits=tuple(splits) or self.splits, finetune=rows)

    def for_pictures_of(self, side: int) -> Grid:
        """Return the grid with fewer test images of each concept where they have a larger side (pixels).

        There are as many as have the pixels of the grid's own number at 64 x 64, and eight at least: the time of a cell
        grows with them.
        """
        fewer = max(FEWEST_IMAGES, self.test_images * SMALL_SIDE**2 // max(side, SMALL_SIDE) ** 2)
        count = min(self.test_images, fewer)
        return replace(self, test_images=count, kid_images=min(self.kid_images, count))

    def concept_limits(self) -> dict[str, int | None]:
        """Return how many concepts of each split are measured, the validation split's included; None: all of them."""
        return {**dict.fromkeys(self.splits, self.concepts_per_split), "validation": self.validation_concepts}

    def pairs_needed(self, split: str, position: int, own_pairs: int) -> int:
        """Return how many train pairs the concept at `position` of a split takes part with.

        Args:
            own_pairs: those that the zoo's own adapters are trained on.
        """
        if split == "validation":
            modes = {row.mode for row in self.finetune}  # rates are chosen with the fewest pairs of each mode
            fewest = [min(row.pairs for row in self.finetune if row.mode == mode) for mode in modes]
            return max([FEWEST_PAIRS, *fewest])
        rows = [row.pairs for row in self.finetune if row.split == split and position < row.concepts]
        own = split in self.own_splits and (self.own_concepts is None or position < self.own_concepts)
        return max([FEWEST_PAIRS, *rows, *([own_pairs] if own else [])])


def full() -> Grid:
    """Return the grid of README and LOG: about four hours on two cores, resumable."""
    inits = tuple(init for init in INITS if init not in ("scratch", *UNTRAINED))
    few_steps = SCRATCH_STEPS[16], START_STEPS[16]
    few_pairs = (
        FinetuneRow("combination", 16, "full", ("scratch", *inits, "pix2pix_unet", *REFERENCES), 16, *few_steps),
        FinetuneRow("external", 16, "full", (*EXTERNAL_INITS, *REFERENCES), 24, *few_steps),
        FinetuneRow("combination", 16, "adapter", (*inits, "copy", PLAIN), 16, *few_steps),
    )
    headline = (*HEADLINE_INITS, *REFERENCES)
    more_pairs = tuple(
        FinetuneRow("combination", pairs, "full", headline, 8, SCRATCH_STEPS[pairs], START_STEPS[pairs])
        for pairs in (64, 256, 1000)
    )
    budgets = tuple(
        FinetuneRow("combination", 16, mode, HEADLINE_INITS, 16, steps, steps, budget=True)
        for mode in ("full", "adapter")
        for steps in BUDGETS
    )
    as_long_as_scratch = tuple(
        FinetuneRow("combination", pairs, "full", inits, concepts, steps, steps, budget=True)
        for pairs, steps, inits, concepts in (
            (16, SCRATCH_STEPS[16], ("polished", "base"), 16),
            (256, SCRATCH_STEPS[256], ("polished",), 8),
        )
    )
    rows = few_pairs + more_pairs + budgets + as_long_as_scratch
    return Grid(
        "full",
        INITS,
        PROMPTED,
        rows,
        kid_images=32,
        timed_steps=30,
        picture_concepts=4,
        closed_form_pairs=(1, 4, FEWEST_PAIRS),
        closed_form_concepts=16,
    )


def reduced() -> Grid:
    """Return the demo's grid: eight concepts of each split at zero steps, four fine-tuned with 16 pairs."""
    inits = ("copy", *SOLVED, "base", "mean", "nearest", "kernel_ridge", *NETWORK_INITS, "own")
    tuned = (*HEADLINE_INITS, *REFERENCES)
    row = FinetuneRow("combination", 16, "full", tuned, 4, SCRATCH_STEPS[16], 120)
    return Grid(
        "reduced",
        inits,
        ("kernel_ridge", "generated", "polished"),
        (row,),
        kid_images=4,
        concepts_per_split=8,
        own_splits=("combination",),
        own_concepts=4,
        finetune_fleet=2,
        resamples=1000,
        closed_form_concepts=2,
    )


def tiny() -> Grid:
    """Return a grid with everything once, in well under 90 seconds; its figures mean nothing."""
    inits = ("copy", "scratch", *SOLVED, "base", "mean", "nearest", "kernel_ridge", *NETWORK_INITS)
    tuned = ("scratch", "base", "generated", "polished", "copy", PLAIN, "closed-form")
    row = FinetuneRow("combination", 16, "full", tuned, 1, 40, 20)
    return Grid(
        "tiny",
        inits,
        ("generated", "polished"),
        (row,),
        test_images=4,
        kid_images=2,
        concepts_per_split=4,
        own_concepts=0,
        timed_steps=3,
        fleet_sizes=(1, 4),
        resamples=200,
        picture_concepts=1,
        validation_concepts=1,
        closed_form_concepts=1,
    )


def pairs() -> Grid:
    """Return a grid of what 1, 2, 4, 8 and 16 pairs are worth before any training, beside a concept's own adapter."""
    without_pairs = ("copy", "base", "mean", "kernel_ridge", "generated", "polished")
    return Grid(
        "pairs",
        (*without_pairs, *SOLVED, "own"),
        (),
        (),
        kid_images=4,
        concepts_per_split=8,
        own_splits=("combination", "value", "family"),  # external edits have too few pairs for adapters
        resamples=1000,
        closed_form_pairs=(1, 2, 4, 8, FEWEST_PAIRS),
        closed_form_concepts=8,
    )


GRIDS: dict[str, Callable[[], Grid]] = {"tiny": tiny, "reduced": reduced, "full": full, "pairs": pairs}


@dataclass(frozen=True)
class LearningRates:
    """Learning rates by "init/mode/pairs".

    What was never tried falls back to the nearest tried number of pairs of that start, then to what a user's
    fine-tuning has, `LEARNING_RATE`.
    """

    chosen: dict[str, float] = field(default_factory=dict)

    def of(self, init: str, mode: str, pairs: int) -> float:
        keys = {key: key.rsplit("/", 1) for key in self.chosen}
        tried = {int(p): self.chosen[key] for key, (start, p) in keys.items() if start == f"{init}/{mode}"}
        if tried:
            return tried[min(tried, key=lambda p: abs(p - pairs))]
        return LEARNING_RATE

    @classmethod
    def load(cls, path: Path | str) -> LearningRates:
        """Read `{"chosen": [{"init", "mode", "pairs", "learning_rate"}]}`."""
        rows: list[dict[str, Any]] = read_json_object(path).get("chosen", [])
        try:
            return cls(
                {f"{row['init']}/{row['mode']}/{int(row['pairs'])}": float(row["learning_rate"]) for row in rows}
            )
        except (KeyError, TypeError, ValueError) as error:
            raise WeightzooError(
                f'{path}: each entry of "chosen" needs init, mode, pairs and learning_rate ({error!r}); '
                "choose them again"
            ) from None
