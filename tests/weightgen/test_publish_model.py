"""A model on the Hub: published with its card, opened by name, its networks mixed, scaled and read by PEFT."""

import shutil

import peft
import pytest
import torch
from huggingface_hub import ModelCard

from tests.weightgen.tiny_world import SOLVED, add_ood_score, make_model, make_paired_model, make_zoo
from weightgen import WeightDiffusionPipeline
from weightgen.model_card import EVALUATION, keep_evaluation, model_card
from weightgen.model_folder import denoiser_sha256
from weightgen.publish_model import publish_model
from weightgen.sampling import interpolate, scale_strength
from zoo.adapters.lora import load_adapter, plain
from zoo.errors import WeightzooError
from zoo.files import read_json, sha256_file, write_json

ROWS = [
    {"init": name, "split": split, "prompts": 1, "l1": l1, "l1_interval": [l1 - 0.01, l1 + 0.01], "n": 33}
    for split in ("combination", "external")
    for name, l1 in (("copy", 0.22), ("kernel_ridge", 0.18), ("generated", 0.14))
]


def measured(model, rows):
    """The model's folder has an evaluation of it."""
    write_json(model / EVALUATION, {"zero_step": rows, "denoiser_sha256": denoiser_sha256(model)})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    zoo = make_zoo(tmp_path_factory.mktemp("zoo"))
    model = make_model(tmp_path_factory.mktemp("model"), zoo)
    add_ood_score(model, zoo)
    measured(model, ROWS)
    return model


def test_push_from_the_hub_and_use(hub, folder, tmp_path):
    here = WeightDiffusionPipeline.from_pretrained(folder)
    assert here.push_to_hub("user/model", private=True, tag="first").endswith("/user/model")
    pipe = WeightDiffusionPipeline.from_pretrained("user/model@first")
    prompts, seed = ["make it red", "a blue look"], torch.Generator
    output = pipe(prompts, num_inference_steps=2, guidance_scale=1.5, generator=seed().manual_seed(0), num_networks=2)
    again = here(prompts, num_inference_steps=2, guidance_scale=1.5, generator=seed().manual_seed(0), num_networks=2)
    assert torch.equal(output.blocks, again.blocks) and len(output) == 4 and output.ood.shape == (4,)

    between = interpolate(output.adapter(0), output.adapter(2), 0.5)
    weaker = scale_strength(between, pipe.mean_adapter(), 0.7)
    base, photos = pipe.base_generator(), torch.rand(2, 3, 16, 16)
    images = [load_adapter(base, adapter)(photos) for adapter in (output.adapter(0), between, weaker)]
    assert not torch.allclose(images[0], images[1]) and not torch.allclose(images[1], images[2])

    pipe.save_adapter(tmp_path, output, 0)
    wrapped = peft.PeftModel.from_pretrained(plain(base), str(tmp_path)).eval()
    torch.testing.assert_close(wrapped(photos), images[0], rtol=0, atol=1e-5)


def test_again_sends_nothing_and_tags_stay(hub, folder):
    first = publish_model(folder, "user/model", tag="v1")
    again = publish_model(folder, "user/model", tag="v1")
    assert first.files == 11 and again.files == 0 and again.revision == first.revision
    measured(folder, ROWS[:3])
    with pytest.raises(WeightzooError, match="the tag v1 of user/model already names another state"):
        publish_model(folder, "user/model", tag="v1")
    changed = publish_model(folder, "user/model")
    assert changed.files == 2 and changed.revision != first.revision  # the table, and the card that shows it
    measured(folder, ROWS)


def test_the_card(folder, tmp_path):
    text = model_card(folder, "user/model")
    card = ModelCard(text)
    assert card.data.license == "apache-2.0" and card.data.pipeline_tag == "image-to-image"
    assert "weightzoo" in card.data.tags and card.data.library_name == "diffusers"
    assert "$" not in text.replace("$repo", "") and "unknown" not in text.split("## Held-out")[1]
    table = [line for line in text.splitlines() if line.startswith("| ") and "0." in line]
    assert table[0] == "| **generated** | 0.140 [0.130, 0.150] | 0.140 [0.130, 0.150] |"
    assert "combination (33)" in text and "make" not in card.data.to_dict()
    (folder / EVALUATION).unlink()
    assert "Not measured yet" in model_card(folder, "user/model")
    measured(folder, ROWS)


def test_an_evaluation_is_taken_over_if_it_is_of_this_model(folder, tmp_path):
    """Under the name that it had there; a bare file cannot be checked and is believed."""
    model, out = shutil.copytree(folder, tmp_path / "model"), tmp_path / "evaluation"
    (model / EVALUATION).unlink()
    mine = sha256_file(model / "denoiser" / "diffusion_pytorch_model.safetensors")
    write_json(out / EVALUATION, {"zero_step": ROWS})
    keep_evaluation(model, out / EVALUATION)
    assert "| **generated** |" in model_card(model, "user/model")
    write_json(out / "config.json", {"model_sha256": {"generated": "0" * 64, "copy": mine}})
    keep_evaluation(model, out)
    kept = read_json(model / EVALUATION)
    assert kept["measured_as"] == "copy"
    write_json(model / EVALUATION, {**kept, "denoiser_sha256": "0" * 64})  # as after a training that began anew
    assert "Not measured yet" in model_card(model, "user/model")
    write_json(model / EVALUATION, kept)
    assert "| **copy** |" in (card := model_card(model, "user/model")) and "| generated |" in card
    write_json(out / "config.json", {"model_sha256": {"generated": "0" * 64}})
    with pytest.raises(WeightzooError, match="measured generated, not the weights in"):
        keep_evaluation(model, out)
    write_json(out / EVALUATION, {"zero_step": [{"init": "copy"}]})
    with pytest.raises(WeightzooError, match="is not the evaluation.json"):
        keep_evaluation(model, out / EVALUATION)
    with pytest.raises(WeightzooError, match="evaluation.json does not exist"):
        keep_evaluation(model, tmp_path)


def test_the_card_says_what_each_stage_took_and_whether_pairs_are_read(tmp_path):
    model = make_paired_model(tmp_path / "model", make_zoo(tmp_path / "zoo", SOLVED))
    path = model / "weightgen.json"
    about = read_json(path)
    account = {"steps": 7, "seconds": 2.5, "best": {"log_l1": -3.5}}
    write_json(path, about | {"metadata": about["metadata"] | {"paired": account}})
    card = model_card(model, "user/model")
    assert "| stage `paired` | steps: 7, seconds: 2.5; validation log_l1 -3.5 |" in card
    assert "--pairs my-pairs --model user/model" in card and "trained further to read before/after pairs" in card
    plain = make_model(tmp_path / "plain", make_zoo(tmp_path / "other"))
    assert "--pairs" not in model_card(plain, "user/model")


def test_refusals(hub, folder, tmp_path, monkeypatch):
    with pytest.raises(WeightzooError, match="not a weight generator's folder"):
        publish_model(tmp_path, "user/model")
    publish_model(folder, "user/open")
    with pytest.raises(WeightzooError, match="exists and is public"):
        publish_model(folder, "user/open", private=True)
    with pytest.raises(WeightzooError, match="does not let you"):
        publish_model(folder, "other/model")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(WeightzooError, match="needs an account on the Hub"):
        publish_model(folder, "user/model")
