"""What the second and the third stage of training share: each trains the denoiser of a model folder on, by pictures.

    train_on("polished", "control", prepare, "model/", config, "polished/", seconds=300)

A stage says how a run is prepared from the model. The folder that it leaves is a
model folder plus `metrics.jsonl`, `config.json` and `checkpoints/`. The same call again goes on from the newest
checkpoint, and returns at once when the folder is finished. The first stage, which has no model yet, is
`weightgen.training.train`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from weightgen.model_folder import ModelFolder, denoiser_sha256, load_model_folder, save_with_weights
from weightgen.training.checkpoint import load_tensors
from weightgen.training.config import PairedConfig, PolishConfig
from weightgen.training.loop import Log, TrainingRun, Validation
from weightgen.training.progress import training_progress
from weightgen.training.run_folder import BEST, begin, clear
from weightgen.training.stopping import stop_between_steps
from zoo.config import to_dict
from zoo.errors import WeightzooError
from zoo.files import rounded
from zoo.memory import keep_freed_memory

T = TypeVar("T")
TITLES = {"polished": "polishing", "paired": "learning to read pairs"}  # on the progress display
SMOOTHED = 5  # validations whose mean decides: a single one, of a few concepts, is low by chance


def train_on(
    stage: str,
    role: str,
    prepare: Callable[[ModelFolder], TrainingRun],
    model_dir: str | Path,
    config: PolishConfig | PairedConfig,
    out_dir: Path,
    seconds: float | None = None,
    resume: bool = True,
    on_log: Log | None = None,
    data: str = "",
) -> Path:
    """Train the model of `model_dir` on and return the model folder `out_dir`, with the best averaged weights.

    Args:
        stage: of `TITLES`; the key of its config in `config.json`, and of what it took in the model's metadata.
        role: of `weightgen.model_roles.ROLES`.
        prepare: returns the run before its first step, in `out_dir`.
        seconds: wall-clock limit in place of `config.steps`.
        resume: False starts anew.
        on_log: gets each row of metrics.jsonl as it is written.
        data: a fingerprint of the data; a run goes on with the same only.

    Raises:
        WeightzooError: `out_dir` is the model itself, or a folder of another config, model or data.
        Interrupted: Ctrl-C; the step was brought to its end, and the same call goes on from there.
    """
    model = load_model_folder(model_dir)
    if out_dir.resolve() == model.path.resolve():
        raise WeightzooError(f"{out_dir} is the model to polish; write the polished one to another folder")
    if not resume:
        clear(out_dir)
    identity = {"seconds": seconds, "model": denoiser_sha256(model.path), "data": data}
    if begin(out_dir, stage, config, identity, "config, model or data"):
        return out_dir
    torch.set_flush_denormal(True)
    keep_freed_memory()
    run = prepare(model)
    run.restore()
    with training_progress(TITLES[stage], "steps") as show, stop_between_steps(out_dir) as stop:
        run.run(on_log, show, stop=stop)
    weights, row = load_tensors(run.folder / "checkpoints" / BEST)
    run.ema.load_state_dict(weights)
    account = {"steps": run.step, "seconds": round(run.elapsed, 1), "best": row, "config": to_dict(config)}
    metadata = {**model.metadata, "role": role, "stage": stage, stage: account}
    return save_with_weights(run.folder, model, run.ema, metadata=metadata)


def picture_validation(
    errors_of: Callable[[nn.Module, T], Tensor], batches: Sequence[T], name: str = "l1"
) -> Validation:
    """Return a validation by the mean error over the concepts of `batches`; without any, the last weights are kept.

    Args:
        errors_of: a network and a batch to the error of each of its concepts, [P].
        name: of the error, in metrics.jsonl.
    """

    @torch.no_grad()
    def measure(run: TrainingRun) -> dict[str, float | None]:
        errors = [errors_of(run.ema, batch).cpu() for batch in batches]
        return {name: rounded(float(torch.cat(errors).mean()) if errors else math.nan)}

    return Validation(name, measure, higher_is_better=False, smoothed=SMOOTHED, keep_last=not batches, at_start=True)
