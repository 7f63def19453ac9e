"""The loop on a toy network: when it validates and saves, what it keeps, and that it goes on exactly."""

import itertools
import json

import pytest
import torch
from torch import nn

from weightgen.training.checkpoint import checkpoints, load_tensors
from weightgen.training.config import PolishConfig
from weightgen.training.loop import Diverged, Stage, TrainingRun, Validation
from weightgen.training.run_folder import BEST
from zoo.errors import WeightzooError

CONFIG = PolishConfig(steps=5, optimizer="adamw", learning_rate=0.1, validate_every=2, checkpoint_every=3)


def batches(step):
    for number in itertools.count(step):
        yield torch.randn(4, 2, generator=torch.Generator().manual_seed(number))


def few(step):
    yield from itertools.islice(batches(step), 2)


def poisoned(step):
    for batch in batches(step):
        yield batch * torch.nan


def gradients(run, batch):
    loss = (run.network(batch) - batch.sum(1, keepdim=True)).square().mean()
    loss.backward()
    return float(loss.detach())


def error(run):
    return {"error": float((run.ema.weight - 1).abs().mean())}


def make(folder, batches=batches, max_skipped=0, **validation):
    torch.manual_seed(0)
    measured = Validation("error", error, higher_is_better=False, **validation)
    return TrainingRun(CONFIG, Stage(batches, gradients, measured, max_skipped), nn.Linear(2, 1), folder)


def rows(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{**json.loads(line), "seconds": 0} for line in lines]


def test_the_last_step_is_validated_and_saved(tmp_path):
    run, shown, saved = make(tmp_path, at_start=True), [], []
    run.run(show=lambda progress, step, **values: shown.append(step), on_checkpoint=lambda: saved.append(run.step))
    assert shown == [1, 2, 3, 4, 5] and saved == [3, 5]
    assert [row["step"] for row in rows(tmp_path)] == [0, 2, 4, 5]
    assert rows(tmp_path)[0]["loss"] is None
    assert run.best == min(row["error"] for row in rows(tmp_path))


@pytest.mark.parametrize("step", range(1, 6))
def test_a_run_that_is_stopped_goes_on_exactly(tmp_path, step):
    whole, first, second = make(tmp_path / "a"), make(tmp_path / "b"), make(tmp_path / "b")
    whole.run()
    first.run(stop=lambda: first.step == step)
    assert checkpoints(tmp_path / "b" / "checkpoints")[-1].stem == f"step-{step:08d}"
    second.restore()
    second.run()
    assert rows(tmp_path / "a") == rows(tmp_path / "b")
    assert torch.equal(whole.ema.weight, second.ema.weight)


def test_the_mean_of_the_latest_validations_decides(tmp_path, monkeypatch):
    figures = iter((0.9, 0.1, 0.5))  # means of two: 0.9, 0.5, 0.3
    monkeypatch.setitem(globals(), "error", lambda run: {"error": next(figures)})
    make(tmp_path, smoothed=2).run()
    assert load_tensors(tmp_path / "checkpoints" / BEST)[1]["step"] == 5


def test_steps_that_are_not_finite_change_nothing_and_too_many_are_an_error(tmp_path):
    run = make(tmp_path, poisoned, max_skipped=2)
    before = run.network.weight.detach().clone()
    with pytest.raises(Diverged, match="not finite in 3 steps in a row, up to step 3 .*lower the learning rate"):
        run.run()
    assert torch.equal(run.network.weight, before)


def test_batches_that_end_are_an_error(tmp_path):
    with pytest.raises(WeightzooError, match="the batches ended at step 2; give an endless iterable"):
        make(tmp_path, few).run()
