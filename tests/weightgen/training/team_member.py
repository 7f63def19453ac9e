"""One process of a team that trains a toy denoiser.

python -m tests.weightgen.run.team_member ZOO RANK SIZE MEET OUT
"""

import sys
from pathlib import Path

import torch
from torch import distributed

from weightgen.training.config import TrainConfig
from weightgen.training.data import load_zoo
from weightgen.training.loop import TrainingRun
from weightgen.training.stream import ShardStream
from weightgen.training.weights import prepare
from zoo.run import open_zoo
from zoo.tensors import write_tensors

STEPS = 5


def config(**changes) -> TrainConfig:
    """A toy transformer without dropout, whose randomness does not depend on how a batch is divided."""
    options = {"width": 16, "num_layers": 1, "num_heads": 2, "dropout": 0.0}
    return TrainConfig(
        **{"denoiser_options": options, "steps": STEPS, "batch_size": 8, "device": "cpu"} | changes
    )


def weights(run: TrainingRun) -> dict[str, torch.Tensor]:
    """Take all steps and return the network's weights."""
    run.run()
    return run.network.state_dict()


def main(zoo: str, rank: int, size: int, meet: str, out: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{meet}", rank=rank, world_size=size)
    source, validation = ShardStream.open(open_zoo(zoo)), load_zoo(zoo, "validation")
    folder = Path(out) / str(rank)
    run = prepare(config(accumulate=2), source, validation, folder)
    write_tensors(folder / "weights.safetensors", weights(run))
    assert (folder / "checkpoints").exists() == run.team.leads
    distributed.destroy_process_group()


if __name__ == "__main__":
    zoo, rank, size, meet, out = sys.argv[1:]
    main(zoo, int(rank), int(size), meet, out)
