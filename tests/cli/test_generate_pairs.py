"""weightzoo generate --pairs and finetune from there: with and without words, and what a person can get wrong."""

import json

import pytest

from pipeline import edit_groups
from tests.pipeline.conftest import build_catalogue_zoo
from tests.weightgen.finetuning.test_solved import write_pairs
from tests.weightgen.tiny_world import SOLVED, make_paired_model, make_zoo
from zoo.pictures.apply import load_network


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """paired/, a model that reads pairs, and pairs/ of darkened pictures."""
    root = tmp_path_factory.mktemp("generate-pairs")
    make_paired_model(root / "paired", make_zoo(root / "zoo", SOLVED))
    write_pairs(root / "pairs", lambda images: images * 0.5, 5, size=48)
    return root


@pytest.mark.parametrize("prompt", [(), ("make it dark",), ("make it dark", "a dark look")])
def test_pairs_with_and_without_words_give_a_network(run, folder, tmp_path, prompt):
    out = tmp_path / "mine"
    result = run("generate", *prompt, "--pairs", folder / "pairs", "--model", folder / "paired", "-o", out)
    assert result.code == 0, result.error
    assert "L1 on what was left out" in result.out and f"next: weightzoo apply {out}" in result.out
    assert load_network(out).config.image_size == 48
    about = json.loads((out / "generate.json").read_text())
    assert about["pairs"] == 5 and about["prompts"] == list(prompt) and about["left_out_l1"]["paired"] >= 0


def test_equal_calls_give_equal_networks_and_overwrite_replaces_one(run, folder, tmp_path):
    call = ("generate", "--pairs", folder / "pairs", "--model", folder / "paired", "--json", "-o", tmp_path / "mine")
    first = run(*call).json
    before = (tmp_path / "mine" / "generator.safetensors").read_bytes()
    assert run(*call).code == 2
    again = run(*call, "--overwrite").json
    assert (tmp_path / "mine" / "generator.safetensors").read_bytes() == before
    assert {key: value for key, value in first.items() if key != "seconds"} == {
        key: value for key, value in again.items() if key != "seconds"
    }


def test_fine_tuning_begins_with_what_is_generated(run, folder, tmp_path):
    model = ("--model", folder / "paired")
    result = run("finetune", "--pairs", folder / "pairs", *model, "--steps", 5, "--json", "-o", tmp_path / "mine")
    assert result.code == 0, result.error
    assert result.json["init"] in ("paired", "closed-form")
    assert result.json["best"]["l1"] <= result.json["solved"]["l1"]
    solved = run(
        "finetune", "--pairs", folder / "pairs", "--init", "closed-form", "--steps", 0, "-o", tmp_path / "solved"
    )
    assert solved.code == 0, solved.error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--steps", 4), "takes no --steps"),
        (("--strength", 0.5), "takes no --strength"),
        (("make", "it", "dark"), 'weightzoo generate "make it dark"'),
        (("",), "the prompt is empty"),
    ],
)
def test_what_pairs_have_no_use_for_is_refused(run, folder, tmp_path, arguments, message):
    result = run(
        "generate", *arguments, "--pairs", folder / "pairs", "--model", folder / "paired", "-o", tmp_path / "a"
    )
    assert result.code == 2 and message in result.error
    assert not (tmp_path / "a").exists()


def test_a_model_that_reads_text_alone_says_which_one_reads_pairs(run, folder, tmp_path):
    model = folder / "paired-text"
    result = run("generate", "--pairs", folder / "pairs", "--model", model, "-o", tmp_path / "a")
    assert result.code == 2 and "reads no pairs" in result.error
    call = ("finetune", "--init", "paired", "--pairs", folder / "pairs", "--model", model)
    result = run(*call, "-o", tmp_path / "a")
    assert result.code == 2 and "polish MODEL --pairs" in result.error and not (tmp_path / "a").exists()


def test_an_adapter_is_trained_from_what_a_model_that_reads_pairs_makes_of_the_prompt(run, folder, tmp_path):
    call = ("finetune", "--pairs", folder / "pairs", "--model", folder / "paired", "--data", folder / "zoo")
    result = run(*call, "--prompt", "dark", "--mode", "adapter", "--steps", 1, "--json", "-o", tmp_path / "adapter")
    assert result.code == 0, result.error
    assert result.json["init"] == "paired" and result.json["mode"] == "adapter"
    assert (tmp_path / "adapter" / "adapter_config.json").is_file()


def test_neither_prompt_nor_pairs(run, tmp_path):
    result = run("generate", "-o", tmp_path / "a")
    assert result.code == 2 and "--pairs" in result.error


def test_a_zoo_becomes_a_model_that_reads_pairs(run, tmp_path, monkeypatch):
    """train, polish --pairs, generate --pairs: each takes what the one before has left."""
    monkeypatch.setattr(edit_groups, "EDITS", 4)
    monkeypatch.setattr(edit_groups, "CONCEPTS", 1)
    monkeypatch.setattr(edit_groups, "BY_PROGRAMS", 2)
    monkeypatch.setattr(edit_groups, "PHOTOGRAPHS", {1.0: 6})
    zoo, pairs = build_catalogue_zoo(tmp_path / "zoo"), tmp_path / "pairs"
    write_pairs(pairs, lambda images: images * 0.5, 4, size=24)
    trained = run("train", "--data", zoo, "--preset", "tiny", "--steps", 2, "-o", tmp_path / "generated")
    assert trained.code == 0, trained.error
    call = ("polish", tmp_path / "generated", "--data", zoo, "--pairs", "--groups", 1, "--steps", 2)
    read = run(*call, "-o", tmp_path / "paired")
    assert read.code == 0, read.error
    assert "paired, " in read.out and "2 steps in" in read.out and "log_l1" in read.out
    assert len(list((tmp_path / "paired" / "edits").iterdir())) == 1 + edit_groups.HELD_OUT
    made = run("generate", "--pairs", pairs, "--model", tmp_path / "paired", "-o", tmp_path / "mine")
    assert made.code == 0, made.error
    assert run("polish", tmp_path / "generated", "--groups", 3, "-o", tmp_path / "a").code == 2
