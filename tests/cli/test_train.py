"""weightzoo train: first stage, resumption, Ctrl-C, and what a person can get wrong."""

import pytest

import weightgen.presets
from weightgen.train import TrainConfig, Training


@pytest.fixture(autouse=True)
def toy_preset(monkeypatch):
    def tiny(denoiser="transformer"):
        options = {"width": 16, "num_layers": 1, "num_heads": 2}
        return TrainConfig(
            denoiser, options, steps=4, batch_size=4, validate_every=2, checkpoint_every=2, device="cpu"
        )

    monkeypatch.setitem(weightgen.presets.PRESETS, "tiny", tiny)


@pytest.fixture
def train(run, world, tmp_path):
    return lambda *more: run(
        "train", "--data", world / "zoo", "--preset", "tiny", "-o", tmp_path / "m", *more
    )


def test_trains_and_returns_at_once_when_finished(train, run, tmp_path):
    first = train("--json")
    assert first.code == 0, first.err
    assert first.json["stage"] == "generated" and first.json["steps"] == 4
    weights = next((tmp_path / "m" / "denoiser").glob("*.safetensors"))
    before = weights.stat().st_mtime_ns
    assert train().code == 0 and weights.stat().st_mtime_ns == before
    assert run("generate", "a warm look", "--model", tmp_path / "m", "-o", tmp_path / "c").code == 0
    other = train("--steps", 5)
    assert other.code == 2 and "train.steps: 4 -> 5" in other.error


def test_ctrl_c_then_the_same_command(train, tmp_path, monkeypatch):
    step = Training.train_step

    def interrupted(self, batch):
        if self.step == 3:
            raise KeyboardInterrupt
        return step(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "train_step", interrupted)
        stopped = train()
    assert stopped.code == 130 and "run the same command" in stopped.error
    assert train("--json").json["steps"] == 4


def test_wrong_input(train, run, tmp_path):
    assert "known: tiny, small, paper" in train("--preset", "x").error
    assert "unknown denoiser" in train("--denoiser", "magic").error
    absent = run("train", "--data", tmp_path / "nowhere", "-o", tmp_path / "x")
    assert absent.code == 2 and "nowhere" in absent.error


def test_full_disk(train, full_disk):
    result = train()
    assert result.code == 1 and "No space left" in result.error
