"""Fine-tuning that goes on exactly where it ended, hands over its best network, and ends at once when it diverges."""

import json
import shutil
import signal
from dataclasses import replace

import pytest
import torch

from tests.weightgen.tiny_world import make_model, make_pairs, make_zoo
from weightgen.finetuning.best import Best
from weightgen.finetuning.finetune import finetune, resume
from weightgen.finetuning.loop import FinetuneConfig
from weightgen.finetuning.measure import errors
from weightgen.finetuning.origins import Origins
from weightgen.finetuning.starts import make_start
from weightgen.training.checkpoint import load_checkpoint
from zoo.adapters.lora import load_generator
from zoo.errors import Interrupted, WeightzooError

CONFIG = FinetuneConfig(steps=6, batch_size=2, eval_every=2, feature_network=None, learning_rate=5e-3, device="cpu")
WEIGHTS = {"full": "generator.safetensors", "adapter": "adapter_model.safetensors"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """(origins, pairs)"""
    folder = tmp_path_factory.mktemp("resume")
    zoo = make_zoo(folder / "zoo")
    make_model(folder / "models" / "polished", zoo, stage="polished")
    return Origins(zoo, folder / "models", seed=5), make_pairs(folder / "pairs")


def train(world, out, config=CONFIG, **more):
    return finetune(world[1], "make it dark", "polished", out, world[0], config, **more)


def interrupted(world, out, config=CONFIG, at=2):
    """A training that Ctrl-C ends in the step after the evaluation at step `at`."""

    def interrupt(row):
        if row["step"] == at:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted, match=f"--resume {out}"):
        train(world, out, config, on_row=interrupt)


