"""The first stage of training, in weight space: what the loop is given to learn the weights of a zoo.

    run = prepare(PRESETS["small"](), load_zoo("runs/small"), load_zoo("runs/small", "validation"), Path("model"))
    run.run()

`weightgen.training.train` has the whole training. All randomness of step n is a function of (seed, n), so a resumed run
equals an uninterrupted one. Several processes train one network when torch's process group says so
(`weightgen.training.team`): each makes its rows of every batch.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from weightgen.normalize import BlockStatistics
from weightgen.objective import draw, loss, make_scheduler, one_step
from weightgen.text import TextEncoder, TextStates, load_text_encoder
from weightgen.training.config import TrainConfig, make_denoiser
from weightgen.training.data import WeightBatch, WeightDataset, hold_out
from weightgen.training.loader import load
from weightgen.training.loop import Stage, TrainingRun, Validation
from weightgen.training.optim import pick_device, step_seed
from weightgen.training.stream import WeightSource
from weightgen.training.team import Team
from zoo.errors import WeightzooError
from zoo.files import rounded
from zoo.memory import keep_freed_memory

if TYPE_CHECKING:
    from diffusers import DDPMScheduler


def prepare(
    config: TrainConfig,
    source: WeightSource,
    validation: WeightDataset,
    out_dir: Path,
    seconds: float | None = None,
    device: str | None = None,
    loader_workers: int = 0,
) -> TrainingRun:
    """Return a run before its first step; what preparing it took counts as elapsed.

    Args:
        device: in place of the config's.
        loader_workers: processes that read batches ahead; 0 is a thread.

    Raises:
        WeightzooError: a batch that cannot be divided, or an unknown denoiser, text encoder or device.
    """
    started = time.perf_counter()
    torch.set_flush_denormal(True)
    keep_freed_memory()
    team = Team.here()
    slots = team.slots(config.batch_size)
    if len(slots) % config.accumulate:
        raise WeightzooError(
            f"{len(slots)} rows of a batch cannot be accumulated in {config.accumulate} equal parts; "
            "choose another number"
        )
    place = torch.device(device or pick_device(config.device))
    encoder, statistics = load_text_encoder(config.text_encoder), source.statistics().to(place)
    texts, records = validation.evaluation_prompts()
    torch.manual_seed(config.seed)
    denoiser = make_denoiser(config, source, encoder.width).to(place)
    weights = WeightStage(
        config=config,
        source=source,
        team=team,
        slots=slots,
        loader_workers=loader_workers,
        encoder=encoder,
        statistics=statistics,
        scheduler=make_scheduler(config.objective),
        network=team.wrap(denoiser),
        validation_clean=statistics.normalize(validation.blocks.to(place))[records],
        validation_text=encoder.encode(texts).trim().to(place),
    )
    stage = Stage(weights.batches, weights.gradients, Validation("r2", weights.measure, keep_last=config.keep_last))
    run = TrainingRun(config, stage, denoiser, out_dir, seconds, team)
    run.elapsed = time.perf_counter() - started
    return run


@dataclass(frozen=True, eq=False)
class WeightStage:
    """What the first stage gives to the loop.

    Attributes:
        slots: this process's rows of every batch.
        network: the denoiser; in a team it averages gradients.
        validation_clean: normalised blocks [V, num_blocks, block_size], one for each of the V held-out texts.
    """

    config: TrainConfig
    source: WeightSource
    team: Team
    slots: range
    loader_workers: int
    encoder: TextEncoder
    statistics: BlockStatistics
    scheduler: DDPMScheduler
    network: nn.Module
    validation_clean: Tensor
    validation_text: TextStates

    def batches(self, step: int) -> Generator[WeightBatch]:
        """Return the batches from `step` on, read ahead."""
        return load(
            self.source,
            self.config.batch_size,
            self.config.seed,
            step,
            self.slots,
            self.loader_workers,
            lambda batch: self.encoder.prepare(batch.texts),
        )

    def gradients(self, run: TrainingRun, batch: WeightBatch) -> float:
        """Add the gradients of this process's rows, in the config's number of parts; return their loss."""
        config, mask = self.config, self.statistics.mask
        torch.manual_seed(step_seed(config.seed, run.step))
        # every process draws for the whole batch and takes its rows: how it is divided changes nothing
        draws = draw(config.batch_size, mask, config.objective, run.network.independent_blocks).rows(
            slice(self.slots.start, self.slots.stop)
        )
        text = self.encoder.encode(batch.texts).to(mask.device)
        clean = self.statistics.normalize(batch.blocks.to(mask.device))
        self.network.train()
        value, size = 0.0, len(self.slots) // config.accumulate
        for i in range(config.accumulate):
            if self.team.rank or i:  # dropout differs between the parts of a batch
                torch.manual_seed(step_seed(config.seed, run.step, self.team.rank, i))
            part = slice(i * size, (i + 1) * size)
            with self._averaging(last=i + 1 == config.accumulate), self._autocast():
                share = loss(
                    self.network, clean[part], text[part], mask, self.scheduler, config.objective, draws.rows(part)
                ) / config.accumulate  # fmt: skip
                share.backward()
            value += float(share.detach())
        return value

    def measure(self, run: TrainingRun) -> dict[str, float | None]:
        """Return R2 of the averaged weights on the validation split, and the learning rate."""
        predicted = predict(run.ema, self.validation_text, self.config.objective.target)
        r2 = weights_r2(predicted, self.validation_clean, self.statistics.mask)
        return {"r2": rounded(r2), "learning_rate": run.learning_rate}

    def _averaging(self, last: bool) -> Any:
        """Average gradients over the team with the last part of a batch only."""
        return nullcontext() if last or self.team.size == 1 else self.network.no_sync()

    def _autocast(self) -> Any:
        precision, kind = self.config.precision, self.statistics.mask.device.type
        enabled = precision == "bfloat16" or (precision == "auto" and kind == "cuda")
        return torch.autocast(kind, torch.bfloat16, enabled=enabled)


@torch.no_grad()
def predict(denoiser: nn.Module, text: TextStates, target: str = "x0", batch_size: int = 32) -> Tensor:
    """Return one-step predictions of normalised blocks [B, num_blocks, block_size], made in batches."""
    parts = [one_step(denoiser, text[i : i + batch_size], target=target) for i in range(0, len(text), batch_size)]
    return torch.cat(parts)


def weights_r2(predicted: Tensor, true: Tensor, mask: Tensor) -> float:
    """Return 1 - sum (predicted - true)^2 / sum (mean - true)^2 over normalised weights, whose mean is 0."""
    return float(1 - ((predicted - true) ** 2 * mask).sum() / (true**2 * mask).sum())


def with_validation(source: WeightSource, validation: WeightDataset | None) -> tuple[WeightSource, WeightDataset]:
    """Return the source and what it is validated on; a dataset without a validation split gives 5 % of its own.

    Raises:
        WeightzooError: a stream without validation records.
    """
    if validation is not None and len(validation):
        return source, validation
    if not isinstance(source, WeightDataset):
        raise WeightzooError(f"{source.name} has no validation records; see weightgen.training.stream.open_source")
    return hold_out(source)
