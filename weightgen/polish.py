"""Polishing: the second stage of training, by pictures.

    polish("model/", batches, PolishConfig(), "polished/", seconds=300, validation=held_out_batches)

The weight-space loss of the first stage does not know which error a viewer sees. Here the same denoiser is
trained on through what its weights do: prompt -> weights in one step -> frozen base with these weights on
photographs -> L1 to the teacher's targets, and the gradient goes back into the denoiser. No GAN needs to be
trained for a concept to take part, so it sees many more concepts than the zoo has.

Leaves a model folder whose metadata says `"stage": "polished"`, plus `metrics.jsonl`, `config.json` and
`checkpoints/`. The same call again goes on from the newest checkpoint and returns at once when the folder is
finished; a resumed run equals an uninterrupted one if batch number n is always the same. `random_init=True`
is the control: the same network trained by pictures alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from rich.progress import TextColumn
from torch import Tensor, nn

from weightgen.checkpoint import load_tensors, load_training, save_tensors, save_training
from weightgen.denoisers import NETWORKS
from weightgen.model_folder import ModelFolder, denoiser_sha256, load_model_folder, save_model_folder
from weightgen.objective import one_step
from weightgen.optimizing import (
    learning_rate_factor,
    make_optimizers,
    pick_device,
    set_learning_rate,
    share_done,
    step_seed,
    update,
    update_ema,
)
from weightgen.pictures import Batches, PictureBatch, batches_from, check_batch, picture_loss
from weightgen.prefetch import prefetch
from weightgen.stopping import stop_between_steps
from weightgen.text import load_text_encoder
from weightgen.train_folder import BEST, begin, clear, write_rows
from zoo.config import to_dict
from zoo.errors import WeightzooError
from zoo.lora import load_base
from zoo.memory import keep_freed_memory
from zoo.progress import bar
from zoo.train_gan import run_generators
from zoo.words import plural

__all__ = ["PictureBatch", "PolishConfig", "polish"]
Log = Callable[[dict[str, Any]], None]
SMOOTHED = 5  # validations: a single one, of a few concepts, is low by chance while the learning rate is high


@dataclass(frozen=True)
class PolishConfig:
    """How a denoiser is polished. Concepts and crops a step are what the batches hold (32 x 1 as measured).

    Args:
        steps: training steps, unless a limit in seconds is given.
        optimizer: see `weightgen.optimizing.make_optimizers`.
        edge_weight: weight of the L1 between the gradients of image and target, beside plain L1.
        noise_fraction: share of the networks that start from noise; the others from zeros, as in `one_step`.
        use_dropout: whether the denoiser's dropout stays on.
        random_init: forget the first stage and start from random weights (the control).
        warmup: share of the training over which the learning rate rises; then it falls as a cosine to zero.
        max_skipped: updates in a row that may be skipped because a gradient is not finite.
    """

    steps: int = 4000
    optimizer: Literal["adamw", "muon"] = "muon"
    learning_rate: float = 4e-4
    weight_decay: float = 0.05
    warmup: float = 0.03
    clip_norm: float = 1.0
    ema_decay: float = 0.995
    edge_weight: float = 0.0
    noise_fraction: float = 0.25
    use_dropout: bool = False
    random_init: bool = False
    validate_every: int = 100
    checkpoint_every: int = 100
    keep_checkpoints: int = 2
    max_skipped: int = 5
    seed: int = 0
    device: str = "auto"


def polish(
    model_dir: str | Path,
    batches: Batches,
    config: PolishConfig,
    out_dir: str | Path,
    seconds: float | None = None,
    validation: Sequence[PictureBatch] = (),
    resume: bool = True,
    on_log: Log | None = None,
    data: str = "",
) -> Path:
    """Polishes the model of `model_dir` and returns the model folder `out_dir`.

    Args:
        batches: endless; an iterable, or a function from a step to an iterable that begins there. A resumed
            run skips what an iterable has given before.
        seconds: wall-clock limit (kept across resumes, rendering and validation included) in place of
            `config.steps`.
        validation: fixed batches; the result is the averaged weights at which the mean of the last `SMOOTHED`
            L1 on them is lowest (without any, the last ones).
        resume: False starts anew.
        on_log: gets each row of metrics.jsonl as it is written.
        data: a fingerprint of what `batches` and `validation` are made from; a run goes on with the same only.

    Raises:
        WeightzooError: a folder of another config, model or data, batches that end or do not fit, or gradients that
            stay non-finite.
        Interrupted: Ctrl-C; the step was brought to its end, and the same call goes on from there.
    """
    model, out_dir = load_model_folder(model_dir), Path(out_dir)
    if out_dir.resolve() == model.path.resolve():
        raise WeightzooError(f"{out_dir} is the model to polish; write the polished one to another folder")
    if not resume:
        clear(out_dir)
    if freeze(out_dir, config, seconds, model, data):
        return out_dir
    polishing = Polishing(model, config, out_dir, seconds, validation)
    polishing.restore()
    with stop_between_steps(out_dir) as stop:
        polishing.run(batches, on_log, stop)
    return polishing.finish()


class Polishing:
    """The state of one run: networks, optimiser, step and elapsed seconds."""

    def __init__(
        self,
        model: ModelFolder,
        config: PolishConfig,
        out_dir: Path,
        seconds: float | None,
        validation: Sequence[PictureBatch],
    ) -> None:
        torch.set_flush_denormal(True)
        keep_freed_memory()
        self.model, self.config, self.out_dir, self.seconds = model, config, out_dir, seconds
        self.device = torch.device(pick_device(config.device))
        self.encoder = load_text_encoder(model.text_encoder_name)
        self.base = load_base(model.base_generator_path).to(self.device)
        self.statistics = model.statistics.to(self.device)
        self.validation = list(validation)
        self.denoiser = model.denoiser
        if config.random_init:
            torch.manual_seed(config.seed)
            self.denoiser = NETWORKS[model.denoiser_name](**model.denoiser.settings)
        self.denoiser = self.denoiser.to(self.device).train(config.use_dropout).requires_grad_(True)
        self.ema = deepcopy(self.denoiser).eval().requires_grad_(False)
        self.networks = {"denoiser": self.denoiser, "ema": self.ema}  # of a checkpoint
        self.optimizers = make_optimizers(
            self.denoiser, config.optimizer, config.learning_rate, config.weight_decay
        )
        self.step, self.elapsed, self.best, self.skipped = 0, 0.0, math.inf, 0
        self.rows: list[dict[str, Any]] = []  # metrics.jsonl

    @property
    def progress(self) -> float:
        """How much of the training is done, 0 to 1."""
        return share_done(self.step, self.config.steps, self.elapsed, self.seconds)

    def run(
        self, batches: Batches, on_log: Log | None = None, stop: Callable[[], bool] = lambda: False
    ) -> None:
        """Trains until done, validating and writing checkpoints on the way.

        Args:
            stop: asked after each step; True ends the run with a checkpoint of that step.
        """
        config = self.config
        stream, value = prefetch(self.prepared(batches_from(batches, self.step))), math.nan
        before, began = self.elapsed, time.perf_counter()
        with closing(stream), bar(TextColumn("{task.fields[values]}")) as display:
            task = display.add_task(
                "polishing", total=self.seconds or config.steps, unit="seconds" if self.seconds else "steps", values=""
            )
            if self.step == 0:
                self.validate(value, on_log)
            stopped = False
            while self.progress < 1 and not stopped:
                batch = next(stream, None)
                if batch is None:
                    raise WeightzooError(f"the batches ended at step {self.step}; give an endless iterable")
                value = self.train_step(batch)
                self.elapsed = before + time.perf_counter() - began
                done = self.progress >= 1
                if done or self.step % config.validate_every == 0:
                    self.validate(value, on_log)
                stopped = stop()
                if done or stopped or self.step % config.checkpoint_every == 0:
                    self.checkpoint()
                text = f"loss {value:.4f}  validation L1 {self.best:.4f}"
                display.update(task, values=text, completed=self.elapsed if self.seconds else self.step)

    def prepared(self, stream: Iterable[PictureBatch]) -> Iterator[PictureBatch]:
        """The batches, their texts already in the encoder's cache (read ahead by another thread)."""
        for batch in stream:
            self.encoder.prepare(batch.prompts)
            yield batch

    def outputs(self, denoiser: nn.Module, batch: PictureBatch, noise: Tensor | None = None) -> Tensor:
        """The batch's photographs edited by the networks that `denoiser` gives for its prompts."""
        text = self.encoder.encode(batch.prompts).trim().to(self.device)
        blocks = self.statistics.denormalize(one_step(denoiser, text, noise, self.model.target))
        return run_generators(self.base, self.model.layout.from_blocks(blocks), batch.sources.to(self.device))

    def noise(self, count: int) -> Tensor:
        """Starting points of this step's networks: zeros, and noise for some of them."""
        generator = torch.Generator().manual_seed(step_seed(self.config.seed, self.step))
        shape = (count, self.model.layout.num_blocks, self.model.layout.block_size)
        chosen = torch.rand(count, generator=generator) < self.config.noise_fraction
        noise = torch.randn(shape, generator=generator) * chosen[:, None, None]
        return noise.to(self.device) * self.statistics.mask

    def train_step(self, batch: PictureBatch) -> float:
        """One optimiser and EMA update; returns the loss. A gradient that is not finite changes nothing."""
        check_batch(batch)
        config = self.config
        if config.use_dropout:  # the only thing that draws from the global generator
            torch.manual_seed(step_seed(config.seed, self.step))
        learning_rate = config.learning_rate * learning_rate_factor(self.progress, config.warmup)
        set_learning_rate(self.optimizers.values(), learning_rate)
        images = self.outputs(self.denoiser, batch, self.noise(len(batch.prompts)))
        loss = picture_loss(images, batch.targets.to(self.device), config.edge_weight)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.denoiser.parameters(), config.clip_norm)
        self.step += 1
        if bool(torch.isfinite(loss + norm)):
            update(self.optimizers.values())
            update_ema(self.ema, self.denoiser, min(config.ema_decay, self.step / (self.step + 9)))
            self.skipped = 0
        else:
            self.denoiser.zero_grad()
            self.skipped += 1
        if self.skipped > config.max_skipped:
            raise WeightzooError(
                f"the gradient was not finite in {plural(self.skipped, 'step')} in a row, up to {self.step}; lower "
                f"the learning rate ({config.learning_rate:g}) and use another folder than {self.out_dir}"
            )
        return float(loss.detach())

    @torch.no_grad()
    def validate(self, value: float, on_log: Log | None = None) -> None:
        """Writes a row of metrics and keeps the best averaged weights (without batches: the latest)."""
        errors = [
            (self.outputs(self.ema, batch).clamp(0, 1).cpu() - batch.targets).abs().mean((1, 2, 3, 4))
            for batch in self.validation
        ]
        l1 = float(torch.cat(errors).mean()) if errors else math.nan
        row = {
            "step": self.step,
            "seconds": round(self.elapsed, 3),
            "loss": round(value, 6) if math.isfinite(value) else None,
            "l1": round(l1, 6) if math.isfinite(l1) else None,
        }
        self.rows.append(row)
        write_rows(self.out_dir, self.rows)
        recent = [row["l1"] for row in self.rows[-SMOOTHED:] if row["l1"] is not None]
        mean = sum(recent) / len(recent) if recent else math.inf
        if mean < self.best or not errors:
            self.best = mean
            save_tensors(self.out_dir / "checkpoints" / BEST, self.ema.state_dict(), row)
        if on_log:
            on_log(row)

    def checkpoint(self) -> None:
        """Writes everything that is needed to go on exactly from here."""
        best = self.best if math.isfinite(self.best) else None
        state = {"elapsed": self.elapsed, "best": best, "skipped": self.skipped, "rows": self.rows}
        folder = self.out_dir / "checkpoints"
        save_training(folder, self.step, self.networks, self.optimizers, state, self.config.keep_checkpoints)

    def restore(self) -> None:
        """Goes back to the newest checkpoint, if there is one."""
        state = load_training(self.out_dir / "checkpoints", self.networks, self.optimizers)
        if state is not None:
            self.step, self.elapsed, self.skipped = state["step"], state["elapsed"], state["skipped"]
            self.best = math.inf if state["best"] is None else state["best"]
            self.rows = state.get("rows", [])  # older checkpoints have none

    def finish(self) -> Path:
        """Writes the model folder with the best averaged weights."""
        weights, row = load_tensors(self.out_dir / "checkpoints" / BEST)
        self.ema.load_state_dict(weights)
        model = self.model
        metadata = {
            **model.metadata,
            "stage": "polished",
            "polish": {
                "steps": self.step,
                "seconds": round(self.elapsed, 1),
                "best": row,
                "config": to_dict(self.config),
            },
        }
        return save_model_folder(
            self.out_dir, self.ema, model.scheduler(), model.layout, model.statistics,
            model.base_generator_path, model.text_encoder_name, metadata, familiar=model.familiar,
        )  # fmt: skip


def freeze(
    out_dir: Path, config: PolishConfig, seconds: float | None, model: ModelFolder, data: str = ""
) -> bool:
    """Writes the run's identity, or checks that it is the same; True if the folder is already finished."""
    rest = {"seconds": seconds, "model": denoiser_sha256(model.path), "data": data}
    return begin(out_dir, "polish", config, rest, "config, model or data")
