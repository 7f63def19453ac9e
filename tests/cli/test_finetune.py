"""weightzoo finetune: both kinds of result, the rows, and what a person can get wrong."""

import json
import shutil

import pytest
from PIL import Image

from cli.finetune import WORSE_THAN_SOURCE, report_solved
from zoo.results import OURS

PROMPT = ("--prompt", "make it darker")


@pytest.fixture
def finetune(run, world, tmp_path):
    def call(*more, pairs=None, out=tmp_path / "out"):
        common = ("--model", world / "models", "--data", world / "zoo", "-o", out)
        return run("finetune", "--pairs", pairs or world / "pairs", *PROMPT, *common, *more)

    return call


def test_full_mode_writes_generator_and_rows(finetune, run, tmp_path):
    result = finetune("--init", "polished", "--steps", 3, "--json")
    assert result.code == 0, result.err
    assert result.json["mode"] == "full" and result.json["held_out"]
    assert {"generator.safetensors", "config.json"} <= {path.name for path in (tmp_path / "out").iterdir()}
    rows = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert rows[0]["step"] == 0 and rows[-1]["step"] == 3
    assert all({"step", "seconds", "l1", "psnr", "kid", "contrast", "train_l1"} <= set(row) for row in rows)
    assert run("inspect", tmp_path / "out", "--json").json["kind"] == "generator"


def test_a_closed_form_needs_no_prompt_and_is_applied(run, world, tmp_path):
    solved = tmp_path / "solved"
    call = ("finetune", "--pairs", world / "pairs", "--init", "closed-form")  # by default the pairs decide
    result = run(*call, "--steps", 20, "-o", solved, "--json")
    assert result.code == 0, result.err
    assert result.json["init"] == "closed-form" and result.json["best"]["l1"] <= result.json["solved"]["l1"]
    assert result.json["best"]["l1"] < result.json["best"]["source_l1"]
    assert run("inspect", solved, "--json").json["kind"] == "generator"
    again = run(*call, "-o", solved)
    assert again.code != 0 and "--overwrite" in again.err
    photo, out = next((world / "pairs" / "source").iterdir()), tmp_path / "edited.png"
    assert run("apply", solved, photo, "-o", out).code == 0
    with Image.open(out) as edited, Image.open(photo) as source:
        assert edited.size == source.size


def test_a_closed_form_takes_no_mode_and_is_a_start(run, world, tmp_path):
    solve = ("finetune", "--pairs", world / "pairs", "--init", "closed-form", "-o", tmp_path / "solved")
    refused = run(*solve, "--mode", "adapter")
    assert refused.code != 0 and "takes no --mode" in refused.err and not (tmp_path / "solved").exists()
    solved = run(*solve, "--steps", 0)
    assert solved.code == 0 and "solved on" in solved.out and "mixed of" not in solved.out
    trained = ("finetune", "--pairs", world / "pairs", *PROMPT, "--init", tmp_path / "solved", "-o", tmp_path / "out")
    again = run(*trained, "--steps", 1, "--model", world / "models", "--data", world / "zoo")
    assert again.code == 0 and "next: weightzoo apply" in again.out
    refused = run("finetune", "--resume", tmp_path / "solved")
    assert refused.code != 0 and "Traceback" not in refused.err


def test_adapter_mode_writes_a_peft_folder_that_can_be_a_start(finetune, run, world, tmp_path):
    assert finetune("--mode", "adapter", "--init", "base", "--steps", 2).code == 0
    assert run("inspect", tmp_path / "out", "--verify", "--json").json["kind"] == "adapter"
    again = finetune("--init", tmp_path / "out", "--steps", 1, out=tmp_path / "again")
    assert again.code == 0 and "next: weightzoo apply" in again.out


@pytest.mark.parametrize("mode", ["full", "adapter"])
def test_an_earlier_network_is_kept_or_replaced_as_a_whole(finetune, tmp_path, mode):
    out = tmp_path / "out"
    assert finetune("--init", "base", "--mode", mode, "--steps", 1).code == 0
    names = {path.name for path in out.iterdir()}
    before = (out / "finetune.json").read_bytes()
    again = finetune("--init", "base", "--mode", mode, "--steps", 2)
    assert again.code == 2 and "--overwrite" in again.error and (out / "finetune.json").read_bytes() == before
    failed = finetune("--init", "nothing", "--mode", mode, "--overwrite")
    assert failed.code == 2 and (out / "finetune.json").read_bytes() == before
    done = finetune("--init", "base", "--mode", mode, "--steps", 2, "--overwrite", "--json")
    assert done.code == 0, done.err
    assert done.json["out"] == str(out) and done.json["steps"] == 2
    assert {path.name for path in out.iterdir()} == names and all(OURS.fullmatch(name) for name in names)
    assert not list(tmp_path.glob(".*"))


