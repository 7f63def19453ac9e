"""The training of a fine-tuning: K concepts at once from one kind of start, measured on the way, the best kept.

    done = finetune_many(make_start("polished", [["a charcoal drawing"]], origins), tensors, config)
    done = advance(begin(start, config), tensors, config, save=...)     # what can be stopped and gone on with

Seconds are initialisation (loading, text, generation, merging) plus training; the clock stands still during evaluation
and while the state is written.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from weightgen.finetuning.best import Best
from weightgen.finetuning.measure import Measure, PairTensors, Row
from weightgen.finetuning.starts import Start
from weightgen.finetuning.state import Progress
from weightgen.training.optim import pick_device
from zoo.config import to_dict
from zoo.errors import WeightzooError
from zoo.training.batches import material_of
from zoo.training.train_gan import Fleet, FleetResult, GanTrainConfig, Params, clock, run_fleet

KERNEL_RATE = 0.1  # in full mode, of convolution and projection weights; see `GanTrainConfig`
LEARNING_RATE = 2e-2
HIGHEST_RATE = 1e30  # Adam divides it by small numbers, and the result is still to be a float
BETA1 = 0.9  # of Adam; with .5 drawings could end as blank pages, see `GanTrainConfig`
EMA = 0.98  # of the weights; an average over about the last tenth of the steps
POINTS = (0, 10, 25, 50, 75, 100, 150, 200, 300, 400, 600, 800, 1000, 1250)
SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # of a time budget
SAVE_EVERY = 30.0  # seconds of training


@dataclass(frozen=True)
class FinetuneConfig:
    """How a start is fine-tuned.

    Args:
        mode: "full" trains all weights (adapter merged), "adapter" the adapter only.
        steps: training steps; with `seconds` a wall-clock budget (initialisation included) takes their place.
        learning_rate: None takes `LEARNING_RATE`.
        eval_every: steps between evaluations; None takes `POINTS`, or `SHARES` of a time budget.
        crops: training squares per pair; None: one where the pairs are hardly larger than the training size,
            otherwise as many as make about 256, or 64 of 256 px.
        feature_network: for KID; None leaves KID out.
        device: of training; "auto" takes a GPU where there is one.
        keeps_state: whether `weightgen.finetuning.finetune.resume` is to be possible.
    """

    mode: str = "full"
    steps: int = 300
    seconds: float | None = None
    learning_rate: float | None = None
    batch_size: int = 4
    adversarial_weight: float = 0.01
    eval_every: int | None = None
    crops: int | None = None
    feature_network: str | None = "efficientnet-lite0"
    seed: int = 0
    device: str = "auto"
    keeps_state: bool = True


@dataclass(frozen=True)
class Finetuned:
    """K fine-tuned networks.

    Args:
        params: of the best networks, {name: [K, ...]}.
        best: the rows of the best networks.
        rows: the evaluation rows of each concept.
        init_seconds: seconds of the start, for all K concepts together.
    """

    start: Start
    params: Params
    best: list[Row]
    result: FleetResult
    rows: list[list[Row]]
    learning_rate: float
    init_seconds: float


def check(config: FinetuneConfig) -> None:
    """Raise WeightzooError for numbers that cannot be meant."""
    check_length(config.steps, config.seconds)
    if config.learning_rate is not None and not 0 < config.learning_rate <= HIGHEST_RATE:
        raise WeightzooError(f"--learning-rate {config.learning_rate} must be a number above 0, {HIGHEST_RATE} at most")
    if min(config.batch_size, config.eval_every or 1, config.crops or 1) < 1:
        raise WeightzooError("batch size, evaluation interval and crops must be at least 1")


def check_length(steps: int, seconds: float | None) -> None:
    """Raise WeightzooError for steps, or seconds in place of them, that no training can have."""
    if seconds is None and steps < 0:
        raise WeightzooError(f"--steps {steps} is negative; use 0 or more")
    if seconds is not None and not (math.isfinite(seconds) and seconds > 0):
        raise WeightzooError(f"--seconds {seconds} is not a time limit; use a number above 0")


def training_of(config: FinetuneConfig) -> GanTrainConfig:
    """Return how the networks of a fine-tuning are trained."""
    return GanTrainConfig(
        steps=config.steps,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate or LEARNING_RATE,
        adversarial_weight=config.adversarial_weight,
        mode=config.mode,
        seed=config.seed,
        ema=EMA,
        kernel_rate=KERNEL_RATE,
        beta1=BETA1,
    )


def shared_training() -> dict[str, Any]:
    """Return what is the same for every fine-tuning that does not say otherwise: the fingerprint of an evaluation."""
    own = ("steps", "learning_rate", "mode", "seed")
    return {name: value for name, value in to_dict(training_of(FinetuneConfig())).items() if name not in own}


def begin(start: Start, config: FinetuneConfig, by: str = "train_error") -> Progress:
    """Return the K concepts of a start before their first step, on the config's device.

    Args:
        by: what networks are compared by, of `weightgen.finetuning.best.CHOSEN_BY`.
    """
    start = start.to(torch.device(pick_device(config.device)))
    count = len(next(iter(start.params.values())))
    fleet = Fleet.start(start.generator, start.discriminator, training_of(config), count, start.params)
    return Progress(start, fleet, Best(by), [[] for _ in range(count)], init_seconds=0.0)


def finetune_many(start: Start, tensors: PairTensors, config: FinetuneConfig) -> Finetuned:
    """Fine-tune the K concepts of a start at once, each on its own pairs; nothing is written."""
    return advance(begin(start, config), tensors, config)


def advance(
    progress: Progress,
    tensors: PairTensors,
    config: FinetuneConfig,
    on_rows: Callable[[list[list[Row]]], None] = lambda rows: None,
    save: Callable[[], None] = lambda: None,
    show: Callable[[int, float], None] = lambda step, seconds: None,
    stop: Callable[[], bool] = lambda: False,
) -> Finetuned:
    """Train to the end of `config`, from wherever `progress` is, which goes along.

    Args:
        on_rows: called with all rows so far at every evaluation.
        save: called at the beginning, now and then and at the end, when `progress` is to be written to disk.
        show: called before each step and at the end with the steps and the seconds of training so far.
        stop: asked before each step; where it says True, the networks are measured and training ends.
    """
    start, fleet, rows = progress.start, progress.fleet, progress.rows
    tensors = tensors.to(fleet.losses.device)
    fleet.config = replace(fleet.config, steps=config.steps)
    budget = time_left(progress, config)
    measure = Measure(tensors, config.feature_network)
    is_due = evaluation_times(config, budget)
    saved = fleet.seconds if fleet.steps else -math.inf  # at once: whatever ends the process, it can be resumed

    def evaluate(params: Params) -> None:
        found = measure(start.generator, params)
        seconds = round(progress.init_seconds + fleet.seconds, 3)
        for own, row in zip(rows, found, strict=True):
            own.append({"step": fleet.steps, "seconds": seconds, **row})
        progress.best.offer([own[-1] for own in rows], params)
        on_rows(rows)

    def on_step(step: int, spent: float, params: Params) -> None:
        nonlocal saved
        show(step, spent)
        if bool((fleet.diverged_at >= 0).all()):
            return
        ends = stop() or (step >= config.steps if budget is None else spent >= budget)
        measured = bool(rows[0]) and rows[0][-1]["step"] == step
        due = is_due(step, spent) and not measured
        if due:
            evaluate(params)
        if ends or spent - saved >= SAVE_EVERY:
            save()
            saved = spent
        if ends and not due and not measured:  # after the state: a resumed training is measured where any other is
            evaluate(params)

    started = clock(fleet.losses.device)
    material = material_of(fleet.generator, tensors.sources, tensors.targets, config.seed)
    fleet.seconds += clock(fleet.losses.device) - started
    result = run_fleet(fleet, material, budget, on_step, stop)
    return Finetuned(
        start, progress.best.params, progress.best.rows, result, rows, fleet.config.learning_rate, progress.init_seconds
    )


def time_left(progress: Progress, config: FinetuneConfig) -> float | None:
    """Return the seconds of training that a time budget leaves after the start; None without a budget."""
    return None if config.seconds is None else max(config.seconds - progress.init_seconds, 0.0)


def evaluation_times(config: FinetuneConfig, budget: float | None) -> Callable[[int, float], bool]:
    """Return a function of (step, training seconds) that is True when an evaluation is due; once for each step."""
    if config.eval_every is None and budget is not None:
        waiting = [share * budget for share in SHARES]

        def by_time(step: int, spent: float) -> bool:
            due = [point for point in waiting if point <= spent]
            del waiting[: len(due)]
            return bool(due)

        return by_time
    if config.eval_every is None:
        points = {*POINTS, *range(1500, config.steps, 250), config.steps}
        return lambda step, spent: step in points
    every, last = config.eval_every, config.steps if budget is None else None
    return lambda step, spent: step % every == 0 or step == last or (budget is not None and spent >= budget)
