"""Several processes, or a batch in parts, train the network that one process trains with the whole batch."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.weightgen.tiny_world import make_zoo
from tests.weightgen.training.team_member import config, weights
from weightgen.training.data import load_zoo
from weightgen.training.stream import ShardStream
from weightgen.training.team import Team
from weightgen.training.weights import prepare
from zoo.errors import WeightzooError
from zoo.run import open_zoo

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return make_zoo(tmp_path_factory.mktemp("zoo"))


def trained(zoo, folder, **changes):
    source, validation = ShardStream.open(open_zoo(zoo)), load_zoo(zoo, "validation")
    return weights(prepare(config(**changes), source, validation, folder))


def assert_same(one, two):
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=2e-5, msg=name)


def test_two_processes_with_half_batches_equal_one_with_the_whole(zoo, tmp_path):
    command = [sys.executable, "-m", "tests.weightgen.training.team_member", str(zoo)]
    members = [
        subprocess.Popen([*command, str(rank), "2", str(tmp_path / "meet"), str(tmp_path)], cwd=ROOT)
        for rank in range(2)
    ]
    whole = trained(zoo, tmp_path / "whole")
    assert [member.wait(timeout=120) for member in members] == [0, 0]
    first, second = (load_file(tmp_path / f"{rank}" / "weights.safetensors") for rank in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert_same(whole, first)


def test_gradient_accumulation_equals_the_whole_batch(zoo, tmp_path):
    assert_same(trained(zoo, tmp_path / "a"), trained(zoo, tmp_path / "b", accumulate=4))
    with pytest.raises(WeightzooError, match="cannot be accumulated in 3 equal parts"):
        trained(zoo, tmp_path / "c", accumulate=3)


@pytest.mark.parametrize("denoiser", ["transformer", "unet1d"])
def test_bfloat16_trains(zoo, tmp_path, denoiser):
    options = {"transformer": {"width": 16, "num_layers": 1, "num_heads": 2},
               "unet1d": {"width": 16, "channels": (8, 8, 8), "num_heads": 2, "patch_size": 4}}  # fmt: skip
    changes = {"denoiser": denoiser, "denoiser_options": options[denoiser]}
    exact = trained(zoo, tmp_path / "a", **changes)
    rounded = trained(zoo, tmp_path / "b", precision="bfloat16", **changes)
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in rounded.values())
    assert any(not torch.equal(exact[name], value) for name, value in rounded.items())
    for name, value in exact.items():
        torch.testing.assert_close(rounded[name], value, rtol=0, atol=0.02, msg=name)


def test_slots():
    assert [Team(rank, 4).slots(8) for rank in range(4)] == [range(2), range(2, 4), range(4, 6), range(6, 8)]
    with pytest.raises(WeightzooError, match="cannot be divided among 3 workers"):
        Team(0, 3).slots(8)
