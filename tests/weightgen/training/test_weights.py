"""Training: it learns, resumes exactly, keeps the best, refuses another config, stops on a wild loss."""

import json
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from weightgen.model_folder import WEIGHTS_NAME, copy_half, load_model_folder
from weightgen.model_roles import read_role
from weightgen.normalize import BlockStatistics
from weightgen.objective import ObjectiveConfig, one_step
from weightgen.text import load_text_encoder
from weightgen.training.checkpoint import checkpoints
from weightgen.training.config import PRESETS, TrainConfig, tiny
from weightgen.training.data import hold_out
from weightgen.training.loop import TrainingRun
from weightgen.training.optim import learning_rate_factor, update_ema
from weightgen.training.train import train
from weightgen.training.weights import weights_r2
from zoo.errors import Interrupted, WeightzooError

OPTIONS = {
    "transformer": {"width": 32, "num_layers": 1, "num_heads": 2},
    "unet1d": {"width": 32, "channels": [16, 16, 16], "num_heads": 2},
}


def config(denoiser: str = "transformer", **changes):
    quick = replace(tiny(denoiser), denoiser_options=OPTIONS[denoiser], batch_size=8, device="cpu")
    return replace(quick, **{"steps": 8, "validate_every": 2, "checkpoint_every": 2, **changes})


def weights(folder):
    return load_file(folder / "denoiser" / "diffusion_pytorch_model.safetensors")


def assert_same(*folders):
    """Two trained folders hold the same weights and the same metrics."""
    one, other = map(weights, folders)
    assert all(torch.equal(one[name], other[name]) for name in one)
    rows = [[json.loads(row) for row in open(folder / "metrics.jsonl")] for folder in folders]
    assert [{**row, "seconds": 0} for row in rows[0]] == [{**row, "seconds": 0} for row in rows[1]]


