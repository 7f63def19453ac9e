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
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from weightgen.denoisers import NETWORKS
from weightgen.model_folder import ModelFolder, denoiser_sha256, load_model_folder, save_with_weights
from weightgen.normalize import BlockStatistics
from weightgen.objective import one_step
from weightgen.text import TextEncoder, load_text_encoder
from weightgen.training.checkpoint import load_tensors
from weightgen.training.config import PolishConfig
from weightgen.training.loader import prefetch
from weightgen.training.loop import Log, Stage, TrainingRun, Validation
from weightgen.training.optim import pick_device, step_seed
from weightgen.training.progress import training_progress
from weightgen.training.run_folder import BEST, begin, clear
from weightgen.training.seen_pictures import SeenPictures
from weightgen.training.stopping import stop_between_steps
from zoo.adapters.lora import load_base
from zoo.config import to_dict
from zoo.errors import WeightzooError
from zoo.files import rounded
from zoo.memory import keep_freed_memory
from zoo.pictures.picture_batches import Batches, PictureBatch, batches_from, picture_loss
from zoo.training.batches import Batch
from zoo.training.gan_objective import run_on_batch

T = TypeVar("T")
NOISE_FRACTION = 0.25  # of a step's networks: a model that only ever saw zeros could not be sampled from noise
SMOOTHED = 5  # validations whose mean decides: a single one, of a few concepts, is low by chance


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
    identity = {"seconds": seconds, "model": denoiser_sha256(model.path), "data": data}
    if begin(out_dir, "polish", config, identity, "config, model or data"):
        return out_dir
    run = prepare(model, batches, config, out_dir, seconds, validation)
    run.restore()
    with training_progress("polishing", "steps") as show, stop_between_steps(out_dir) as stop:
        run.run(on_log, show, stop=stop)
    return finish(run, config, model)


def prepare(
    model: ModelFolder,
    batches: Batches,
    config: PolishConfig,
    out_dir: Path,
    seconds: float | None = None,
    validation: Sequence[PictureBatch] = (),
) -> TrainingRun:
    """Return a run before its first step; the arguments are those of `polish`."""
    torch.set_flush_denormal(True)
    keep_freed_memory()
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


def picture_validation(errors_of: Callable[[nn.Module, T], Tensor], batches: Sequence[T]) -> Validation:
    """Return a validation by the mean L1 over the concepts of `batches`; without any, the last weights are kept.

    Args:
        errors_of: a network and a batch to the mean L1 of each of its concepts, [P].
    """

    @torch.no_grad()
    def measure(run: TrainingRun) -> dict[str, float | None]:
        errors = [errors_of(run.ema, batch).cpu() for batch in batches]
        return {"l1": rounded(float(torch.cat(errors).mean()) if errors else math.nan)}

    return Validation("l1", measure, higher_is_better=False, smoothed=SMOOTHED, keep_last=not batches, at_start=True)


def finish(run: TrainingRun, config: PolishConfig, model: ModelFolder) -> Path:
    """Write the model folder with the best averaged weights."""
    weights, row = load_tensors(run.folder / "checkpoints" / BEST)
    run.ema.load_state_dict(weights)
    metadata = {
        **model.metadata,
        "role": "control" if config.random_init else "polished",
        "stage": "polished",
        "polish": {"steps": run.step, "seconds": round(run.elapsed, 1), "best": row, "config": to_dict(config)},
    }
    return save_with_weights(run.folder, model, run.ema, metadata=metadata)
