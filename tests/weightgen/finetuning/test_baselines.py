"""Baselines: mixtures of the zoo's networks; the ones that read the text learn a linear zoo."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from weightgen.finetuning.baselines import BASELINES, fit
from weightgen.text import unit
from zoo.errors import WeightzooError

WIDTH, NUM_BLOCKS, BLOCK_SIZE = 12, 3, 8


class FakeEncoder:
    """A text `c3 w1` is the vector of concept 3 plus a little of wording 1."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.concepts = torch.randn(100, WIDTH, generator=generator)
        self.wordings = torch.randn(100, WIDTH, generator=generator) * 0.15

    def vector(self, text: str) -> Tensor:
        concept, wording = (int(part[1:]) for part in text.split())
        return self.concepts[concept] + self.wordings[(7 * concept + wording) % 100]

    def encode(self, prompts: list[str]) -> SimpleNamespace:
        return SimpleNamespace(pooled=torch.stack([self.vector(text) for text in prompts]))


@dataclass
class FakeWeights:
    prompts: list[list[str]]
    blocks: Tensor


def linear_zoo(encoder: FakeEncoder, concepts: range, wordings: range) -> FakeWeights:
    """Weights are a linear function of the concept's direction."""
    matrix = torch.randn(WIDTH, NUM_BLOCKS * BLOCK_SIZE, generator=torch.Generator().manual_seed(1))
    directions = unit(encoder.concepts[list(concepts)])
    blocks = (directions @ matrix).reshape(-1, NUM_BLOCKS, BLOCK_SIZE) + 2.0
    return FakeWeights([[f"c{c} w{w}" for w in wordings] for c in concepts], blocks)


@pytest.fixture(scope="module")
def zoo() -> tuple[FakeEncoder, FakeWeights, FakeWeights]:
    encoder = FakeEncoder()
    return encoder, linear_zoo(encoder, range(60), range(3)), linear_zoo(encoder, range(60, 80), range(3, 8))


def r2(predicted: Tensor, truth: Tensor, mean: Tensor) -> float:
    return float(1 - (predicted - truth).square().sum() / (truth - mean).square().sum())


@pytest.mark.parametrize("name", BASELINES)
def test_shapes_and_batch_independence(zoo, name):
    encoder, train, validation = zoo
    base_blocks = torch.zeros(NUM_BLOCKS, BLOCK_SIZE)
    predict = fit(name, train, encoder, validation=validation, base_blocks=base_blocks)
    both = predict([["c61 w3"], ["c62 w3", "c62 w4"]])
    assert both.shape == (2, NUM_BLOCKS, BLOCK_SIZE)
    torch.testing.assert_close(both[1:], predict([["c62 w3", "c62 w4"]]))


def test_simple_baselines(zoo):
    encoder, train, validation = zoo
    base_blocks = torch.randn(NUM_BLOCKS, BLOCK_SIZE)
    assert torch.equal(fit("base", train, encoder, base_blocks=base_blocks)([["c1 w9"]])[0], base_blocks)
    torch.testing.assert_close(fit("mean", train, encoder)([["c1 w9"]])[0], train.blocks.mean(0))
    torch.testing.assert_close(fit("nearest", train, encoder)([["c7 w1"], ["c3 w0"]]), train.blocks[[7, 3]])


def test_text_regressions_beat_mean_and_nearest(zoo):
    encoder, train, validation = zoo
    test = linear_zoo(encoder, range(80, 100), range(5, 6))
    scores = {}
    for name in ("mean", "nearest", "knn", "ridge", "kernel_ridge"):
        predicted = fit(name, train, encoder, validation=validation)(test.prompts)
        scores[name] = r2(predicted, test.blocks, train.blocks.mean(0))
    assert abs(scores["mean"]) < 1e-4
    assert scores["ridge"] > 0.8 and scores["kernel_ridge"] > 0.5
    assert min(scores["ridge"], scores["kernel_ridge"]) > max(scores["nearest"], scores["knn"])


def test_ridge_is_the_textbook_solution(zoo):
    encoder, train, _ = zoo
    predict = fit("ridge", train, encoder)
    assert predict.choice["texts"] == "mean"
    x = unit(unit(torch.stack([encoder.encode(p).pooled for p in train.prompts]).double()).mean(1))
    centred = x - x.mean(0)
    y = train.blocks.flatten(1).double()
    penalty = predict.choice["penalty"]
    beta = torch.linalg.solve(centred.T @ centred + penalty * torch.eye(WIDTH), centred.T @ (y - y.mean(0)))
    query = unit(encoder.encode(["c70 w2"]).pooled.double())
    expected = y.mean(0) + (query - x.mean(0)) @ beta
    torch.testing.assert_close(predict([["c70 w2"]]).flatten(1), expected.float(), rtol=1e-4, atol=1e-4)


def test_choices_are_made_on_validation(zoo):
    encoder, train, validation = zoo
    for name in ("knn", "ridge", "kernel_ridge"):
        assert "validation_r2" in fit(name, train, encoder, validation=validation).choice
    scramble = train.blocks.mean(0) + torch.randn_like(validation.blocks) * train.blocks.std()
    noise = FakeWeights(validation.prompts, scramble)
    wild = fit("ridge", train, encoder, validation=noise).choice
    calm = fit("ridge", train, encoder, validation=validation).choice
    assert wild["penalty"] > calm["penalty"]


def test_errors(zoo):
    encoder, train, _ = zoo
    with pytest.raises(WeightzooError, match="unknown baseline"):
        fit("median", train, encoder)
    with pytest.raises(WeightzooError, match="base_blocks"):
        fit("base", train, encoder)
    with pytest.raises(WeightzooError, match="the prompt is empty"):
        fit("ridge", train, encoder)([["  "]])
    with pytest.raises(WeightzooError, match="no train concepts"):
        fit("mean", FakeWeights([], train.blocks[:0]), encoder)
