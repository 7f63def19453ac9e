"""The out-of-distribution score: calibrated, monotone in what was learned, stored with the model, warned about."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.weightgen.tiny_world import add_ood_score, make_model, make_zoo
from weightgen.generate import generate
from weightgen.model_folder import load_model_folder
from weightgen.ood import LIMIT, OOD_FILE, SHRINKAGE, fit_ood_score, load_ood_score
from weightgen.text import load_text_encoder
from weightgen.training.data import hold_out
from zoo.errors import WeightzooError, WeightzooWarning

STRANGE = [["the annual report of a bank, page seven"], ["qwzx vbnm 9981"]]


@pytest.fixture(scope="module")
def fitted(make_dataset):
    train, validation = hold_out(make_dataset(60), 0.2)
    texts, _ = validation.evaluation_prompts()
    return train, texts, fit_ood_score(train.prompts, texts, load_text_encoder("minilm"))


def test_calibrated_on_the_validation_prompts(fitted):
    _, texts, ood_score = fitted
    found = ood_score.score([[text] for text in texts])
    expected = torch.tensor([0.0, 1.0])
    torch.testing.assert_close(found.quantile(torch.tensor([0.5, LIMIT])), expected, atol=1e-3, rtol=0)


def test_it_is_the_mahalanobis_distance(fitted):
    _, _, ood_score = fitted
    rows = ood_score.rows.double().numpy()
    deviation = ood_score.embed(STRANGE[:1])[0].double().numpy() - rows.mean(0)
    covariance = np.cov(rows.T) + SHRINKAGE * np.eye(rows.shape[1])
    expected = np.sqrt(deviation @ np.linalg.solve(covariance, deviation))
    low, high = ood_score.scale.tolist()
    assert low + (high - low) * float(ood_score.score(STRANGE[:1])) == pytest.approx(expected, rel=1e-3)


def test_strange_prompts_are_far_and_learned_ones_are_near(fitted):
    train, _, ood_score = fitted
    learned = ood_score.score(train.prompts)
    assert learned.median() < 0.5 and (ood_score.score(STRANGE) > learned.max()).all()
    assert (ood_score.score(STRANGE) > 1).all()
    assert ood_score.nearest(train.prompts[:5]) == [prompts[0] for prompts in train.prompts[:5]]


def test_read_back_as_it_was_and_errors(fitted, tmp_path):
    _, _, ood_score = fitted
    ood_score.save(tmp_path / OOD_FILE)
    again = load_ood_score(tmp_path / OOD_FILE)
    assert again.texts == ood_score.texts and again.encoder_name == "minilm"
    torch.testing.assert_close(again.score(STRANGE), ood_score.score(STRANGE), rtol=1e-3, atol=1e-3)
    from zoo.tensors import write_tensors

    write_tensors(tmp_path / "other", {"rows": torch.zeros(1)})
    with pytest.raises(WeightzooError, match="learned prompts"):
        load_ood_score(tmp_path / "other")
    tensors = {"rows": torch.zeros(3, 384), "scale": torch.ones(2)}
    write_tensors(tmp_path / "text", tensors, {"texts": "[a", "encoder": "minilm"})
    with pytest.raises(WeightzooError, match="learned prompts"):
        load_ood_score(tmp_path / "text")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    zoo = make_zoo(tmp_path_factory.mktemp("zoo"))
    folder = make_model(tmp_path_factory.mktemp("model"), zoo)
    assert (
        load_model_folder(folder).ood_score is None and generate(load_model_folder(folder), "red").ood is None
    )
    with pytest.raises(WeightzooError, match="has no fallback"):
        generate(load_model_folder(folder), "red", fallback="nearest")
    strict(add_ood_score(folder, zoo))
    return load_model_folder(folder)


def strict(path):
    """Lowers the limit: two validation concepts are too few to set one."""
    ood_score = load_ood_score(path)
    low, high = ood_score.scale
    replace(ood_score, scale=torch.stack([low, low + 0.5 * (high - low)])).save(path)


def test_generated_networks_carry_it(model):
    with pytest.warns(WeightzooWarning, match="unlike the English prompts that the model has learned"):
        output = generate(model, ["make it red", STRANGE[0][0]], num_networks=2)
    assert output.ood.shape == (4,) and output.ood[0] == output.ood[1] and output.ood[2] > 1
    assert len(output.nearest) == 4 and output.nearest[0] == "make it red"


def test_fallback(model):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        output = generate(model, [STRANGE[0], ["make it red"]], fallback="nearest")
    assert output.prompts == [[output.nearest[0]], ["make it red"]] and output.ood[0] > 1
    expected = generate(model, output.nearest[0]).blocks
    torch.testing.assert_close(output.blocks[:1], expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(WeightzooError, match="unknown fallback 'base'; known: nearest"):
        generate(model, "red", fallback="base")


def test_a_copy_keeps_it(model, tmp_path):
    from weightgen.model_folder import copy_half

    assert load_model_folder(copy_half(model.path, tmp_path)).ood_score.texts == model.ood_score.texts
    assert replace(model, denoiser=model.denoiser).ood_score is model.ood_score