def rows(out):
    """The evaluation rows without their times."""
    lines = (out / "metrics.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]


def files(out):
    return {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.mark.parametrize("mode", ["full", "adapter"])
def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(world, tmp_path, hears_ctrl_c, mode):
    config = replace(CONFIG, mode=mode)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    expected = train(world, whole, config)
    interrupted(world, parts, config)
    assert [row["step"] for row in rows(parts)] == [0, 2, 3]
    assert resume(parts)["steps"] == expected["steps"] == 6
    assert rows(parts) == rows(whole) and [row["step"] for row in rows(whole)] == [0, 2, 4, 6]
    assert (parts / WEIGHTS[mode]).read_bytes() == (whole / WEIGHTS[mode]).read_bytes()
    states = [load_checkpoint(out / "training")[0] for out in (whole, parts)]
    assert states[0].keys() == states[1].keys() and any("judge_optimizer" in name for name in states[0])
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_a_resumed_training_needs_no_zoo_and_no_model(world, tmp_path, hears_ctrl_c):
    zoo = shutil.copytree(world[0].zoo_path, tmp_path / "zoo")
    out = tmp_path / "out"
    other = Origins(zoo, world[0].model_path, seed=5)
    interrupted((other, world[1]), out, replace(CONFIG, mode="adapter"))
    shutil.rmtree(zoo)
    assert resume(out)["steps"] == 6


def test_steps_are_added_to_a_finished_training(world, tmp_path):
    train(world, tmp_path, replace(CONFIG, steps=4))
    before = rows(tmp_path)
    summary = resume(tmp_path, steps=8)
    assert summary["steps"] == 8 == summary["last"]["step"] and summary["first"]["step"] == 0
    assert rows(tmp_path)[: len(before)] == before and [row["step"] for row in rows(tmp_path)] == [0, 2, 4, 6, 8]
    assert json.loads((tmp_path / "finetune.json").read_text()) == summary


def test_a_time_budget_counts_what_was_trained_already(world, tmp_path):
    first = train(world, tmp_path, replace(CONFIG, seconds=0.5))
    with pytest.raises(WeightzooError, match="has trained for .* s of 0.5 s; add time"):
        resume(tmp_path)
    second = resume(tmp_path, seconds=first["seconds"] + 0.5)
    assert second["steps"] > first["steps"] and second["seconds"] >= first["seconds"] + 0.5
    assert second["init_seconds"] == first["init_seconds"]


def test_what_cannot_be_resumed_is_refused_and_kept(world, tmp_path):
    pairs, out = shutil.copytree(world[1], tmp_path / "pairs"), tmp_path / "out"
    train((world[0], pairs), out)
    before = files(out)
    with pytest.raises(WeightzooError, match="has done 6 steps of 6; add steps"):
        resume(out)
    with pytest.raises(WeightzooError, match="has done 6 steps of 3; add steps"):
        resume(out, steps=3)
    with pytest.raises(WeightzooError, match="holds no training to go on with"):
        resume(tmp_path)
    moved = pairs.rename(tmp_path / "moved")
    with pytest.raises(WeightzooError, match="no longer there; name where they are now with --pairs"):
        resume(out, steps=8)
    names = sorted(path.name for path in (moved / "target").iterdir())
    shutil.copy(moved / "target" / names[0], moved / "target" / names[1])
    with pytest.raises(WeightzooError, match="are not those that .* was begun with"):
        resume(out, steps=8, pairs=moved)
    assert files(out) == before
    assert resume(out, steps=8, pairs=world[1])["steps"] == 8


def test_a_damaged_state_is_told(world, tmp_path):
    train(world, tmp_path)
    state = next((tmp_path / "training").iterdir())
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(WeightzooError, match="cannot be read"):
        resume(tmp_path, steps=8)


def test_no_state_is_kept_where_none_is_wanted(world, tmp_path):
    train(world, tmp_path, replace(CONFIG, keeps_state=False))
    assert not (tmp_path / "training").exists() and (tmp_path / "generator.safetensors").exists()


@pytest.mark.parametrize("mode", ["full", "adapter"])
def test_a_training_that_makes_it_worse_hands_over_the_start(world, tmp_path, mode):
    config = replace(CONFIG, mode=mode, steps=1, learning_rate=0.5)
    summary = train(world, tmp_path, config)
    assert summary["last"]["train_error"] > summary["first"]["train_error"]
    assert summary["best"] == summary["first"] and summary["best"]["step"] == 0
    start, kept = (make_start(init, [["make it dark"]], world[0], mode) for init in ("polished", str(tmp_path)))
    assert all(torch.equal(value, kept.params[name]) for name, value in start.params.items())


def test_a_training_that_diverges_ends_at_once_and_leaves_nothing(world, tmp_path):
    seen = []
    config = replace(CONFIG, steps=50, learning_rate=1e30, eval_every=10)
    with pytest.raises(WeightzooError, match=r"training diverged \(loss or gradient not finite at step [0-3]\)"):
        train(world, tmp_path, config, on_row=lambda row: seen.append(row["step"]))
    assert seen == [0] and not any(tmp_path.iterdir())


def test_a_resumed_training_that_diverges_leaves_the_earlier_network(world, tmp_path, monkeypatch):
    from weightgen.finetuning import finetune as module

    train(world, tmp_path)
    before = files(tmp_path)
    load = module.load_progress

    def poisoned(*args):
        progress, about = load(*args)
        with torch.no_grad():
            progress.fleet.params["stem.bias"].fill_(torch.nan)
        return progress, about

    monkeypatch.setattr(module, "load_progress", poisoned)
    with pytest.raises(WeightzooError, match="not finite at step 6"):
        resume(tmp_path, steps=8)
    assert files(tmp_path) == before
    assert load_generator(tmp_path)


def row(step, error, train_error):
    return {"step": step, "error": error, "train_error": train_error}


def test_the_best_network_is_kept_with_its_row():
    best = Best("error")
    offers = [
        (row(0, 0.3, 0.2), "the start"),
        (row(1, 0.1, 0.21), "better by what it is chosen by, but worse than the start on its training pairs"),
        (row(2, 0.2, 0.1), "better"),
        (row(3, 0.25, 0.05), "worse by what it is chosen by"),
        (row(4, None, 0.05), "not finite"),
        (row(5, 0.1, None), "not finite on its training pairs"),
    ]
    for each, _ in offers:
        best.offer([each], {"w": torch.full((1, 2), float(each["step"]))})
    assert best.rows == [offers[2][0]] and best.starts == [offers[0][0]]
    assert torch.equal(best.params["w"], torch.full((1, 2), 2.0))


def test_the_best_of_several_concepts_are_of_different_steps():
    best = Best("train_error")
    for step, pair in enumerate([(0.3, 0.3), (0.2, 0.4), (0.4, 0.1)]):
        best.offer([row(step, 1.0, value) for value in pair], {"w": torch.full((2, 3), float(step))})
    assert [each["step"] for each in best.rows] == [1, 2]
    assert best.params["w"][:, 0].tolist() == [1.0, 2.0]


def test_the_error_sees_an_even_page_that_l1_takes_for_a_good_drawing():
    """White paper with thin black lines: a page without lines, against lines that are off by a pixel."""
    targets = torch.ones(4, 3, 32, 32)
    targets[..., ::16] = 0.0
    page, shifted = torch.ones_like(targets), targets.roll(1, -1)
    blank, drawn = errors(page, targets), errors(shifted, targets)
    assert blank["l1"] < drawn["l1"] and blank["error"] > drawn["error"]
    assert blank["contrast"] == 0 and drawn["contrast"] == pytest.approx(1)
    assert errors(page, page)["contrast"] is None


def test_a_killed_training_is_resumed_from_its_last_state(world, tmp_path):
    class Killed(BaseException):
        pass

    def kill(row):
        if row["step"] == 4:
            raise Killed

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(world, whole)
    with pytest.raises(Killed):
        train(world, parts, on_row=kill)
    assert not (parts / "generator.safetensors").exists()
    assert resume(parts)["steps"] == 6 and rows(parts) == rows(whole)
    assert (parts / "generator.safetensors").read_bytes() == (whole / "generator.safetensors").read_bytes()
