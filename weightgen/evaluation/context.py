"""The context of an evaluation: its frozen configuration, and what all of its cells share.

context = load_context("runs/evaluation")      # reads OUT/config.json and everything that it names

OUT/config.json                            frozen at the first launch
OUT/starts/<init>-<prompts>.safetensors    weights that a start gives every held-out concept
OUT/own/<concept>.safetensors              adapters trained like a zoo record
OUT/cells/  OUT/rates/  OUT/networks/      see `weightgen.evaluation.cells`
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from weightgen.evaluation.grid import Grid, LearningRates
from weightgen.evaluation.held_out_pairs import HeldOut, read_ids
from weightgen.finetuning.origins import Origins
from zoo.config import from_dict
from zoo.errors import WeightzooError
from zoo.files import read_json
from zoo.tensors import write_tensors
from zoo.training.train_gan import GanTrainConfig, Params


@dataclass(frozen=True)
class EvaluateConfig:
    """What is evaluated, on what, and where the results go.

    Args:
        pairs_dirs: held-out pairs: a folder each, see `weightgen.evaluation.held_out_pairs`.
        models: weight generators by name (`weightgen.model_roles.find_models`); others are extra zero-step rows.
        learning_rates: of fine-tuning; part of what is frozen, so all cells of an evaluation have the same ones.
        near_duplicates: JSON list of concept ids that are reported apart.
        pictures_dir: larger pairs for the report, `<concept_id>/{source,target}/`.
        feature_network: of KID; None takes the zoo's own.
        model_sha256: of the denoisers' weights; filled in when the config is frozen.
        finetuning: how all cells are fine-tuned, from what `weightzoo finetune` does; filled in likewise.
        figures: what is measured of pictures; filled in likewise.
    """

    zoo_dir: str
    pairs_dirs: tuple[str, ...]
    models: dict[str, str]
    grid: Grid
    learning_rates: LearningRates = field(default_factory=LearningRates)
    near_duplicates: str | None = None
    pictures_dir: str | None = None
    feature_network: str | None = None
    seed: int = 0
    model_sha256: dict[str, str] = field(default_factory=dict)
    finetuning: dict[str, Any] = field(default_factory=dict)
    figures: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class EvaluationContext:
    """What all cells of one evaluation share, loaded once per process."""

    out_dir: Path
    config: EvaluateConfig
    origins: Origins
    held_out: HeldOut
    near_duplicates: frozenset[str]
    own_training: GanTrainConfig
    own_pairs: int
    feature_network: str
    starts_cache: dict[str, tuple[list[str], Tensor]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return int(self.origins.base.config.image_size)

    def start(self, init: str, ids: Sequence[str], prompts: int = 1) -> Params:
        """Return the adapters that a start gives concepts, {name: [K, ...]}."""
        if init == "own":
            blocks = torch.stack([read_blocks(own_path(self.out_dir, concept_id))[1][0] for concept_id in ids])
        else:
            key = f"{init}-{prompts}"
            if key not in self.starts_cache:
                self.starts_cache[key] = read_blocks(start_path(self.out_dir, init, prompts))
            names, stored = self.starts_cache[key]
            blocks = stored[[names.index(concept_id) for concept_id in ids]]
        return self.origins.zoo.layout.from_blocks(blocks)


def start_path(out_dir: Path, init: str, prompts: int) -> Path:
    """Return the file of the generated starts of one way to make them."""
    return out_dir / "starts" / f"{init}-{prompts}.safetensors"


def own_path(out_dir: Path, concept_id: str) -> Path:
    """Return the file of a concept's own adapter, trained for it alone."""
    return out_dir / "own" / f"{concept_id}.safetensors"


def write_blocks(path: Path, ids: Sequence[str], blocks: Tensor) -> None:
    """Store the blocks of concepts, [K, num_blocks, block_size]."""
    write_tensors(path, {"blocks": blocks.float()}, {"concepts": ",".join(ids)})


def read_blocks(path: Path) -> tuple[list[str], Tensor]:
    """Return what `write_blocks` stored: (concept ids, blocks [K, num_blocks, block_size])."""
    with safe_open(str(path), "pt") as file:
        return (file.metadata() or {}).get("concepts", "").split(","), file.get_tensor("blocks")


@lru_cache(maxsize=1)
def load_context(out_dir: str) -> EvaluationContext:
    """Open everything that the frozen config of an evaluation names, once per process."""
    folder = Path(out_dir)
    config = read_config(folder / "config.json")
    origins = Origins(config.zoo_dir, config.models, config.seed)
    build = read_json(origins.zoo.path / "config.json")
    return EvaluationContext(
        out_dir=folder,
        config=config,
        origins=origins,
        held_out=HeldOut.open(config.pairs_dirs),
        near_duplicates=read_ids(config.near_duplicates),
        own_training=from_dict(GanTrainConfig, build.get("training", {})),
        own_pairs=int(build.get("num_train_crops", 256)),
        feature_network=config.feature_network or origins.zoo.manifest.feature_network,
    )


def read_config(path: Path) -> EvaluateConfig:
    """Read a frozen config; earlier versions chose the steps that are measured by the grid's `points`.

    Raises:
        WeightzooError: it is unreadable, or has a key that this version does not know.
    """
    stored = read_json(path)
    if isinstance(stored, dict) and isinstance(stored.get("grid"), dict):
        stored["grid"].pop("points", None)
    try:
        return from_dict(EvaluateConfig, stored)
    except WeightzooError as error:
        raise WeightzooError(f"{path}: {error}") from None
