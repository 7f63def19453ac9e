"""weightzoo generate: the adapter folder, --json, and what a person can get wrong."""

import pytest

from zoo.adapters.lora import load_base
from zoo.adapters.peft_format import find_base, load_peft


def test_writes_an_adapter_that_loads_on_its_base(run, world, tmp_path):
    out = tmp_path / "c"
    result = run("generate", "a charcoal drawing", "--model", world / "models" / "polished", "-o", out)
    assert result.code == 0 and "next: weightzoo apply" in result.out
    _, metadata = load_peft(out)
    base = load_base(
        find_base(metadata, out)
    )  # kept beside the adapter: this base comes with no installation
    adapter, _ = load_peft(out, base)
    assert metadata["prompt"] == "a charcoal drawing" and adapter


def test_json_and_equal_weights_for_equal_calls(run, world, tmp_path):
    arguments = ("generate", "a warm look", "--model", world / "models" / "polished", "--json", "-o")
    results = [run(*arguments, tmp_path / name).json for name in "ab"]
    assert results[0]["prompt"] == ["a warm look"] and results[0]["parameters"] > 0
    files = [(tmp_path / name / "adapter_model.safetensors").read_bytes() for name in "ab"]
    assert files[0] == files[1]


def test_strength_and_seed_change_the_weights(run, world, tmp_path):
    arguments = ("generate", "a warm look", "--model", world / "models" / "polished", "-o")
    variants = {"plain": (), "half": ("--strength", "0.5"), "seeded": ("--seed", "3")}
    for name, more in variants.items():
        assert run(*arguments, tmp_path / name, *more).code == 0
    files = {(tmp_path / name / "adapter_model.safetensors").read_bytes() for name in variants}
    assert len(files) == 3


def test_an_earlier_adapter_is_kept_or_replaced_as_a_whole(run, world, tmp_path, monkeypatch):
    arguments = ("--model", world / "models" / "polished", "-o", tmp_path / "c")
    assert run("generate", "a warm look", *arguments).code == 0
    first = contents(tmp_path / "c")
    with monkeypatch.context() as patched:
        patched.setattr("weightgen.generate.open_model", None)  # refused before anything is loaded
        again = run("generate", "a cold look", *arguments)
    assert again.code == 2 and "--overwrite" in again.error and contents(tmp_path / "c") == first
    assert run("generate", "a cold look", "--strength", 2, *arguments, "--overwrite").code == 0
    assert set(contents(tmp_path / "c")) == set(first) and contents(tmp_path / "c") != first
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_words_without_quotes_are_refused_with_the_command_to_type(run, tmp_path):
    result = run("generate", "a", "charcoal", "drawing", "-o", tmp_path / "c")
    assert result.code == 2 and f'weightzoo generate "a charcoal drawing" -o {tmp_path / "c"}' in result.error


def test_what_is_not_understood_is_told(run, world, tmp_path):
    arguments = ("generate", "a warm look without grain", "--model", world / "models" / "polished", "-o")
    assert '"without" is not understood' in run(*arguments, tmp_path / "a").out
    [warning] = run(*arguments, tmp_path / "b", "--json").json["warnings"]
    assert '"without" is not understood' in warning


@pytest.mark.parametrize("prompt", ["", "   ", "?!"])
def test_empty_prompt(run, world, tmp_path, prompt):
    result = run("generate", prompt, "--model", world / "models" / "polished", "-o", tmp_path / "c")
    assert result.code == 2 and "empty" in result.error
    assert not (tmp_path / "c").exists()


def test_absent_model(run, tmp_path):
    result = run("generate", "x", "--model", tmp_path / "nothing", "-o", tmp_path / "c")
    assert result.code == 2 and "nothing does not exist" in result.error


def test_full_disk(run, world, tmp_path, full_disk):
    result = run("generate", "x", "--model", world / "models" / "polished", "-o", tmp_path / "c")
    assert result.code == 1 and "No space left" in result.error
    assert not list((tmp_path / "c").glob("*"))
