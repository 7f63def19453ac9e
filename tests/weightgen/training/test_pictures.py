"""Polishing: it learns from pictures alone, resumes exactly, survives bad gradients and keeps the best."""

import itertools
import json
import signal
from dataclasses import replace

import pytest
import torch

from tests.weightgen.tiny_world import make_model, make_zoo
from weightgen.generate import generate
from weightgen.model_folder import load_model_folder
from weightgen.training.checkpoint import checkpoints, load_tensors
from weightgen.training.config import PolishConfig
from weightgen.training.loader import prefetch
from weightgen.training.loop import TrainingRun
from weightgen.training.pictures import polish, prepare
from weightgen.training.run_folder import BEST
from weightgen.training.stages import picture_validation
from zoo.adapters.lora import load_base
from zoo.errors import Interrupted, WeightzooError
from zoo.pictures.picture_batches import PictureBatch
from zoo.training.train_gan import run_generators

FACTORS = {"make it dark": 0.3, "make it pale": 0.9}
CONFIG = PolishConfig(steps=6, learning_rate=3e-3, validate_every=3, checkpoint_every=2, device="cpu")


def batch(step: int) -> PictureBatch:
    """Each prompt's target is the source times a factor."""
    sources = torch.rand(2, 2, 3, 16, 16, generator=torch.Generator().manual_seed(step))
    factors = torch.tensor(list(FACTORS.values()))[:, None, None, None, None]
    return PictureBatch(list(FACTORS), sources, sources * factors)


def batches(start: int = 0):
    return map(batch, itertools.count(start))


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("polish")
    return make_model(folder / "model", make_zoo(folder / "zoo"))


