"""A command that goes on where it stopped refuses the folder of another command, and leaves it as it is."""

import shutil

import pytest


@pytest.fixture
def adapter(tmp_path):
    """What generate leaves, as far as a folder's kind goes."""
    for name in ("adapter_config.json", "adapter_model.safetensors", "metrics.jsonl"):
        (tmp_path / "warm").mkdir(exist_ok=True)
        (tmp_path / "warm" / name).write_text("mine")
    return tmp_path / "warm"


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_folder_of_another_command_stays_as_it_is(run, world, adapter):
    before = contents(adapter)
    for command in (
        ("train", "--data", world / "zoo", "--preset", "tiny", "-o", adapter),
        ("train", "--data", world / "zoo", "--preset", "tiny", "--no-resume", "-o", adapter),
        ("build", "--preset", "tiny", "--run-dir", adapter),
        ("download", "weightzoo-small", "-o", adapter),
        ("evaluate", "--model", world / "models", "--data", world / "zoo", "-o", adapter),
        ("demo", "--preset", "tiny", "--run-dir", adapter),
    ):
        refused = run(*command)
        assert refused.code == 2 and "warm holds an adapter (adapter_config.json)" in refused.error
        assert contents(adapter) == before


def test_a_file_is_no_folder(run, world, tmp_path):
    (tmp_path / "file").write_text("mine")
    for command in (
        ("train", "--data", world / "zoo", "-o"),
        ("evaluate", "--model", world / "models", "--data", world / "zoo", "-o"),
        ("build", "--preset", "tiny", "--run-dir"),
        ("download", "weightzoo-small", "-o"),
    ):
        assert "file is a file; give the name of a folder" in run(*command, tmp_path / "file").error


def test_a_weight_generator_is_no_place_for_a_zoo(run, world, tmp_path):
    model = shutil.copytree(world / "models" / "polished", tmp_path / "model")
    before = contents(model)
    refused = run("download", "weightzoo-small", "-o", model)
    assert refused.code == 2 and "holds a weight generator (model_index.json)" in refused.error
    assert contents(model) == before