def test_test_pairs_are_measured_on(finetune, world):
    result = finetune("--steps", 1, "--test-pairs", world / "pairs", "--json")
    assert result.json["held_out"] == [] and len(result.json["test_pairs"]) == 6


def test_what_is_not_understood_is_told_in_one_line(run, world, tmp_path):
    places = ("--pairs", world / "pairs", "--model", world / "models", "--data", world / "zoo", "-o", tmp_path / "out")
    result = run("finetune", "--prompt", "a warm look without grain", "--steps", 1, *places)
    [line] = [line for line in result.err.splitlines() if "understood" in line]
    assert result.code == 0 and line.startswith('weightzoo: warning: "without" is not understood')
    assert ".py" not in result.err


def test_words_without_quotes_are_refused_with_the_option_to_type(run, world, tmp_path):
    result = run("finetune", "--pairs", world / "pairs", "--prompt", "a", "charcoal", "drawing", "-o", tmp_path / "out")
    assert result.code == 2 and '--prompt "a charcoal drawing"' in result.error


def test_unequal_names(finetune, world, tmp_path):
    pairs = shutil.copytree(world / "pairs", tmp_path / "pairs")
    next((pairs / "target").iterdir()).rename(pairs / "target" / "other.png")
    result = finetune(pairs=pairs)
    assert result.code == 2 and "pairs" in result.error


def test_unreadable_image(finetune, world, tmp_path):
    pairs = shutil.copytree(world / "pairs", tmp_path / "pairs")
    victim = next((pairs / "source").iterdir())
    victim.write_bytes(b"not a picture")
    result = finetune(pairs=pairs)
    assert result.code == 2 and victim.name in result.error


def test_sizes_that_differ_within_a_pair(finetune, world, tmp_path):
    pairs = shutil.copytree(world / "pairs", tmp_path / "pairs")
    victim = sorted((pairs / "target").iterdir())[0]
    Image.new("RGB", (20, 24)).save(victim)
    result = finetune(pairs=pairs)
    assert result.code == 2 and victim.stem in result.error


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (("--init", "nonsense"), "nonsense"),
        (("--seconds", "3", "--steps", "3"), "exclude"),
        (("--seconds", "0"), "--seconds"),
        (("--prompt", " "), "prompt"),
        (("--init", "scratch", "--mode", "adapter"), "scratch"),
    ],
)
def test_wrong_options(finetune, more, text):
    result = finetune(*more)
    assert result.code == 2 and text in result.error


def test_full_disk(finetune, full_disk):
    result = finetune("--steps", 1)
    assert result.code == 1 and "No space left" in result.error


def test_a_training_is_resumed_with_more_steps(finetune, run, world, tmp_path):
    out = tmp_path / "out"
    assert finetune("--steps", 2).code == 0
    result = run("finetune", "--resume", out, "--steps", 4)
    assert result.code == 0, result.err
    assert "4 steps" in result.out and "kept: " in result.out
    again = run("finetune", "--resume", out)
    assert again.code == 2 and "add steps" in again.error
    other = run("finetune", "--resume", out, "--steps", 9, "--mode", "adapter")
    assert other.code == 2 and "--resume takes no --mode" in other.error
    there = finetune("--steps", 2, out=out)
    assert there.code == 2 and f"go on with --resume {out}" in there.error
    continued = finetune("--init", out, "--steps", 1, out=tmp_path / "other")
    assert continued.code == 0 and f"to go on exactly use --resume {out}" in continued.err


def test_what_is_missing_is_named(run, tmp_path):
    result = run("finetune", "--prompt", "dusk", "-o", tmp_path / "out")
    assert result.code == 2 and "finetune needs --pairs, or --resume" in result.error


def test_the_last_lines_say_which_network_was_kept(finetune):
    result = finetune("--steps", 1, "--learning-rate", 0.5)
    assert "kept: the start, as no later network was better by the training pairs" in result.out
    assert "from the start to this network: test L1" in result.out


@pytest.mark.parametrize("own, told", [(0.2, True), (0.05, False)])
def test_a_solve_that_is_worse_than_its_source_says_so(own, told, tmp_path):
    row = {"l1": own, "source_l1": 0.1, "psnr": 20.0, "fine_energy": 1.0, "fine_correlation": 0.9}
    summary = {
        "first": row,
        "solved": row,
        "best": row,
        "steps": 0,
        "held_out": [],
        "test_pairs": ["a"],
        "pairs": 1,
        "seconds": 1.0,
    }
    lines = report_solved(tmp_path, summary | {"penalty_factor": 1.0})
    assert (WORSE_THAN_SOURCE in lines) == told
