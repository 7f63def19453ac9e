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

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from weightgen.denoisers import NETWORKS
from weightgen.model_folder import ModelFolder
from weightgen.normalize import BlockStatistics
from weightgen.objective import one_step
from weightgen.text import TextEncoder, load_text_encoder
from weightgen.training.config import PolishConfig
from weightgen.training.loader import prefetch
from weightgen.training.loop import Log, Stage, TrainingRun
from weightgen.training.optim import pick_device, step_seed
from weightgen.training.seen_pictures import SeenPictures
from weightgen.training.stages import picture_validation, train_on
from zoo.adapters.lora import load_base
from zoo.pictures.picture_batches import Batches, PictureBatch, batches_from, picture_loss
from zoo.training.batches import Batch
from zoo.training.gan_objective import run_on_batch

NOISE_FRACTION = 0.25  # of a step's networks: a model that only ever saw zeros could not be sampled from noise


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
    """Polish the model of `model_dir` and return the model folder `out_dir`.

    Args:
        batches: endless; an iterable, or a function from a step to an iterable that begins there. A resumed
            run skips what an iterable has given before.
        seconds: wall-clock limit (kept across resumes, rendering and validation included) in place of
            `config.steps`.
        validation: fixed batches; the result is the averaged weights at which the mean of the last five L1
            on them is lowest (without any, the last ones).
        resume: False starts anew.
        on_log: gets each row of metrics.jsonl as it is written.
        data: a fingerprint of what `batches` and `validation` are made from; a run goes on with the same only.

    Raises:
        WeightzooError: a folder of another config, model or data, batches that end or do not fit, or gradients that
            stay non-finite.
        Interrupted: Ctrl-C; the step was brought to its end, and the same call goes on from there.
    """
    folder = Path(out_dir)

    def prepared(model: ModelFolder) -> TrainingRun:
        return prepare(model, batches, config, folder, seconds, validation)

    role = "control" if config.random_init else "polished"
    return train_on("polished", role, prepared, model_dir, config, folder, seconds, resume, on_log, data)


def prepare(
    model: ModelFolder,
    batches: Batches,
    config: PolishConfig,
    out_dir: Path,
    seconds: float | None = None,
    validation: Sequence[PictureBatch] = (),
) -> TrainingRun:
    """Return a run before its first step; the arguments are those of `polish`."""
    device = torch.device(pick_device(config.device))
    denoiser = model.denoiser
    if config.random_init:
        torch.manual_seed(config.seed)
        denoiser = NETWORKS[model.denoiser_name](**model.denoiser.settings)
    pictures = PictureStage(
        model,
        config,
        batches,
        encoder=load_text_encoder(model.text_encoder_name),
        seen=SeenPictures(load_base(model.base_generator_path).to(device)),
        statistics=model.statistics.to(device),
    )
    stage = Stage(
        pictures.read_ahead, pictures.gradients, picture_validation(pictures.errors, validation), config.max_skipped
    )
    denoiser = denoiser.to(device).eval().requires_grad_(True)  # without dropout
    return TrainingRun(config, stage, denoiser, out_dir, seconds)


@dataclass(frozen=True, eq=False)
class PictureStage:
    """What the second stage gives to the loop; the base that `seen` has, and `statistics`, are on the device."""

    model: ModelFolder
    config: PolishConfig
    batches: Batches
    encoder: TextEncoder
    seen: SeenPictures
    statistics: BlockStatistics

    def read_ahead(self, step: int) -> Generator[PictureBatch]:
        """Return the batches from `step` on, rendered and their prompts encoded ahead."""
        return read_ahead(self.batches, step, self.encoder, self.seen)

    def gradients(self, run: TrainingRun, batch: PictureBatch) -> float:
        """Add the gradients of a batch; return its loss."""
        shown = self.seen.batch(batch).to(self.statistics.mask.device)
        noise = self.noise(run.step, len(batch.prompts))
        loss = picture_loss(self.outputs(run.network, batch.prompts, shown, noise), shown.targets)
        loss.backward()
        return float(loss.detach())

    def errors(self, denoiser: nn.Module, batch: PictureBatch) -> Tensor:
        """Return the mean L1 of each concept of a batch, [P]."""
        shown = self.seen.batch(batch).to(self.statistics.mask.device)
        return concept_errors(self.outputs(denoiser, batch.prompts, shown), shown.targets)

    def outputs(self, denoiser: nn.Module, prompts: list[str], shown: Batch, noise: Tensor | None = None) -> Tensor:
        """Return what the networks that `denoiser` makes of the prompts give, of the shape of the batch's targets."""
        text = self.encoder.encode(prompts).trim().to(self.statistics.mask.device)
        blocks = self.statistics.denormalize(one_step(denoiser, text, noise, self.model.target))
        return run_on_batch(self.seen.generator, self.model.layout.from_blocks(blocks), shown)

    def noise(self, step: int, count: int) -> Tensor:
        """Return what a step's networks start from: zeros, and noise for some of them."""
        generator = torch.Generator().manual_seed(step_seed(self.config.seed, step))
        shape = (count, self.model.layout.num_blocks, self.model.layout.block_size)
        chosen = torch.rand(count, generator=generator) < NOISE_FRACTION
        noise = torch.randn(shape, generator=generator) * chosen[:, None, None]
        return noise.to(self.statistics.mask.device) * self.statistics.mask


def read_ahead(batches: Batches, step: int, encoder: TextEncoder, seen: SeenPictures) -> Generator[PictureBatch]:
    """Return the batches from `step` on, made by another thread, which encodes their texts and looks at their pictures.

    What it finds stays in the caches of `encoder` and `seen`.
    """

    def prepare(batch: PictureBatch) -> None:
        encoder.prepare(batch.prompts)
        seen.batch(batch)

    return prefetch(batches_from(batches, step), prepare)


def concept_errors(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean L1 of each concept, [P], of what its network gives, clamped as a picture is."""
    return (outputs.clamp(0, 1) - targets).abs().flatten(1).mean(1)
