"""Training a weight generator on a zoo: first stage, in weight space.

    train(presets.small(), load_zoo("runs/small"), "model", validation=load_zoo("runs/small", "validation"))

Leaves a model folder (see `weightgen.model_folder`) plus `metrics.jsonl`, `config.json` and `checkpoints/`.
The same call again goes on from the newest checkpoint, and returns at once when the folder is finished. All
randomness of step n is a function of (seed, n), so a resumed run equals an uninterrupted one. With `seconds`
the learning rate follows the elapsed time instead of the step.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from weightgen.checkpoint import (
    load_checkpoint,
    load_optimizer,
    load_tensors,
    optimizer_tensors,
    save_checkpoint,
    save_tensors,
    under,
    with_prefix,
)
from weightgen.data import Batch, WeightDataset, batches, hold_out
from weightgen.model_folder import save_model_folder
from weightgen.normalize import BlockStatistics
from weightgen.objective import ObjectiveConfig, loss, make_scheduler, one_step
from weightgen.prefetch import prefetch
from weightgen.text import TextStates, load_text_encoder
from weightgen.training_progress import training_progress
from zoo.config import config_diff, save_config, to_dict
from zoo.errors import WeightzooError
from zoo.files import read_json, write_text

Log = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class TrainConfig:
    """How a weight generator is trained; see `weightgen.presets`.

    Attributes:
        denoiser: key of DENOISERS; denoiser_options: its constructor arguments beside sizes of the data.
        steps: training steps, unless a limit in seconds is given.
        warmup: share of the training over which the learning rate rises; then it falls as a cosine to zero.
        ema_decay: of the averaged weights that are validated and saved (lower in the first steps).
        validate_every, checkpoint_every: in steps. A validated best model is kept beside the checkpoints.
        keep_last: keep the last averaged weights instead of those with the best R2: where R2 varies more from one
            validation to the next than it rises, it cannot choose.
        device: "auto" takes a GPU when there is one.
    """

    denoiser: str = "transformer"
    denoiser_options: dict[str, Any] = field(default_factory=dict)
    text_encoder: str = "minilm"
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    steps: int = 1100
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    clip_norm: float = 1.0
    ema_decay: float = 0.99
    validate_every: int = 50
    checkpoint_every: int = 100
    keep_checkpoints: int = 2
    keep_last: bool = False
    seed: int = 0
    device: str = "auto"


def train(
    config: TrainConfig,
    dataset: WeightDataset,
    out_dir: str | Path,
    validation: WeightDataset | None = None,
    seconds: float | None = None,
    resume: bool = True,
    on_log: Log | None = None,
) -> Path:
    """Trains on `dataset` and returns the model folder `out_dir`.

    Args:
        validation: held-out records for R2 and the choice of the best weights; by default 5 % of `dataset`.
        seconds: wall-clock limit in place of `config.steps`: preparation (once), training and validation;
            what was used up is kept across resumes.
        resume: False starts anew.
        on_log: gets each row of metrics.jsonl as it is written.

    Raises:
        WeightzooError: a folder of another config or data, an empty split, a loss that is not finite.
    """
    out_dir = Path(out_dir)
    if validation is None or len(validation) == 0:
        dataset, validation = hold_out(dataset)
    if not resume:
        _clear(out_dir)
    if _freeze(out_dir, config, seconds, dataset):
        return out_dir
    training = Training(config, dataset, validation, out_dir, seconds)
    training.restore()
    try:
        training.run(on_log)
    except KeyboardInterrupt:
        training.checkpoint()
        raise
    return training.finish()


class Training:
    """The state of one training run: networks, optimiser, step and elapsed seconds."""

    def __init__(
        self,
        config: TrainConfig,
        dataset: WeightDataset,
        validation: WeightDataset,
        out_dir: Path,
        seconds: float | None = None,
    ) -> None:
        started = time.perf_counter()
        torch.set_flush_denormal(True)
        self.config, self.dataset, self.out_dir, self.seconds = config, dataset, out_dir, seconds
        self.device = torch.device(pick_device(config.device))
        self.text_encoder = load_text_encoder(config.text_encoder)
        self.statistics = BlockStatistics.from_blocks(dataset.blocks, dataset.layout.mask)
        self.clean = self.statistics.normalize(dataset.blocks).to(self.device)
        self.mask = self.statistics.mask.to(self.device)
        texts, records = validation.evaluation_prompts()
        self.validation_clean = self.statistics.normalize(validation.blocks)[records].to(self.device)
        self.validation_text = self.text_encoder.encode(texts).trim().to(self.device)

        torch.manual_seed(config.seed)
        self.denoiser = make_denoiser(config, dataset, self.text_encoder.width).to(self.device)
        self.ema = deepcopy(self.denoiser).eval().requires_grad_(False)
        self.scheduler = make_scheduler(config.objective)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.denoiser, config.weight_decay), config.learning_rate, fused=True
        )
        self.step, self.best = 0, -math.inf
        self.rows: list[dict[str, Any]] = []  # metrics.jsonl
        self.elapsed = time.perf_counter() - started

    @property
    def progress(self) -> float:
        """How much of the training is done, 0 to 1."""
        if self.seconds is None:
            return self.step / max(self.config.steps, 1)
        return min(self.elapsed / max(self.seconds, 1e-9), 1.0)

    def run(self, on_log: Log | None = None) -> None:
        """Trains until done, validating and writing checkpoints on the way."""
        config = self.config
        stream = prefetch(self.prepared(batches(self.dataset, config.batch_size, config.seed, self.step)))
        with closing(stream), training_progress(config.denoiser, config.batch_size) as show:
            while self.progress < 1 or self.step == 0:
                started = time.perf_counter()
                value = self.train_step(next(stream))
                self.elapsed += time.perf_counter() - started
                started = time.perf_counter()
                validated = self.progress >= 1 or self.step % config.validate_every == 0
                if validated:
                    self.validate(value, on_log)
                if self.progress >= 1 or self.step % config.checkpoint_every == 0:
                    self.checkpoint()
                self.elapsed += time.perf_counter() - started
                show(self.progress, loss=value, r2=self.best)
                if self.progress >= 1 and not validated:  # the time ran out while a checkpoint was written
                    self.validate(value, on_log)

    def prepared(self, stream: Iterator[Batch]) -> Iterator[Batch]:
        """The batches, their texts already in the encoder's cache (read ahead by another thread)."""
        for batch in stream:
            self.text_encoder.prepare(batch.texts(self.dataset))
            yield batch

    def train_step(self, batch: Batch) -> float:
        """One optimiser and EMA update; returns the loss."""
        config = self.config
        torch.manual_seed(hash((config.seed, self.step)) & 0x7FFFFFFFFFFFFFFF)
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * learning_rate_factor(self.progress, config.warmup)
        text = self.text_encoder.encode(batch.texts(self.dataset)).to(self.device)
        clean = self.clean[batch.concepts.to(self.device)]
        self.denoiser.train()
        value = loss(self.denoiser, clean, text, self.mask, self.scheduler, config.objective)
        value.backward()
        norm = nn.utils.clip_grad_norm_(self.denoiser.parameters(), config.clip_norm)
        if not bool(torch.isfinite(value + norm)):
            raise WeightzooError(
                f"the loss is not finite at step {self.step + 1} (learning rate {config.learning_rate:g}); "
                f"lower the learning rate and train into a new folder (checkpoints stay in {self.out_dir})"
            )
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        update_ema(self.ema, self.denoiser, min(config.ema_decay, self.step / (self.step + 9)))
        return float(value.detach())

    def validate(self, value: float, on_log: Log | None = None) -> float:
        """Writes a row of metrics, keeps the best averaged weights; returns R2 on the validation split."""
        predicted = predict(self.ema, self.validation_text, self.config.objective.target)
        r2 = weights_r2(predicted, self.validation_clean, self.mask)
        row = {
            "step": self.step,
            "seconds": round(self.elapsed, 3),
            "loss": round(value, 6),
            "r2": round(r2, 6),
            "learning_rate": self.optimizer.param_groups[0]["lr"],
        }
        self.rows.append(row)
        write_text(self.out_dir / "metrics.jsonl", "".join(f"{json.dumps(row)}\n" for row in self.rows))
        if r2 > self.best or self.config.keep_last:
            save_tensors(self.out_dir / "checkpoints" / "best.safetensors", self.ema.state_dict(), row)
        self.best = max(self.best, r2)
        if on_log:
            on_log(row)
        return r2

    def checkpoint(self) -> None:
        """Writes everything that is needed to go on exactly from here."""
        tensors = {
            **with_prefix("denoiser", self.denoiser.state_dict()),
            **with_prefix("ema", self.ema.state_dict()),
            **with_prefix("optimizer", optimizer_tensors(self.optimizer)),
        }
        best = self.best if math.isfinite(self.best) else None
        state = {"elapsed": self.elapsed, "best": best, "rows": self.rows}
        folder = self.out_dir / "checkpoints"
        save_checkpoint(folder, self.step, tensors, state, self.config.keep_checkpoints)

    def restore(self) -> None:
        """Goes back to the newest checkpoint, if there is one."""
        found = load_checkpoint(self.out_dir / "checkpoints")
        if found:
            tensors, state = found
            self.denoiser.load_state_dict(under("denoiser", tensors))
            self.ema.load_state_dict(under("ema", tensors))
            load_optimizer(self.optimizer, under("optimizer", tensors))
            self.step, self.elapsed = state["step"], state["elapsed"]
            self.best = -math.inf if state["best"] is None else state["best"]
            self.rows = state["rows"]

    def finish(self) -> Path:
        """Writes the model folder with the best (or last) averaged weights."""
        weights, row = load_tensors(self.out_dir / "checkpoints" / "best.safetensors")
        self.ema.load_state_dict(weights)
        metadata = {
            "stage": "generated",
            "zoo": self.dataset.name,
            "concepts": len(self.dataset),
            "steps": self.step,
            "seconds": round(self.elapsed, 1),
            "best": row,
            "config": to_dict(self.config),
        }
        return save_model_folder(
            self.out_dir, self.ema, self.scheduler, self.dataset.layout, self.statistics,
            self.dataset.base_generator, self.text_encoder.name, metadata,
        )  # fmt: skip


