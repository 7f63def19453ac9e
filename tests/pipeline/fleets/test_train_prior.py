"""The prior of solved generators: learned through the solve, resumable."""

import numpy as np
import pytest
import torch

from pipeline.fleets import train_prior as module
from pipeline.fleets.train_prior import cut_squares, draw_task, error_after_solve, train_prior
from pipeline.sources import load_photos
from zoo.adapters.lora import load_base
from zoo.gans.solved import SolvedConfig

CONFIG = SolvedConfig(colour=4, patch=4, scales=4, tones=4)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(module, "SIDES", {40: 4, 48: 4})
    monkeypatch.setattr(module, "PIXELS", 300)
    monkeypatch.setattr(module, "SOLVE_PIXELS", 300)
    monkeypatch.setattr(module, "FEWEST_PIXELS", 50)
    monkeypatch.setattr(module, "QUERY_PIXELS", 100)
    monkeypatch.setattr(module, "CHECKPOINT", 1)


def test_an_interrupted_training_ends_as_one_that_was_not(tmp_path, monkeypatch):
    train_prior(tmp_path / "whole", 3, CONFIG)
    step = module.one_step

    def interrupted(generator, optimizer, squares, number):
        if number == 2:
            raise KeyboardInterrupt
        return step(generator, optimizer, squares, number)

    with monkeypatch.context() as patch:
        patch.setattr(module, "one_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_prior(tmp_path / "parts", 3, CONFIG)
    train_prior(tmp_path / "parts", 3, CONFIG)
    whole, parts = ((tmp_path / name / "prior.safetensors").read_bytes() for name in ("whole", "parts"))
    assert whole == parts
    generator = load_base(tmp_path / "whole" / "prior.safetensors")
    assert torch.equal(generator.layer, generator.mean)


def test_everything_that_is_learned_has_a_gradient(tmp_path):
    generator = CONFIG.build()
    squares = cut_squares(generator, load_photos("train"))
    for tensor in (generator.mean, generator.log_penalty, generator.slope):
        tensor.requires_grad_()
    for step in range(3):
        error_after_solve(generator, draw_task(squares, np.random.default_rng(step))).backward()
    learned = [generator.mean, generator.log_penalty, generator.slope, *generator.bank.parameters()]
    assert all(tensor.grad is not None and tensor.grad.isfinite().all() for tensor in learned)
    assert all(float(tensor.grad.abs().max()) > 0 for tensor in learned)


def test_queries_come_from_other_photographs_than_pairs():
    """A task's maps hold the photograph's mean colour, which tells photographs apart."""
    squares = cut_squares(CONFIG.build(), load_photos("train"))
    owner = {tuple(row.tolist()): square.photo for group in squares.values() for square in group for row in square.maps}
    for seed in range(20):
        task = draw_task(squares, np.random.default_rng(seed))
        sides = (task.solved_on, task.measured_on)
        pairs, queries = ({owner[tuple(row.tolist())] for row in rows[0]} for rows in sides)
        assert not pairs & queries and len(queries) == module.QUERIES
