"""The state of a fine-tuning on disk: all that `weightzoo finetune --resume OUT` needs beside the pairs.

    OUT/training/step-00000300.safetensors

One file with the weights, their averages, both optimisers, the discriminators, the best networks so far and, as JSON in
its metadata, the architectures, the rows and how the training was begun. The batch order follows from the seed and the
step. What has been restored goes on bit for bit as it would have gone on.

    save_progress(folder, progress, about)
    progress, about = load_progress(folder, device)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from weightgen.finetuning.best import Best
from weightgen.finetuning.measure import Row
from weightgen.finetuning.starts import Start
from weightgen.training.checkpoint import load_checkpoint, save_checkpoint
from zoo.adapters.lora import load_base
from zoo.adapters.peft_format import find_base
from zoo.config import from_dict, to_dict
from zoo.errors import WeightzooError
from zoo.files import sha256_file
from zoo.gans import GANS, gan_name
from zoo.gans.patchgan import PatchGanConfig
from zoo.training.optimizer_state import under, with_prefix
from zoo.training.train_gan import Fleet, GanTrainConfig

TRAINING = "training"  # the folder in OUT


@dataclass
class Progress:
    """A fine-tuning between two steps.

    Attributes:
        best: the best networks so far.
        rows: the evaluation rows of each concept.
        init_seconds: seconds that the start took, for all concepts together.
    """

    start: Start
    fleet: Fleet
    best: Best
    rows: list[list[Row]]
    init_seconds: float


def save_progress(out_dir: Path, progress: Progress, about: Mapping[str, Any]) -> None:
    """Write the state of a fine-tuning into `out_dir`, in place of an earlier one.

    Args:
        about: JSON values that `load_progress` is to give back.
    """
    start, fleet, best = progress.start, progress.fleet, progress.best
    state = {
        "about": dict(about),
        "gan": gan_name(start.generator.config),
        "generator": to_dict(start.generator.config),
        "discriminator": to_dict(start.discriminator.config),
        "base_sha256": None if start.base is None else sha256_file(start.base),
        "training": to_dict(fleet.config),
        "seconds": fleet.seconds,
        "init_seconds": progress.init_seconds,
        "rows": progress.rows,
        "best": {"by": best.by, "starts": best.starts, "rows": best.rows},
    }
    tensors = with_prefix("fleet", fleet.state()) | with_prefix("best", best.params)
    if start.base is None:
        fixed = start.generator.state_dict()
        tensors |= with_prefix("fixed", {name: fixed[name] for name in fixed.keys() - fleet.params.keys()})
    save_checkpoint(out_dir / TRAINING, fleet.steps, tensors, state, keep=1)


def load_progress(out_dir: Path, device: torch.device) -> tuple[Progress, dict[str, Any]]:
    """Read what `save_progress` wrote last; networks and optimisers come on `device`.

    Raises:
        WeightzooError: there is none, it is damaged, or the base of an adapter is not at hand.
    """
    found = load_checkpoint(out_dir / TRAINING)
    if found is None:
        raise WeightzooError(f"{out_dir} holds no training to go on with; name a folder that finetune has written")
    tensors, state = found
    try:
        start = restored_start(out_dir, state)
        start.generator.load_state_dict(under("fixed", tensors), strict=False)
        start = start.to(device)
        fleet = Fleet.start(
            start.generator,
            start.discriminator,
            from_dict(GanTrainConfig, state["training"]),
            len(state["rows"]),
            {name: value.to(device) for name, value in under("fleet.params", tensors).items()},
        )
        fleet.restore(under("fleet", tensors))
        fleet.steps, fleet.seconds = state["step"], state["seconds"]
        kept = {name: value.to(device) for name, value in under("best", tensors).items()}
        best = Best(**state["best"], params=kept)
        return Progress(start, fleet, best, state["rows"], state["init_seconds"]), state["about"]
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise WeightzooError(
            f"the training in {out_dir / TRAINING} is damaged ({error!r}); train again, into another folder"
        ) from error


def restored_start(out_dir: Path, state: Mapping[str, Any]) -> Start:
    """Return the networks of a state; their weights that training changes are still to be filled in."""
    discriminator = from_dict(PatchGanConfig, state["discriminator"]).build()
    if state["base_sha256"] is None:
        return Start(from_dict(GANS[state["gan"]], state["generator"]).build(), {}, discriminator)
    base = find_base({"base_sha256": state["base_sha256"]}, out_dir)
    return Start(load_base(base), {}, discriminator, base)
