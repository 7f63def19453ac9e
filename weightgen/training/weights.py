"""Training a weight generator on a zoo: first stage, in weight space.

    train(presets.small(), load_zoo("runs/small"), "model", validation=load_zoo("runs/small", "validation"))

Leaves a model folder (see `weightgen.model_folder`) plus `metrics.jsonl`, `config.json`, `checkpoints/` and
curves for TensorBoard. The same call again goes on from the newest checkpoint, and returns at once when the
folder is finished. All randomness of step n is a function of (seed, n), so a resumed run equals an uninterrupted
one. With `seconds` the learning rate follows the elapsed time instead of the step.

Several processes train one network when torch's process group says so (`weightgen.training.team`): each makes its
rows of every batch. `weightgen.training.ray` starts them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import closing, nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from weightgen.objective import draw, loss, make_scheduler, one_step
from weightgen.text import TextStates, load_text_encoder
from weightgen.training.checkpoint import load_training, save_tensors, save_training
from weightgen.training.config import TrainConfig, make_denoiser
from weightgen.training.data import WeightBatch, WeightDataset, WeightSource, hold_out
from weightgen.training.loader import load
from weightgen.training.optim import (
    learning_rate_factor,
    make_optimizers,
    pick_device,
    set_learning_rate,
    share_done,
    step_seed,
    update,
    update_ema,
)
from weightgen.training.progress import curves, training_progress
from weightgen.training.run_folder import BEST, clear, finish, freeze, write_rows
from weightgen.training.stopping import stop_between_steps
from weightgen.training.team import Team
from zoo.errors import WeightzooError
from zoo.memory import keep_freed_memory

Log = Callable[[dict[str, Any]], None]


class Diverged(WeightzooError):
    """The loss is not finite any more; in a team it is so in every process at the same step."""


def train(
    config: TrainConfig,
    source: WeightSource,
    out_dir: str | Path,
    validation: WeightDataset | None = None,
    seconds: float | None = None,
    resume: bool = True,
    on_log: Log | None = None,
    loader_workers: int = 0,
) -> Path:
    """Trains on `source` in this process and returns the model folder `out_dir`.

    Args:
        source: a dataset in memory, or a stream of shards.
        validation: held-out records for R2 and the choice of the best weights; by default 5 % of a dataset.
        seconds: wall-clock limit in place of `config.steps`: preparation (once), training and validation;
            what was used up is kept across resumes.
        resume: False starts anew.
        on_log: gets each row of metrics.jsonl as it is written.
        loader_workers: processes that read batches ahead; 0 is a thread.

    Raises:
        WeightzooError: a folder of another config or data, an empty split, a loss that is not finite.
        Interrupted: Ctrl-C; the step was brought to its end, and the same call goes on from there.
    """
    out_dir = Path(out_dir)
    source, validation = with_validation(source, validation)
    if not resume:
        clear(out_dir)
    if freeze(out_dir, config, seconds, source):
        return out_dir
    training = Training(config, source, validation, out_dir, seconds, loader_workers=loader_workers)
    training.restore()

    with curves(out_dir) as log, training_progress(config.denoiser, config.batch_size) as show:

        def write(row: dict[str, Any]) -> None:
            log(row)
            if on_log:
                on_log(row)

        # each process of a team would stop at a step of its own
        with stop_between_steps(out_dir, listen=training.team.size == 1) as stop:
            training.run(write, show, stop=stop)
    return finish(out_dir, config, source, validation)


class Training:
    """The state of one training run: networks, optimiser, step and elapsed seconds."""

    def __init__(
        self,
        config: TrainConfig,
        source: WeightSource,
        validation: WeightDataset,
        out_dir: Path,
        seconds: float | None = None,
        device: str | None = None,
        loader_workers: int = 0,
    ) -> None:
        started = time.perf_counter()
        torch.set_flush_denormal(True)
        keep_freed_memory()
        self.config, self.source, self.out_dir, self.seconds = config, source, out_dir, seconds
        self.loader_workers, self.team = loader_workers, Team.here()
        self.slots = self.team.slots(config.batch_size)
        if len(self.slots) % config.accumulate:
            raise WeightzooError(
                f"{len(self.slots)} rows of a batch cannot be accumulated in {config.accumulate} equal parts; "
                "choose another number"
            )
        self.device = torch.device(device or pick_device(config.device))
        self.text_encoder = load_text_encoder(config.text_encoder)
        self.statistics = source.statistics().to(self.device)
        texts, records = validation.evaluation_prompts()
        held_out = validation.blocks.to(self.device)
        self.validation_clean = self.statistics.normalize(held_out)[records]
        self.validation_text = self.text_encoder.encode(texts).trim().to(self.device)

        torch.manual_seed(config.seed)
        self.denoiser = make_denoiser(config, source, self.text_encoder.width).to(self.device)
        self.network = self.team.wrap(self.denoiser)
        self.ema = deepcopy(self.denoiser).eval().requires_grad_(False)
        self.networks = {"denoiser": self.denoiser, "ema": self.ema}  # of a checkpoint
        self.scheduler = make_scheduler(config.objective)
        self.optimizers = make_optimizers(
            self.denoiser, config.optimizer, config.learning_rate, config.weight_decay
        )
        self.step, self.best, self.learning_rate = 0, -math.inf, 0.0
        self.rows: list[dict[str, Any]] = []  # metrics.jsonl
        self.elapsed = time.perf_counter() - started

    @property
    def progress(self) -> float:
        """How much of the training is done, 0 to 1."""
        return share_done(self.step, self.config.steps, self.elapsed, self.seconds)

    def run(
        self,
        on_log: Log | None = None,
        show: Callable[..., None] = lambda progress, step, **values: None,
        on_checkpoint: Callable[[], None] = lambda: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Trains until done, validating and writing checkpoints on the way; every process of the team takes part.

        Args:
            show: called once a step, with progress, step and figures to show.
            on_checkpoint: called in every process after each checkpoint.
            stop: asked after each step; True ends the run with a checkpoint of that step.
        """
        config = self.config
        batches = load(
            self.source,
            config.batch_size,
            config.seed,
            self.step,
            self.slots,
            self.loader_workers,
            lambda batch: self.text_encoder.prepare(batch.texts),
        )
        with closing(batches):
            stopped = False
            while (self.progress < 1 or self.step == 0) and not stopped:
                started = time.perf_counter()
                value = self.train_step(next(batches))
                self.tick(started)
                started = time.perf_counter()
                validated = self.progress >= 1 or self.step % config.validate_every == 0
                if validated:
                    self.validate(value, on_log)
                saved = self.progress >= 1 or self.step % config.checkpoint_every == 0
                if saved:
                    self.checkpoint()
                    on_checkpoint()
                self.tick(started)
                show(self.progress, self.step, loss=value, r2=self.best)
                if self.progress >= 1 and not validated:  # the time ran out while a checkpoint was written
                    self.validate(value, on_log)
                    saved = False
                stopped = stop()
                if not saved and (self.progress >= 1 or stopped):  # it may have run out in a validation too
                    self.checkpoint()
                    on_checkpoint()

    def tick(self, started: float) -> None:
        """Counts the time since `started`, as the leader's clock has it."""
        self.elapsed += time.perf_counter() - started
        if self.seconds is not None:
            self.elapsed = self.team.agree(self.elapsed, self.device)

    def train_step(self, batch: WeightBatch) -> float:
        """One optimiser and EMA update; returns the loss of this process's rows."""
        config, (first, stop) = self.config, (self.slots.start, self.slots.stop)
        torch.manual_seed(step_seed(config.seed, self.step))
        self.learning_rate = config.learning_rate * learning_rate_factor(self.progress, config.warmup)
        set_learning_rate(self.optimizers.values(), self.learning_rate)
        # every process draws for the whole batch and takes its rows: how it is divided changes nothing
        draws = draw(
            config.batch_size, self.statistics.mask, config.objective, self.denoiser.independent_blocks
        ).rows(slice(first, stop))
        text = self.text_encoder.encode(batch.texts).to(self.device)
        clean = self.statistics.normalize(batch.blocks.to(self.device))
        self.denoiser.train()
        value, size = 0.0, len(self.slots) // config.accumulate
        for i in range(config.accumulate):
            if self.team.rank or i:  # dropout differs between the parts of a batch
                torch.manual_seed(step_seed(config.seed, self.step, self.team.rank, i))
            part = slice(i * size, (i + 1) * size)
            with self._averaging(last=i + 1 == config.accumulate), self._autocast():
                share = loss(
                    self.network, clean[part], text[part], self.statistics.mask,
                    self.scheduler, config.objective, draws.rows(part),
                ) / config.accumulate  # fmt: skip
                share.backward()
            value += float(share.detach())
        norm = nn.utils.clip_grad_norm_(self.denoiser.parameters(), config.clip_norm)
        # of averaged gradients: every process comes to the same conclusion
        if not bool(torch.isfinite(norm + value if self.team.size == 1 else norm)):
            raise Diverged(
                f"the loss is not finite at step {self.step + 1} (learning rate {config.learning_rate:g}); "
                f"lower the learning rate and train into a new folder (checkpoints stay in {self.out_dir})"
            )
        update(self.optimizers.values())
        self.step += 1
        update_ema(self.ema, self.denoiser, min(config.ema_decay, self.step / (self.step + 9)))
        return value

    def _averaging(self, last: bool) -> Any:
        """Gradients are averaged over the team with the last part of a batch only."""
        return nullcontext() if last or self.team.size == 1 else self.network.no_sync()

    def _autocast(self) -> Any:
        precision = self.config.precision
        enabled = precision == "bfloat16" or (precision == "auto" and self.device.type == "cuda")
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    def validate(self, value: float, on_log: Log | None = None) -> None:
        """Writes a row of metrics with R2 on the validation split, keeps the best averaged weights."""
        value = self.team.mean(value, self.device)
        if not self.team.leads:
            return
        predicted = predict(self.ema, self.validation_text, self.config.objective.target)
        r2 = weights_r2(predicted, self.validation_clean, self.statistics.mask)
        row = {
            "step": self.step,
            "seconds": round(self.elapsed, 3),
            "loss": round(value, 6),
            "r2": round(r2, 6),
            "learning_rate": self.learning_rate,
        }
        self.rows.append(row)
        write_rows(self.out_dir, self.rows)
        if row["r2"] > self.best or self.config.keep_last:
            save_tensors(self.out_dir / "checkpoints" / BEST, self.ema.state_dict(), row)
        self.best = max(self.best, row["r2"])
        if on_log:
            on_log(row)

    def checkpoint(self) -> None:
        """Writes everything that is needed to go on exactly from here."""
        if not self.team.leads:
            return
        best = self.best if math.isfinite(self.best) else None
        state = {"elapsed": self.elapsed, "best": best, "rows": self.rows}
        folder = self.out_dir / "checkpoints"
        save_training(folder, self.step, self.networks, self.optimizers, state, self.config.keep_checkpoints)

    def restore(self) -> None:
        """Goes back to the newest checkpoint, if there is one."""
        state = load_training(self.out_dir / "checkpoints", self.networks, self.optimizers)
        if state is not None:
            self.step, self.elapsed = state["step"], state["elapsed"]
            self.best = -math.inf if state["best"] is None else state["best"]
            self.rows = state["rows"]


@torch.no_grad()
def predict(denoiser: nn.Module, text: TextStates, target: str = "x0", batch_size: int = 32) -> Tensor:
    """One-step predictions of normalised blocks [B, num_blocks, block_size], in batches."""
    parts = [
        one_step(denoiser, text[i : i + batch_size], target=target) for i in range(0, len(text), batch_size)
    ]
    return torch.cat(parts)


def weights_r2(predicted: Tensor, true: Tensor, mask: Tensor) -> float:
    """1 - sum (predicted - true)^2 / sum (mean - true)^2 over normalised weights (their mean is 0)."""
    return float(1 - ((predicted - true) ** 2 * mask).sum() / (true**2 * mask).sum())


def with_validation(
    source: WeightSource, validation: WeightDataset | None
) -> tuple[WeightSource, WeightDataset]:
    """The source and what it is validated on; a dataset without a validation split gives 5 % of its own.

    Raises:
        WeightzooError: a stream without validation records.
    """
    if validation is not None and len(validation):
        return source, validation
    if not isinstance(source, WeightDataset):
        raise WeightzooError(f"{source.name} has no validation records; see weightgen.training.stream.open_source")
    return hold_out(source)
