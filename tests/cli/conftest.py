"""A toy zoo, toy models and toy pairs for the commands, and a runner."""

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import app
from tests.weightgen.tiny_world import make_model, make_pairs, make_zoo


class Run:
    """The outcome of a command."""

    def __init__(self, arguments: tuple[str, ...]) -> None:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("zoo.progress.FIRST_LINE", 3600.0)  # however busy the machine is: no lines of progress
            result = CliRunner().invoke(app, list(arguments))
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        self.code, self.out, self.err = result.exit_code, result.stdout, result.stderr

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line on stderr, beside what pairs were taken for."""
        lines = [line for line in self.err.strip().splitlines() if " is the source, " not in line]
        assert len(lines) == 1, self.err
        return lines[0]


@pytest.fixture(scope="session")
def run() -> Callable[..., Run]:
    return lambda *arguments: Run(tuple(map(str, arguments)))


@pytest.fixture(scope="session")
def step(run) -> Callable[..., Run]:
    """A command that has to end well."""

    def done(*arguments: object) -> Run:
        outcome = run(*arguments)
        assert outcome.code == 0, outcome.err
        return outcome

    return done


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """zoo/, models/{generated,polished}/, pairs/; read only."""
    folder = tmp_path_factory.mktemp("world")
    zoo = make_zoo(folder / "zoo")
    for stage in ("generated", "polished"):
        make_model(folder / "models" / stage, zoo, stage=stage)
    make_pairs(folder / "pairs")
    return folder


class Disk:
    """A disk with room for ``room`` more atomic writes."""

    def __init__(self) -> None:
        self.room = 0

    def fsync(self, descriptor: int) -> None:
        self.room -= 1
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Every atomic write ends with "No space left on device", unless the test makes room."""
    disk = Disk()
    monkeypatch.setattr("zoo.files.os.fsync", disk.fsync)
    return disk
