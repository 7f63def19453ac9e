"""The text-conditioned control is trained as a weight generator is polished: batches made ahead, the best average."""

import itertools
import threading

import pytest
import torch

from benchmarks.harness.random_text import RandomText
from benchmarks.is_it_the_weights import train_text_conditioned
from tests.weightgen.tiny_world import GAN
from zoo.adapters.lora import save_base
from zoo.pictures.picture_batches import PictureBatch

PROMPTS = ["make it dark", "make it pale"]


class ToyEdits:
    """Each prompt's target is the source times a factor; notes which thread renders."""

    def __init__(self):
        self.threads = set()

    def batch(self, step):
        sources = torch.rand(2, 1, 3, 16, 16, generator=torch.Generator().manual_seed(step))
        return PictureBatch(PROMPTS, sources, sources * torch.tensor([0.3, 0.9])[:, None, None, None, None])

    def batches(self, start=0):
        for step in itertools.count(start):
            self.threads.add(threading.current_thread().name)
            yield self.batch(step)

    def validation_batches(self):
        return [self.batch(999)]


def error(edit, batch):
    with torch.no_grad():
        return float((edit(PROMPTS, batch.sources).clamp(0, 1) - batch.targets).abs().mean())


@pytest.fixture
def base(tmp_path):
    torch.manual_seed(0)
    save_base(tmp_path / "base.safetensors", GAN.build())
    return tmp_path / "base.safetensors"


def test_batches_are_made_ahead_and_the_weights_are_averages(base, monkeypatch):
    edits, states = ToyEdits(), []
    monkeypatch.setattr(
        "weightgen.training.loop.update_ema", lambda ema, network, decay: states.append(decay)
    )
    ticks = itertools.count(0, 0.1)  # a step takes a tenth of the time, whatever the machine does
    monkeypatch.setattr("time.perf_counter", lambda: next(ticks))
    train_text_conditioned(base, edits, 0.5, 1e-3, RandomText())
    assert edits.threads == {"prefetch_0"}
    assert states[:2] == [1 / 10, 2 / 11]


def test_the_weights_with_the_lowest_validation_error_are_kept(base):
    edits = ToyEdits()
    (held_out,) = edits.validation_batches()
    untrained = error(train_text_conditioned(base, edits, 1e-9, 0.0, RandomText()), held_out)
    harmed = error(train_text_conditioned(base, edits, 0.5, 1.0, RandomText()), held_out)
    assert harmed <= untrained + 1e-6