@pytest.mark.parametrize("denoiser, steps", [("transformer", 150), ("unet1d", 150)])
def test_learns_held_out_weights(make_dataset, tmp_path, denoiser, steps):
    train_set, validation = hold_out(make_dataset(100, 6, 32), 0.15)
    options = {
        "transformer": {"width": 64, "num_layers": 2, "num_heads": 2},
        "unet1d": {"width": 64, "channels": [32, 32, 32], "patch_size": 4},
    }[denoiser]
    objective = ObjectiveConfig(blocks_per_sample=0)
    chosen = config(
        denoiser, steps=steps, denoiser_options=options, objective=objective, batch_size=16,
        learning_rate=3e-3, validate_every=50, checkpoint_every=1000,
    )  # fmt: skip
    train(chosen, train_set, tmp_path, validation)
    model = load_model_folder(tmp_path)
    assert model.denoiser_name == denoiser and model.metadata["best"]["r2"] > 0.3
    assert model.metadata["role"] == {"transformer": "generated", "unet1d": "generated_unet1d"}[denoiser]
    texts, records = validation.evaluation_prompts()
    text = load_text_encoder("minilm").encode(texts)
    with torch.no_grad():
        predicted = one_step(model.denoiser, text)
    true = model.statistics.normalize(validation.blocks)[records]
    assert weights_r2(predicted, true, model.statistics.mask) == pytest.approx(
        model.metadata["best"]["r2"], abs=1e-4
    )
    shuffled = one_step(model.denoiser, text[torch.arange(len(text)).roll(len(text) // 2)]).detach()
    assert weights_r2(shuffled, true, model.statistics.mask) < 0


@pytest.mark.parametrize("denoiser", OPTIONS)
def test_resumed_training_equals_uninterrupted(make_dataset, tmp_path, denoiser, monkeypatch):
    dataset = make_dataset()
    train(config(denoiser), dataset, tmp_path / "whole")

    def interrupted(self, batch, original=TrainingRun.train_step):
        if self.step == 5:
            raise RuntimeError("killed")
        return original(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingRun, "train_step", interrupted)
        with pytest.raises(RuntimeError):
            train(config(denoiser), dataset, tmp_path / "parts")
    train(config(denoiser), dataset, tmp_path / "parts")
    assert_same(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize(
    ("name", "step", "kept"),
    [
        ("train_step", 2, 3),
        ("validate", 4, 4),  # where a row and a candidate for the best weights are made
        ("validate", 8, 8),  # of the final weights
        ("checkpoint", 8, 8),
    ],
)
def test_ctrl_c_changes_nothing_wherever_it_comes(
    make_dataset, tmp_path, monkeypatch, hears_ctrl_c, name, step, kept
):
    dataset = make_dataset()
    train(config(), dataset, tmp_path / "whole")
    original = getattr(TrainingRun, name)

    def interrupted(self, *arguments):
        if self.step == step:
            signal.raise_signal(signal.SIGINT)
        return original(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingRun, name, interrupted)
        with pytest.raises(Interrupted, match="run the same command"):
            train(config(), dataset, tmp_path / "parts")
    assert checkpoints(tmp_path / "parts" / "checkpoints")[-1].stem == f"step-{kept:08d}"
    assert not (tmp_path / "parts" / "model_index.json").exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    train(config(), dataset, tmp_path / "parts")
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_a_second_ctrl_c_stops_at_once(make_dataset, tmp_path, monkeypatch, hears_ctrl_c):
    def twice(self, batch):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("it goes on")

    monkeypatch.setattr(TrainingRun, "train_step", twice)
    with pytest.raises(KeyboardInterrupt):
        train(config(), make_dataset(), tmp_path)
    assert not checkpoints(tmp_path / "checkpoints")


def test_signals_are_left_alone_in_another_thread(make_dataset, tmp_path):
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(train, config(steps=2), make_dataset(), tmp_path).result() == tmp_path


def test_time_that_runs_out_in_a_validation_leaves_a_checkpoint(make_dataset, tmp_path, monkeypatch):
    ticks = []  # two a step: after training, and after validation and checkpoint

    def tick(self):
        ticks.append(self.step)
        self.elapsed = self.seconds if ticks.count(2) == 2 else 0.0

    monkeypatch.setattr(TrainingRun, "tick", tick)
    chosen = config(steps=10**6, checkpoint_every=10**6)
    train(chosen, make_dataset(), tmp_path, seconds=3600)
    model = load_model_folder(tmp_path)
    assert model.metadata["steps"] == model.metadata["best"]["step"] == 2


def test_a_model_of_pseudo_labels_is_labelled(make_dataset, tmp_path):
    folder = train(config(steps=1), replace(make_dataset(), has_pseudo_labels=True), tmp_path)
    assert load_model_folder(folder).metadata["role"] == read_role(folder) == "labelled"


def test_finished_returns_at_once_and_another_config_or_data_is_refused(make_dataset, tmp_path, monkeypatch):
    dataset = make_dataset()
    rows = []
    train(config(), dataset, tmp_path, on_log=rows.append)
    assert [row["step"] for row in rows] == [2, 4, 6, 8]
    assert len(list((tmp_path / "checkpoints").glob("step-*"))) == 2
    with monkeypatch.context() as patch:
        patch.setattr(TrainingRun, "train_step", None)
        assert train(config(), dataset, tmp_path) == tmp_path
    with pytest.raises(WeightzooError, match="another config.*train.seed: 0 -> 1"):
        train(config(seed=1), dataset, tmp_path)
    with pytest.raises(WeightzooError, match="data: "):
        train(config(), dataset.subset(range(12)), tmp_path)
    train(config(seed=1), dataset, tmp_path, resume=False)
    assert load_model_folder(tmp_path).metadata["config"]["seed"] == 1


@pytest.mark.parametrize(("keep_last", "step"), [(False, 2), (True, 8)])
def test_the_best_weights_are_kept_or_the_last(make_dataset, tmp_path, monkeypatch, keep_last, step):
    falling = iter((0.4, 0.3, 0.2, 0.1))
    monkeypatch.setattr("weightgen.training.weights.weights_r2", lambda *_: next(falling))
    train(config(keep_last=keep_last), make_dataset(), tmp_path)
    kept = load_file(tmp_path / "checkpoints" / "best.safetensors")
    last = load_file(tmp_path / "checkpoints" / "step-00000008.safetensors")
    assert load_model_folder(tmp_path).metadata["best"]["step"] == step
    assert all(torch.equal(value, last[f"ema.{name}"]) for name, value in kept.items()) == keep_last


def test_a_folder_from_before_an_option_has_its_default(make_dataset, tmp_path):
    dataset = make_dataset()
    train(config(steps=2), dataset, tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text())
    del stored["train"]["accumulate"], stored["train"]["precision"]
    (tmp_path / "config.json").write_text(json.dumps(stored))
    assert train(config(steps=2), dataset, tmp_path) == tmp_path
    (tmp_path / "config.json").write_text(json.dumps(stored))
    with pytest.raises(WeightzooError, match="train.accumulate: 1 -> 2"):
        train(config(steps=2, accumulate=2), dataset, tmp_path)


def test_seconds_limit(make_dataset, tmp_path):
    train(config(steps=10**6, checkpoint_every=50), make_dataset(), tmp_path, seconds=1.0)
    rows = [json.loads(row) for row in open(tmp_path / "metrics.jsonl")]
    assert 10**6 > load_model_folder(tmp_path).metadata["steps"] >= rows[-1]["step"] >= 1


def test_a_loss_that_is_not_finite_stops(make_dataset, tmp_path):
    dataset = make_dataset()
    dataset.blocks[:, 0] = torch.inf
    with pytest.raises(WeightzooError, match="not finite at step 1 .*lower the learning rate"):
        train(config(), dataset, tmp_path)


def test_a_torn_checkpoint_is_named(make_dataset, tmp_path, monkeypatch):
    dataset = make_dataset()
    train(config(), dataset, tmp_path)
    (tmp_path / "model_index.json").unlink()
    newest = sorted((tmp_path / "checkpoints").glob("step-*"))[-1]
    newest.write_bytes(newest.read_bytes()[:100])
    with pytest.raises(WeightzooError, match="step-00000008.safetensors cannot be read.*delete it"):
        train(config(), dataset, tmp_path)
    newest.unlink()
    assert load_model_folder(train(config(), dataset, tmp_path)).metadata["steps"] == 8


def test_model_folder_in_half_precision_and_its_errors(make_dataset, tmp_path):
    dataset = make_dataset()
    train(config(), dataset, tmp_path / "m")
    model = load_model_folder(tmp_path / "m")
    half = load_model_folder(copy_half(tmp_path / "m", tmp_path / "half"))
    assert half.metadata == model.metadata and half.target == "x0"
    sizes = [(tmp_path / name / "denoiser" / WEIGHTS_NAME).stat().st_size for name in ("half", "m")]
    assert sizes[0] < 0.6 * sizes[1]
    for name, value in model.denoiser.state_dict().items():
        torch.testing.assert_close(half.denoiser.state_dict()[name], value.half().float())
    with pytest.raises(WeightzooError, match="not a weight generator's folder"):
        load_model_folder(tmp_path)
    about = json.loads((tmp_path / "m" / "weightgen.json").read_text())
    for key in about:
        (tmp_path / "m" / "weightgen.json").write_text(json.dumps({k: v for k, v in about.items() if k != key}))
        with pytest.raises(WeightzooError, match="model format None" if key == "format_version" else f"lacks {key}"):
            load_model_folder(tmp_path / "m")
    for wrong in ({"target": "x1"}, {"metadata": []}):
        (tmp_path / "m" / "weightgen.json").write_text(json.dumps(about | wrong))
        with pytest.raises(WeightzooError, match="weightgen.json has been changed"):
            load_model_folder(tmp_path / "m")
    (tmp_path / "m" / "weightgen.json").write_text(json.dumps(about))
    mean, std, mask = model.statistics.mean, model.statistics.std, model.statistics.mask
    BlockStatistics(mean[1:], std[1:], mask[1:]).save(tmp_path / "m" / "statistics.safetensors")
    with pytest.raises(WeightzooError, match="statistics.safetensors has another layout"):
        load_model_folder(tmp_path / "m")
    (tmp_path / "half" / "base_generator.safetensors").write_bytes(b"another")
    with pytest.raises(WeightzooError, match="base_generator.safetensors is not the one"):
        load_model_folder(tmp_path / "half")


def test_unknown_names(make_dataset, tmp_path):
    with pytest.raises(WeightzooError, match="unknown denoiser 'mamba'; known: transformer, unet1d"):
        train(replace(config(), denoiser="mamba"), make_dataset(), tmp_path / "a")
    with pytest.raises(WeightzooError, match="check denoiser_options"):
        train(config(denoiser_options={"depth": 3}), make_dataset(), tmp_path / "b")


def test_schedule_and_ema():
    factors = [learning_rate_factor(p / 100, 0.05) for p in range(101)]
    assert max(factors) == 1 and factors.index(1) == 5 and factors[-1] < 1e-6 and factors[0] > 0
    assert all(a >= b for a, b in zip(factors[5:], factors[6:], strict=False))
    ema, network = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    expected = 0.9 * ema.weight + 0.1 * network.weight
    update_ema(ema, network, 0.9)
    torch.testing.assert_close(ema.weight, expected)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("denoiser", OPTIONS)
def test_presets_are_complete_and_survive_json(name, denoiser):
    from zoo.config import from_dict, to_dict

    preset = PRESETS[name](denoiser)
    assert preset.denoiser == denoiser
    assert from_dict(TrainConfig, json.loads(json.dumps(to_dict(preset)))) == preset
