"""Rebuilding one fleet of a finished zoo, to see whether this machine makes the same networks.

comparison = rebuild_fleet("runs/small", shard_index=0)
comparison.problems(l1_within=0.05, cosine_at_least=0.95)     # [] where it does

Networks are compared by what they do to photographs. Weights that are far apart may do the same: an output layer has
directions that hardly change a picture.
"""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from pipeline.executors.local import run_local
from pipeline.fleets.fleet import run_fleet
from pipeline.run_folder.freeze import refuse_part
from pipeline.run_folder.private_paths import PLACES_FILE
from pipeline.run_folder.shard_plan import GENERATIONS_FILE, plan_run
from pipeline.sources import crops, load_photos
from zoo.adapters.lora import load_base, merge
from zoo.errors import WeightzooError
from zoo.files import PathLike
from zoo.layout import WeightLayout
from zoo.records import PREFIX, WeightRecord
from zoo.run import open_zoo
from zoo.shards import read_shard

PHOTOGRAPHS = 4
FROZEN_FILES = ("config.json", "concepts.jsonl", "layout.json", "photographs.json")


@dataclass(frozen=True)
class FleetComparison:
    """A rebuilt fleet beside the stored one.

    Attributes:
        shard: name of the stored shard.
        same_ids, same_layout, same_base: whether they hold the same concepts on the same layout and base.
        same_bytes: whether the shards are equal byte for byte.
        l1_ratio: concept id -> rebuilt over stored held-out L1.
        cosine: concept id -> cosine of what both networks change in `PHOTOGRAPHS` test photographs.
    """

    shard: str
    same_ids: bool
    same_layout: bool
    same_base: bool
    same_bytes: bool
    l1_ratio: dict[str, float]
    cosine: dict[str, float]

    def problems(self, l1_within: float = 0.05, cosine_at_least: float = 0.95) -> list[str]:
        """Return what is further from the stored fleet than allowed."""
        found = [
            f"{self.shard}: other {what} than stored"
            for what, same in (("concepts", self.same_ids), ("layout", self.same_layout), ("base", self.same_base))
            if not same
        ]
        found += [f"{k}: L1 is {v:.3f} x the stored" for k, v in self.l1_ratio.items() if abs(v - 1) > l1_within]
        found += [f"{k}: cosine is {v:.3f}" for k, v in self.cosine.items() if v < cosine_at_least]
        return found


def rebuild_fleet(zoo_path: PathLike, shard_index: int = 0, split: str = "train") -> FleetComparison:
    """Train one fleet of a finished zoo again in a temporary folder and compare it with the stored shard.

    Raises:
        WeightzooError: no such shard, a downloaded part of a zoo, or the fleet cannot be trained here.
    """
    zoo = open_zoo(zoo_path)
    refuse_part(zoo.path)
    with tempfile.TemporaryDirectory(prefix="weightzoo-rebuild-") as folder:
        run_dir = Path(folder)
        for name in FROZEN_FILES:
            shutil.copyfile(zoo.path / name, run_dir / name)
        for name in (GENERATIONS_FILE, PLACES_FILE):
            if (zoo.path / name).exists():
                shutil.copyfile(zoo.path / name, run_dir / name)
        for name in ("base", "pairs"):
            if (zoo.path / name).is_dir():
                shutil.copytree(zoo.path / name, run_dir / name)
        tasks = [task for task in plan_run(run_dir) if task.split == split]
        if not 0 <= shard_index < len(tasks):
            raise WeightzooError(f"{zoo_path} has no {split} shard {shard_index}; it has 0 to {len(tasks) - 1}")
        task = tasks[shard_index]
        for outcome in run_local([task], run_fleet, workers=1):
            if outcome.error:
                raise WeightzooError(f"the fleet {task.stem} cannot be rebuilt: {outcome.error}")
        return _compare(zoo.path / "weights" / task.shard_path.name, task.shard_path, load_base(zoo.base_path))


@torch.no_grad()
def _compare(stored_path: Path, rebuilt_path: Path, base: nn.Module) -> FleetComparison:
    stored_records, stored_metadata, stored_layout = read_shard(stored_path)
    rebuilt_records, rebuilt_metadata, rebuilt_layout = read_shard(rebuilt_path)
    stored = {record.concept_id: record for record in stored_records}
    rebuilt = {record.concept_id: record for record in rebuilt_records}
    both = [name for name in stored if name in rebuilt]
    base_key = f"{PREFIX}base_sha256"
    photos = crops(load_photos("test"), PHOTOGRAPHS, base.config.image_size, seed=0)

    def change(record: WeightRecord, layout: WeightLayout) -> Tensor:
        adapters = layout.from_blocks(torch.from_numpy(np.array(record.blocks, np.float32))[None])
        network = merge(base, {name: value[0] for name, value in adapters.items()})
        return (network(photos).clamp(0, 1) - photos).flatten()

    return FleetComparison(
        shard=stored_path.name,
        same_ids=list(stored) == list(rebuilt),
        same_layout=stored_layout.id == rebuilt_layout.id,
        same_base=stored_metadata[base_key] == rebuilt_metadata[base_key],
        same_bytes=stored_path.read_bytes() == rebuilt_path.read_bytes(),
        l1_ratio={name: rebuilt[name].metrics["l1"] / stored[name].metrics["l1"] for name in both},
        cosine={
            name: float(
                cosine_similarity(change(stored[name], stored_layout), change(rebuilt[name], rebuilt_layout), 0)
            )
            for name in both
        },
    )
