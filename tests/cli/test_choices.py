"""What can be chosen on the command line: what the registries hold, listed by --help and completed by the shell."""

import pytest
from typer.testing import CliRunner

import pipeline.presets
import weightgen.training.config
from cli.main import app
from cli.train import PRECISIONS
from pipeline.executors.ray import EXECUTORS
from pipeline.teachers import TEACHERS
from weightgen.denoisers import NETWORKS
from weightgen.evaluation.grid import GRIDS, TEST_SPLITS
from zoo.pictures.pair_layouts import DIRECTIONS
from zoo.shards import FORMATS


@pytest.mark.parametrize(
    ("command", "option", "registry"),
    [
        ("build", "preset", pipeline.presets.PRESETS),
        ("build", "teacher", TEACHERS),
        ("build", "executor", EXECUTORS),
        ("train", "preset", weightgen.training.config.PRESETS),
        ("train", "denoiser", NETWORKS),
        ("train", "precision", PRECISIONS),
        ("evaluate", "grid", GRIDS),
        ("evaluate", "split", TEST_SPLITS),
        ("publish", "format", FORMATS),
        ("finetune", "direction", DIRECTIONS),
    ],
)
def test_choices_are_those_of_the_registry(run, command, option, registry):
    shown = "".join(run(command, "--help").out.split())
    names = "|".join(registry)
    assert f"--{option}<{names}>" in shown or f"--{option}<list[{names}]>" in shown


def test_what_is_no_choice_is_refused_with_the_choices(run):
    refused = run("finetune", "--mode", "half")
    assert refused.code == 2 and "'half' is not one of 'full', 'adapter'" in refused.err


@pytest.mark.parametrize(
    ("typed", "completed"),
    [("weightzoo dem", ["demo"]), ("weightzoo train --preset ", ["tiny", "small", "paper"])],
)
def test_the_shell_completes_commands_and_choices(typed, completed):
    asked = {
        "_WEIGHTZOO_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(typed.count(" ")),
    }
    assert CliRunner().invoke(app, env=asked, prog_name="weightzoo").stdout.split() == completed
