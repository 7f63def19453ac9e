"""`benchmarks/gpu.sh` without a GPU: its options exist, and no step takes another's results with it."""

import argparse
import importlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.sh"
FAKE = """#!/usr/bin/env bash
if [ "$1" = -c ]; then
  case " $* " in *" $LACKING "*) echo "$LACKING" ;; esac
  exit 0
fi
echo "$*" >> calls.txt
for name; do :; done
echo '{}' > "benchmarks/results/$name.json"
case "$2" in *"$FAILING") exit 3 ;; esac
"""


@pytest.fixture
def run_script(tmp_path):
    """Run the script with a Python that only notes what it is called with; gives exit code, output, calls, files."""
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    shutil.copy(SCRIPT, tmp_path / "benchmarks")
    (tmp_path / "benchmarks" / "results" / "old_gpu.json").write_text("{}")
    os.utime(tmp_path / "benchmarks" / "results" / "old_gpu.json", (0, 0))
    (tmp_path / "python").write_text(FAKE)
    (tmp_path / "python").chmod(0o755)

    def run(lacking="nothing", failing="nothing", budget="500"):
        own = {"LACKING": lacking, "FAILING": failing, "BUDGET": budget}
        own |= {"PYTHON": str(tmp_path / "python"), "OUT": str(tmp_path / "out")}
        done = subprocess.run(
            ["bash", tmp_path / "benchmarks" / "gpu.sh"], env=os.environ | own, stdout=subprocess.PIPE, text=True
        )
        calls = tmp_path / "calls.txt"
        called = [line.split() for line in calls.read_text().splitlines()] if calls.exists() else []
        return done.returncode, done.stdout, called, {path.name for path in (tmp_path / "out").iterdir()}

    return run


RESULTS = {f"{name}_gpu.json" for name in ("generation", "denoiser", "fleets", "fleets_paper")}


class Parsed(Exception):
    """The options are known."""


def test_every_option_exists(run_script, monkeypatch):
    code, _, calls, files = run_script()
    assert code == 0 and len(calls) == 5 and files == {"gpu.log", *RESULTS}
    parse = argparse.ArgumentParser.parse_args

    def parsed(parser, arguments=None):
        parse(parser, arguments)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parsed)
    for _, module, *arguments in calls:
        if module != "cli.main":
            with pytest.raises(Parsed):
                importlib.import_module(module).main(arguments)


def test_the_plan_is_asked_for_with_options_that_exist(run_script, monkeypatch):
    from typer.testing import CliRunner

    import pipeline.upkeep.calibrate
    from cli.main import app

    monkeypatch.setattr(pipeline.upkeep.calibrate, "calibrate", lambda *options: {"device": options[3]})
    (arguments,) = (call[2:] for call in run_script()[2] if call[1] == "cli.main")
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0 and "device: cuda" in result.output


def test_a_failing_step_keeps_its_rows_and_the_next_goes_on(run_script):
    code, output, calls, files = run_script(failing="benchmarks.generation")
    assert code == 1 and len(calls) == 5 and files >= RESULTS
    assert "generation: failed (3)" in output and "failed: generation" in output.splitlines()[-1]


def test_a_missing_package_is_named_and_its_step_skipped(run_script):
    code, output, calls, files = run_script(lacking="kornia")
    assert code == 0 and "plan: skipped, not installed: kornia" in output
    assert len(calls) == 4 and files >= RESULTS


def test_no_time_left(run_script):
    code, output, calls, _ = run_script(budget="0")
    assert code == 1 and not calls and "fleets: skipped, no time is left" in output
