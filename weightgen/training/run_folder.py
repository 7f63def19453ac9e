"""The folder of a training run: its identity, its metrics, and what makes it a model folder at the end.

    OUT/config.json  metrics.jsonl  checkpoints/{step-00001100,best}.safetensors  tensorboard/

`model_index.json` comes last (see `weightgen.model_folder`): with it the folder is finished.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weightgen.model_folder import save_model_folder
from weightgen.objective import make_scheduler
from weightgen.ood import MOST, fit_ood_score
from weightgen.text import load_text_encoder
from weightgen.training.checkpoint import load_checkpoint, load_tensors
from weightgen.training.config import TrainConfig, make_denoiser
from weightgen.training.data import WeightDataset
from weightgen.training.stream import WeightSource
from zoo.config import config_diff, from_dict, save_config, to_dict
from zoo.errors import WeightzooError
from zoo.files import read_json, write_text
from zoo.results import MODEL, check_kind

BEST = "best.safetensors"
RAY_RUN = "ray_run.json"  # the name of the run on Ray
# Options of earlier versions, with the value that is the only one now: with it a stored config means the same run.
REMOVED = {"edge_weight": 0.0, "noise_fraction": 0.25, "use_dropout": False}


def begin(out_dir: Path, stage: str, config: Any, rest: Mapping[str, Any], what: str) -> bool:
    """Write the identity of a run of either stage, or check that it is the same; return whether it is finished.

    Args:
        config: a dataclass, stored as `stage`.
        rest: what else makes the run what it is, JSON-able.
        what: the words after "started with another" in the error.

    Raises:
        WeightzooError: the folder was started with another identity.
    """
    check_kind(out_dir, MODEL)
    identity = {stage: to_dict(config), **rest}
    path = out_dir / "config.json"
    if path.exists():
        stored = read_json(path)
        if isinstance(stored, dict) and isinstance(stored.get(stage), dict):
            stored[stage] = as_of_now(type(config), stored[stage])
        if difference := config_diff(stored, identity):
            raise WeightzooError(
                f"{out_dir} was started with another {what} "
                f"({difference.replace(chr(10), '; ')}); use a new folder, or start again with --no-resume"
            )
    save_config(path, identity)
    return (out_dir / "model_index.json").exists()


def as_of_now(config: type[Any], stored: dict[str, Any]) -> dict[str, Any]:
    """Return a stored config with the defaults of options that came later, and without options that went.

    An option that went stays if its value is not the one that is left: the difference is an error then.
    """
    gone = {key: value for key, value in stored.items() if key in REMOVED and value != REMOVED[key]}
    kept = {key: value for key, value in stored.items() if key not in REMOVED}
    return to_dict(from_dict(config, kept)) | gone


def clear(out_dir: Path) -> None:
    """Remove what an earlier run left, checkpoints included; the index goes first, so that the folder is unfinished.

    Raises:
        WeightzooError: the folder holds something else than a training.
    """
    check_kind(out_dir, MODEL)
    for name in ("model_index.json", "config.json", "metrics.jsonl", "evaluation.json", RAY_RUN):
        (out_dir / name).unlink(missing_ok=True)
    for path in (out_dir / "checkpoints").glob("*.safetensors"):
        path.unlink()


def finish(out_dir: Path, config: TrainConfig, source: WeightSource, validation: WeightDataset) -> Path:
    """Make a model folder of a trained folder, with the best (or last) averaged weights of its checkpoints."""
    found = load_checkpoint(out_dir / "checkpoints")
    assert found, f"{out_dir} has no checkpoint"
    _, state = found
    encoder = load_text_encoder(config.text_encoder)
    denoiser = make_denoiser(config, source, encoder.width)
    weights, row = load_tensors(out_dir / "checkpoints" / BEST)
    denoiser.load_state_dict(weights)
    write_rows(out_dir, state["rows"])
    role = "generated_unet1d" if config.denoiser == "unet1d" else "generated"
    metadata = {
        "role": "labelled" if source.has_pseudo_labels else role,
        "stage": "generated",
        "zoo": source.name,
        "concepts": len(source),
        "steps": state["step"],
        "seconds": round(state["elapsed"], 1),
        "best": row,
        "config": to_dict(config),
    }
    texts, _ = validation.evaluation_prompts()
    return save_model_folder(
        out_dir, denoiser, make_scheduler(config.objective), source.layout, source.statistics(),
        source.base_generator, encoder.name, metadata, ood_score=fit_ood_score(source.wordings(MOST), texts, encoder),
    )  # fmt: skip


def write_rows(out_dir: Path, rows: list[dict[str, Any]]) -> None:
    """Write the rows of metrics.jsonl."""
    write_text(out_dir / "metrics.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))
