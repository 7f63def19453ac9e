"""The training loop of all stages: steps, validations and checkpoints until the steps or the seconds are used up.

    stage = Stage(batches, gradients, Validation("r2", measure))
    run = TrainingRun(config, stage, network, Path("model"))
    run.restore()
    run.run()

A stage says where its batches come from, how one of them becomes gradients, and what its validation measures. All
else is the same for every stage and stands here. The randomness of step n is a function of (seed, n), so a run that is
resumed from a checkpoint equals an uninterrupted one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from contextlib import closing
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from weightgen.training.checkpoint import load_training, save_tensors, save_training
from weightgen.training.config import PairedConfig, PolishConfig, TrainConfig
from weightgen.training.optim import learning_rate_factor, make_optimizers, update, update_ema
from weightgen.training.run_folder import BEST, write_rows
from weightgen.training.team import Team
from zoo.errors import WeightzooError
from zoo.files import rounded
from zoo.words import plural

Row = dict[str, Any]
Log = Callable[[Row], None]


class Diverged(WeightzooError):
    """Gradients stay non-finite; in a team they do so in every process at the same step."""


@dataclass(frozen=True)
class Validation:
    """How averaged weights are measured, and which of them are kept.

    Attributes:
        name: the figure of `measure` that decides.
        measure: figures of a run's averaged weights, for its row of metrics.jsonl; None where there is no figure.
        higher_is_better: whether the highest figure is the best one.
        smoothed: the number of latest validations whose mean decides. A single one of few concepts is good by chance
            while the learning rate is high.
        keep_last: keep the weights of every validation in place of the best ones.
        at_start: validate before the first step too.
    """

    name: str
    measure: Callable[[TrainingRun], dict[str, float | None]]
    higher_is_better: bool = True
    smoothed: int = 1
    keep_last: bool = False
    at_start: bool = False

    def score(self, rows: list[Row]) -> float | None:
        """Return the mean figure of the latest validations, or None if they have none."""
        figures = [row[self.name] for row in rows[-self.smoothed :] if row[self.name] is not None]
        return sum(figures) / len(figures) if figures else None

    def is_better(self, score: float | None, best: float | None) -> bool:
        """Return whether `score` is better than `best`; any score is better than None."""
        if score is None or best is None:
            return score is not None
        return score > best if self.higher_is_better else score < best


@dataclass(frozen=True)
class Stage:
    """What the loop is given.

    Attributes:
        batches: gives the endless batches from a step on; closing them ends whatever makes them.
        gradients: adds a batch's gradients to those of the run's network and returns its loss.
        validation: see `Validation`.
        max_skipped: updates in a row that may be skipped because a gradient is not finite.
    """

    batches: Callable[[int], Generator[Any]]
    gradients: Callable[[TrainingRun, Any], float]
    validation: Validation
    max_skipped: int = 0


@dataclass(eq=False)
class TrainingRun:
    """One training: its network, averaged weights and optimisers, and how far it is.

    Attributes:
        folder: where metrics.jsonl and checkpoints are written.
        seconds: a wall-clock limit in place of the config's steps.
        team: the processes that train together; the leader validates and writes.
        elapsed: seconds that were used up, over all resumes.
        best: the best score of a validation so far.
        skipped: updates that were skipped since the last one that was not.
        rows: the rows of metrics.jsonl.
    """

    config: TrainConfig | PolishConfig | PairedConfig
    stage: Stage
    network: nn.Module
    folder: Path
    seconds: float | None = None
    team: Team = Team()
    elapsed: float = 0.0
    step: int = 0
    best: float | None = None
    skipped: int = 0
    learning_rate: float = 0.0
    rows: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        config = self.config
        self.ema = deepcopy(self.network).eval().requires_grad_(False)
        self.networks = {"denoiser": self.network, "ema": self.ema}  # names in a checkpoint
        self.optimizers = make_optimizers(self.network, config.optimizer, config.learning_rate, config.weight_decay)
        self.device = next(self.network.parameters()).device
        self.counted_until = time.perf_counter()

    @property
    def progress(self) -> float:
        """Return how much of the training is done, 0 to 1: of its steps, or of the seconds in their place."""
        if self.seconds is None:
            return self.step / max(self.config.steps, 1)
        return min(self.elapsed / max(self.seconds, 1e-9), 1.0)

    def run(
        self,
        on_log: Log | None = None,
        show: Callable[..., None] = lambda progress, step, **values: None,
        on_checkpoint: Callable[[], None] = lambda: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Train until done, validating and writing checkpoints on the way; every process of a team takes part.

        Args:
            on_log: gets each row of metrics.jsonl as it is written.
            show: called once a step, with progress, step and figures to show.
            on_checkpoint: called in every process after each checkpoint.
            stop: called after each step; True ends the run with a checkpoint of that step.

        Raises:
            Diverged: the gradients of more than the stage's `max_skipped` steps in a row are not finite.
            WeightzooError: the batches end.
        """
        config, validation = self.config, self.stage.validation
        self.counted_until = time.perf_counter()
        with closing(self.stage.batches(self.step)) as batches:
            if validation.at_start and self.step == 0:
                self.validate(math.nan, on_log)
            validated = saved = True  # nothing is left to do for a run that was restored complete
            stopped, loss = False, math.nan
            while (self.progress < 1 or self.step == 0) and not stopped:
                if (batch := next(batches, None)) is None:
                    raise WeightzooError(f"the batches ended at step {self.step}; give an endless iterable")
                loss = self.train_step(batch)
                self.tick()
                if validated := self.due(config.validate_every):
                    self.validate(loss, on_log)
                if saved := self.due(config.checkpoint_every):
                    self.checkpoint()
                    on_checkpoint()
                self.tick()
                show(self.progress, self.step, loss=loss, **{validation.name: self.best})
                stopped = stop()
            if self.progress >= 1 and not validated:  # the time ran out while a checkpoint was written
                self.validate(loss, on_log)
                saved = False
            if not saved:
                self.checkpoint()
                on_checkpoint()

    def due(self, every: int) -> bool:
        """Return whether this step is the last one or one of every so many."""
        return self.progress >= 1 or self.step % every == 0

    def tick(self) -> None:
        """Count the time since the last call, as the leader's clock has it."""
        now = time.perf_counter()
        self.elapsed += now - self.counted_until
        self.counted_until = now
        if self.seconds is not None:
            self.elapsed = self.team.agree(self.elapsed, self.device)

    def train_step(self, batch: Any) -> float:
        """Take one step, or skip it if a gradient is not finite; return the loss of this process's rows."""
        config = self.config
        self.learning_rate = config.learning_rate * learning_rate_factor(self.progress, config.warmup)
        loss = self.stage.gradients(self, batch)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), config.clip_norm)
        self.step += 1
        # A team has averaged the gradients but not the losses, and has to come to the same conclusion everywhere.
        if bool(torch.isfinite(norm if self.team.size > 1 else norm + loss)):
            update(self.optimizers.values(), self.learning_rate)
            update_ema(self.ema, self.network, min(config.ema_decay, self.step / (self.step + 9)))
            self.skipped = 0
        else:
            self.network.zero_grad()
            self.skipped += 1
        if self.skipped > self.stage.max_skipped:
            many = f"in {plural(self.skipped, 'step')} in a row, up to step {self.step}"
            where = many if self.skipped > 1 else f"at step {self.step}"
            raise Diverged(
                f"the loss is not finite {where} (learning rate {config.learning_rate:g}); "
                f"lower the learning rate and train into a new folder (checkpoints stay in {self.folder})"
            )
        return loss

    def validate(self, loss: float, on_log: Log | None = None) -> None:
        """Write a row of metrics, and keep the averaged weights if they are the best so far."""
        loss = self.team.mean(loss, self.device)
        if not self.team.leads:
            return
        validation = self.stage.validation
        row = {"step": self.step, "seconds": round(self.elapsed, 3), "loss": rounded(loss)}
        row |= validation.measure(self)
        self.rows.append(row)
        write_rows(self.folder, self.rows)
        score = validation.score(self.rows)
        better = validation.is_better(score, self.best)
        if better or validation.keep_last:
            save_tensors(self.folder / "checkpoints" / BEST, self.ema.state_dict(), row)
        if better:
            self.best = score
        if on_log:
            on_log(row)

    def checkpoint(self) -> None:
        """Write everything that is needed to go on exactly from here."""
        if not self.team.leads:
            return
        state = {"elapsed": self.elapsed, "best": self.best, "skipped": self.skipped, "rows": self.rows}
        folder, keep = self.folder / "checkpoints", self.config.keep_checkpoints
        save_training(folder, self.step, self.networks, self.optimizers, state, keep)

    def restore(self) -> None:
        """Go back to the newest checkpoint, if there is one."""
        state = load_training(self.folder / "checkpoints", self.networks, self.optimizers)
        if state is not None:
            self.step, self.elapsed, self.best = state["step"], state["elapsed"], state["best"]
            self.skipped, self.rows = state.get("skipped", 0), state.get("rows", [])  # older ones lack one of them