def make_denoiser(config: TrainConfig, dataset: WeightDataset, text_width: int) -> nn.Module:
    """The config's denoiser with the data's sizes, as a diffusers model.

    Raises:
        WeightzooError: unknown denoiser or option.
    """
    from weightgen.denoisers import DENOISERS

    if config.denoiser not in DENOISERS:
        raise WeightzooError(f"unknown denoiser {config.denoiser!r}; known: {', '.join(DENOISERS)}")
    sizes = {"num_blocks": dataset.layout.num_blocks, "block_size": dataset.layout.block_size}
    try:
        return DENOISERS[config.denoiser](**sizes, text_width=text_width, **config.denoiser_options)
    except TypeError as error:
        raise WeightzooError(f"denoiser {config.denoiser}: {error}; check denoiser_options") from error


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices, none for vectors (biases, norms, null states)."""
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    return [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]


def learning_rate_factor(progress: float, warmup: float) -> float:
    """Linear warm-up over the first `warmup` of the training, then a cosine to zero."""
    if progress < warmup:
        return max(progress, 1e-3) / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


@torch.no_grad()
def update_ema(ema: nn.Module, network: nn.Module, decay: float) -> None:
    """ema <- decay * ema + (1 - decay) * network."""
    torch._foreach_lerp_(list(ema.parameters()), list(network.parameters()), 1 - decay)


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


def pick_device(device: str) -> str:
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def _freeze(out_dir: Path, config: TrainConfig, seconds: float | None, dataset: WeightDataset) -> bool:
    """Writes the run's identity, or checks that it is the same; True if the folder is already finished."""
    identity = {"train": to_dict(config), "seconds": seconds, "data": dataset.fingerprint}
    path = out_dir / "config.json"
    if path.exists() and (difference := config_diff(read_json(path), identity)):
        raise WeightzooError(
            f"{out_dir} was started with another config or other data ({difference.replace(chr(10), '; ')}); "
            "use a new folder, or start anew with --no-resume"
        )
    save_config(path, identity)
    return (out_dir / "model_index.json").exists()


def _clear(out_dir: Path) -> None:
    """Removes what an earlier run left, checkpoints included (the index first: then it is unfinished)."""
    for name in ("model_index.json", "config.json", "metrics.jsonl"):
        (out_dir / name).unlink(missing_ok=True)
    for path in (out_dir / "checkpoints").glob("*.safetensors"):
        path.unlink()
