"""Training checkpoints: one safetensors file each, with a JSON state in its metadata, written atomically.

    save_checkpoint(folder, step, tensors, state, keep=2)
    found = load_checkpoint(folder)                # the newest one: (tensors, state), or None

Nested names are flat: "denoiser.input", "ema.input", "adamw.0.exp_avg". No pickle anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.errors import WeightzooError
from zoo.tensors import read_tensors, write_tensors
from zoo.training.optimizer_state import load_optimizer, optimizer_tensors, under, with_prefix


def save_tensors(path: str | Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write tensors and a JSON-able state as one file, atomically."""
    write_tensors(path, tensors, {"state": json.dumps(dict(state))})


def load_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote.

    Raises:
        WeightzooError: the file is truncated, or `save_tensors` did not write it.
    """
    try:
        tensors, metadata = read_tensors(path)
        return tensors, json.loads(metadata["state"])
    except (WeightzooError, KeyError, ValueError) as error:
        raise WeightzooError(f"{path} cannot be read ({error}); delete it and run the same command again") from error


def save_checkpoint(
    folder: str | Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any], keep: int = 2
) -> Path:
    """Write `step-00000100.safetensors` and remove all but the newest `keep` checkpoints."""
    path = Path(folder) / f"step-{step:08d}.safetensors"
    save_tensors(path, tensors, {**state, "step": step})
    for old in checkpoints(folder)[:-keep]:
        old.unlink()
    return path


def checkpoints(folder: str | Path) -> list[Path]:
    """Return the complete checkpoints of a folder, oldest first."""
    return sorted(Path(folder).glob("step-*.safetensors"))


def load_checkpoint(folder: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return the newest checkpoint's tensors and state, or None when there is none."""
    found = checkpoints(folder)
    return load_tensors(found[-1]) if found else None


def save_training(
    folder: str | Path,
    step: int,
    networks: Mapping[str, nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
    state: Mapping[str, Any],
    keep: int = 2,
) -> Path:
    """Write everything that is needed to go on exactly from here."""
    tensors: dict[str, Tensor] = {}
    for name, optimizer in optimizers.items():
        tensors |= with_prefix(name, optimizer_tensors(optimizer))
    for name, network in networks.items():
        tensors |= with_prefix(name, network.state_dict())
    return save_checkpoint(folder, step, tensors, state, keep)


def load_training(
    folder: str | Path, networks: Mapping[str, nn.Module], optimizers: Mapping[str, torch.optim.Optimizer]
) -> dict[str, Any] | None:
    """Put the newest checkpoint of `save_training` back; return its state, or None when there is none.

    Raises:
        WeightzooError: the checkpoint is one of other optimisers.
    """
    found = load_checkpoint(folder)
    if found is None:
        return None
    tensors, state = found
    for name, network in networks.items():
        network.load_state_dict(under(name, tensors))
    for name, optimizer in optimizers.items():
        if not (stored := under(name, tensors)):
            raise WeightzooError(
                f"the checkpoints of {folder} have no state of the optimiser {name}: another version of weightzoo "
                "wrote them; train into another folder"
            )
        load_optimizer(optimizer, stored)
    return state