def rows(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def test_learns_from_pictures(model_dir, tmp_path):
    config = replace(CONFIG, steps=40, learning_rate=5e-3)
    polish(model_dir, batches, config, tmp_path, validation=[batch(-1)])
    curve = [row["l1"] for row in rows(tmp_path)]
    assert min(curve) < 0.8 * curve[0]
    result = load_model_folder(tmp_path)
    assert result.metadata["stage"] == result.metadata["role"] == "polished"
    held = batch(-1)
    images = run_generators(
        load_base(result.base_generator_path), generate(result, held.prompts).adapters, held.sources
    )
    chosen = result.metadata["polished"]["best"]["l1"]
    assert float((images.clamp(0, 1) - held.targets).abs().mean()) == pytest.approx(chosen, abs=1e-4)


def test_one_lucky_validation_does_not_decide(model_dir, tmp_path):
    held = replace(batch(-1), targets=torch.zeros_like(batch(-1).targets))
    run = prepare(load_model_folder(model_dir), batches, CONFIG, tmp_path, validation=[held])
    measured, best = [], []
    validation = picture_validation(lambda *_: torch.full((len(held.prompts),), measured[-1]), [held])
    run.stage = replace(run.stage, validation=validation)
    for step, l1 in enumerate((0.6, 0.5, 0.1, 0.5, 0.5, 0.6, 0.34, 0.3, 0.3, 0.3, 0.3, 0.5)):
        run.step = step
        measured.append(l1)
        run.validate(0.0)
        best.append(load_tensors(tmp_path / "checkpoints" / BEST)[1]["step"])
    assert best == [0, 1, *[2] * 7, 9, 10, 10]


def test_an_interrupted_run_equals_an_uninterrupted_one(model_dir, tmp_path):
    polish(model_dir, batches, CONFIG, tmp_path / "whole", validation=[batch(-1)])

    def interrupted(start: int = 0):
        for step in itertools.count(start):
            if step == 4:
                raise RuntimeError("killed")
            yield batch(step)

    with pytest.raises(RuntimeError):
        polish(model_dir, interrupted, CONFIG, tmp_path / "parts", validation=[batch(-1)])
    assert not (tmp_path / "parts" / "model_index.json").exists()
    with open(tmp_path / "parts" / "metrics.jsonl", "a") as file:
        file.write('{"step": 4, "lo')  # what a full disk could leave
    polish(model_dir, batches(), CONFIG, tmp_path / "parts", validation=[batch(-1)])  # an iterable is skipped into
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole")
    whole, parts = (load_model_folder(tmp_path / name).denoiser.state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)

    def never(start: int = 0):
        raise AssertionError("a finished folder is not trained again")

    path = tmp_path / "whole" / "config.json"
    stored = json.loads(path.read_text())
    del stored["polished"]["max_skipped"]  # as from before the option
    stored["polished"] |= {"edge_weight": 0.0, "noise_fraction": 0.25, "use_dropout": False}  # as from before they went
    path.write_text(json.dumps(stored))
    polish(model_dir, never, CONFIG, tmp_path / "whole", validation=[batch(-1)])
    stored["polished"]["use_dropout"] = True
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text(json.dumps(stored))
    with pytest.raises(WeightzooError, match="another config.*polished.use_dropout: True -> .absent."):
        polish(model_dir, batches, CONFIG, tmp_path / "other", validation=[batch(-1)])
    with pytest.raises(WeightzooError, match="another config"):
        polish(model_dir, batches, replace(CONFIG, seed=1), tmp_path / "whole")
    with pytest.raises(WeightzooError, match="another config, model or data .*data"):
        polish(model_dir, batches, CONFIG, tmp_path / "whole", validation=[batch(-1)], data="other pictures")


@pytest.mark.parametrize(("name", "step"), [("validate", 0), ("train_step", 1), ("validate", 6)])
def test_ctrl_c_changes_nothing_wherever_it_comes(model_dir, tmp_path, monkeypatch, hears_ctrl_c, name, step):
    polish(model_dir, batches, CONFIG, tmp_path / "whole", validation=[batch(-1)])
    original = getattr(TrainingRun, name)

    def interrupted(self, *arguments):
        if self.step == step:
            signal.raise_signal(signal.SIGINT)
        return original(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingRun, name, interrupted)
        with pytest.raises(Interrupted, match="run the same command"):
            polish(model_dir, batches, CONFIG, tmp_path / "parts", validation=[batch(-1)])
    assert checkpoints(tmp_path / "parts" / "checkpoints")
    assert not (tmp_path / "parts" / "model_index.json").exists()
    polish(model_dir, batches, CONFIG, tmp_path / "parts", validation=[batch(-1)])
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole")
    whole, parts = (load_model_folder(tmp_path / name).denoiser.state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_random_init_is_another_network_and_seconds_end_it(model_dir, tmp_path):
    config = replace(CONFIG, random_init=True)
    polish(model_dir, batches, config, tmp_path, seconds=0.2)
    metadata = load_model_folder(tmp_path).metadata
    done = metadata["polished"]
    assert metadata["role"] == "control" and done["config"]["random_init"] and done["seconds"] >= 0.2
    original = load_model_folder(model_dir).denoiser.state_dict()
    one, other = (prepare(load_model_folder(model_dir), batches, config, tmp_path) for _ in range(2))
    fresh = one.network.state_dict()
    assert all(torch.equal(value, fresh[name]) for name, value in other.network.state_dict().items())
    assert sum(not torch.equal(value, fresh[name]) for name, value in original.items()) > 5


def test_bad_gradients_are_skipped_then_reported(model_dir, tmp_path):
    def poisoned(bad: range):
        def make(start: int = 0):
            for step in itertools.count(start):
                clean = batch(step)
                yield replace(clean, targets=clean.targets * torch.nan) if step in bad else clean

        return make

    polish(model_dir, poisoned(range(1, 3)), CONFIG, tmp_path / "a", validation=[batch(-1)])
    assert all(torch.isfinite(v).all() for v in load_model_folder(tmp_path / "a").denoiser.state_dict().values())
    with pytest.raises(WeightzooError, match="not finite in 3 steps in a row"):
        polish(model_dir, poisoned(range(1, 99)), replace(CONFIG, max_skipped=2), tmp_path / "b")


def test_a_shared_set_of_photographs(model_dir, tmp_path):
    run = prepare(load_model_folder(model_dir), batches, CONFIG, tmp_path)
    both = batch(0)
    shared = PictureBatch(both.prompts, both.sources[0], both.targets)
    repeated = replace(both, sources=both.sources[:1].expand(2, -1, -1, -1, -1))
    found = []
    for each in (shared, repeated):
        loss = run.stage.gradients(run, each)
        found.append([torch.tensor(loss), *(p.grad.clone() for p in run.network.parameters())])
        run.network.zero_grad()
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_errors(model_dir, tmp_path):
    with pytest.raises(WeightzooError, match="ended at step 3"):
        polish(model_dir, [batch(step) for step in range(3)], CONFIG, tmp_path / "a")
    wrong = replace(batch(0), prompts=["only one"])
    with pytest.raises(WeightzooError, match="give \\[prompts, crops"):
        polish(model_dir, [wrong], CONFIG, tmp_path / "b")
    with pytest.raises(WeightzooError, match="another folder"):
        polish(model_dir, batches, CONFIG, model_dir)


def test_prefetch_keeps_order_and_errors():
    assert list(prefetch(iter(range(10)))) == list(range(10))

    def failing():
        yield 1
        raise WeightzooError("broken")

    with pytest.raises(WeightzooError, match="broken"):
        list(prefetch(failing()))
    stream = prefetch(itertools.count())
    assert [next(stream) for _ in range(3)] == [0, 1, 2]
    stream.close()
