"""`python -m benchmarks`: by name, and past one that fails."""

import importlib.util
import subprocess
from types import SimpleNamespace

import pytest

from benchmarks import __main__ as program


@pytest.fixture
def called(monkeypatch):
    """The modules that were run; `loading` fails."""
    modules = []

    def run(command):
        modules.append(command[-1])
        return SimpleNamespace(returncode=int(command[-1] == "benchmarks.loading"))

    monkeypatch.setattr(subprocess, "run", run)
    return modules


def test_one_that_fails_is_said_and_the_others_run(called, capsys):
    assert program.main([]) == 1
    assert called == [f"benchmarks.{name}" for name in program.BENCHMARKS]
    assert capsys.readouterr().out.endswith("failed: loading\n")


def test_by_name(called, capsys):
    assert program.main(["scale", "fleets"]) == 0
    assert called == ["benchmarks.scale", "benchmarks.fleets"]
    assert all(importlib.util.find_spec(f"benchmarks.{name}") for name in program.BENCHMARKS)
    for arguments, code in ((["--help"], 0), (["fleet"], 2)):
        with pytest.raises(SystemExit) as end:
            program.main(arguments)
        assert end.value.code == code
    assert "unknown: fleet; known: start_up" in capsys.readouterr().err
