"""weightzoo train: first stage, resumption, Ctrl-C, and what a person can get wrong."""

import signal
from unittest.mock import MagicMock

import pytest

import weightgen.training.config
from weightgen.training.config import TrainConfig
from weightgen.training.loop import TrainingRun
from zoo.errors import WeightzooError


@pytest.fixture(autouse=True)
def toy_preset(monkeypatch):
    def tiny(denoiser="transformer"):
        options = {"transformer": {"width": 16, "num_layers": 1, "num_heads": 2}}[denoiser]
        return TrainConfig(
            denoiser, options, steps=4, batch_size=4, validate_every=2, checkpoint_every=2, device="cpu"
        )

    monkeypatch.setitem(weightgen.training.config.PRESETS, "tiny", tiny)


@pytest.fixture
def train(run, world, tmp_path):
    def train(*more, preset="tiny"):
        of_weights = ("--preset", preset) if preset else ()
        return run("train", "--data", world / "zoo", *of_weights, "-o", tmp_path / "m", *more)

    return train


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


def test_ctrl_c_then_the_same_command(train, tmp_path, monkeypatch, hears_ctrl_c):
    step = TrainingRun.train_step

    def interrupted(self, batch):
        if self.step == 3:
            signal.raise_signal(signal.SIGINT)
        return step(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingRun, "train_step", interrupted)
        stopped = train()
    assert stopped.code == 130
    assert "keeps everything up to the last step: run the same command" in stopped.error
    assert train("--json").json["steps"] == 4


def test_wrong_input(train, run, tmp_path):
    for option, value, known in (
        ("--preset", "x", "'tiny', 'small', 'paper'"),
        ("--denoiser", "unet", "'transformer', 'unet1d'"),
        ("--precision", "half", "'fp32', 'bf16'"),
    ):
        wrong = train(option, value)
        assert wrong.code == 2 and f"'{value}' is not one of {known}" in wrong.err
    assert not (tmp_path / "m").exists()  # the corrected command begins with its own config
    absent = run("train", "--data", tmp_path / "nowhere", "-o", tmp_path / "x")
    assert absent.code == 2 and "nowhere" in absent.error


def test_accumulation_precision_and_rate_are_handed_on(train):
    done = train("--accumulate", 2, "--precision", "bf16", "--learning-rate", 5e-4, "--json")
    assert done.code == 0, done.err
    config = done.json["config"]
    assert (config["accumulate"], config["precision"], config["learning_rate"]) == (2, "bfloat16", 5e-4)
    other = train("--accumulate", 2, "--precision", "fp32")
    assert other.code == 2 and "train.precision: bfloat16 -> float32" in other.error


def test_polishing_is_as_requested(run, world, tmp_path, monkeypatch):
    def polish(model, batches, config, *rest, **more):
        raise WeightzooError(f"{config.steps} steps at {config.learning_rate}, random_init {config.random_init}")

    monkeypatch.setattr("weightgen.training.pictures.polish", polish)
    monkeypatch.setattr("pipeline.picture_batches.open_catalogue_edits", lambda *arguments: MagicMock())
    asked = ("--steps", 7, "--learning-rate", 2e-3, "--random-init")
    told = run("polish", world / "models" / "generated", "-o", tmp_path / "polished", *asked).error
    assert told.endswith("7 steps at 0.002, random_init True")


def test_wrong_accumulation_and_rate(train):
    assert "cannot be accumulated in 3 equal parts" in train("--accumulate", 3).error
    assert train("--accumulate", 0).code == 2
    for rate in (0, -1e-3, "nan", "inf"):
        assert "is not a number above 0" in train("--learning-rate", rate).error
    among = train("--accumulate", 4, "--ray", "--num-workers", 2).error
    assert "a batch of 4 cannot be divided among 2 workers in 4 parts each" in among


def test_full_disk(train, full_disk):
    result = train()
    assert result.code == 1 and "No space left" in result.error


def test_from_the_hub(run, world, hub, tmp_path):
    from zoo.hub import publish

    publish(world / "zoo", "user/zoo", {"README.md": b"---\nlicense: apache-2.0\n---\n"}, tag="first")
    there = run("train", "--data", "user/zoo@first", "--preset", "tiny", "-o", tmp_path / "there", "--json")
    assert there.code == 0, there.err
    here = run("train", "--data", world / "zoo", "--preset", "tiny", "-o", tmp_path / "here", "--json")
    name = "denoiser/diffusion_pytorch_model.safetensors"
    assert (tmp_path / "there" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()
    assert there.json["concepts"] == here.json["concepts"]
    absent = run("train", "--data", "user/absent", "-o", tmp_path / "x")
    assert absent.code == 2 and "does not exist or is private" in absent.error


def test_a_zoo_that_is_too_large_for_memory_is_streamed(train, run, tmp_path, monkeypatch, world):
    import weightgen.training.stream

    monkeypatch.setattr(weightgen.training.stream.open_source, "__defaults__", (1000,))
    first = train("--json")
    assert first.code == 0, first.err
    assert first.json["steps"] == 4 and first.json["concepts"] == 8
    assert list((tmp_path / "m" / "tensorboard").glob("events.*"))
    twice = run("train", "--data", world / "zoo", "--data", world / "zoo", "-o", tmp_path / "x")
    assert twice.code == 2 and "merged in memory" in twice.error
    labelled = run("train", "--data", world / "zoo", "--pseudo-labels", "-o", tmp_path / "x")
    assert labelled.code == 2 and "too large to be labelled" in labelled.error


def test_ray_options(train, monkeypatch):
    import sys

    assert "--use-gpu is an option of --ray" in train("--use-gpu").error
    assert "--num-workers is an option of --ray" in train("--num-workers", 2).error
    assert "--num-workers 0 takes no --use-gpu" in train("--ray", "--num-workers", 0, "--use-gpu").error
    assert "exclude each other" in train("--steps", 3, "--seconds", 3).error
    assert "cannot be divided among 3 workers" in train("--ray", "--num-workers", 3).error
    monkeypatch.setitem(sys.modules, "ray", None)
    absent = train("--ray")
    assert absent.code == 2 and "pip install 'weightzoo[train]'" in absent.error
    assert train("--ray", "--num-workers", 0).code == 0  # in this process
