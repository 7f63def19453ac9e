"""Errors end in one line on stderr and a documented exit code."""

import errno
import os
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from cli.console.exits import STOPPED, ExactGroup
from cli.main import main
from zoo.errors import Interrupted, WeightzooError
from zoo.files import atomic_path


def run(error: BaseException | None = None, action=None):
    app = typer.Typer(cls=ExactGroup, pretty_exceptions_enable=False, rich_markup_mode=None)

    @app.command()
    def work() -> None:
        if action:
            action()
        if error:
            raise error

    @app.command()
    def other() -> None:
        pass

    return CliRunner().invoke(app, ["work"])


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (WeightzooError("no such preset;\n known: tiny"), 2, "no such preset; known: tiny"),
        (Interrupted("3 of 4 fleets are kept; run the same command to go on"), 130, "3 of 4 fleets"),
        (KeyboardInterrupt(), 130, "weightzoo: stopped\n"),
        (OSError(errno.ENOSPC, "No space left on device", "x.parquet"), 1, "x.parquet"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "x.parquet"), 1, "x.parquet"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), 1, "free some space"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a.jpg"), 2, "a.jpg: no such file"),
        (PermissionError(errno.EACCES, "Permission denied", "out"), 1, "out: permission denied"),
        (ModuleNotFoundError("No module named 'kornia.color'", name="kornia.color"), 2, "'weightzoo[build]'"),
        (MemoryError(), 1, "out of memory"),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory. Tried"), 1, "out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), 1, "out of memory"),
    ],
)
def test_one_line_and_exit_code(error: BaseException, code: int, text: str) -> None:
    result = run(error)
    assert result.exit_code == code
    assert result.stdout == ""
    assert text in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_ctrl_c_says_what_is_true_for_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    from cli.main import app

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("zoo.results.check_free", stop)
    monkeypatch.setattr("zoo.results.check_free_file", stop)
    monkeypatch.setattr("cli.download.quiet_progress", stop)
    for command, said in (
        (("generate", "x", "-o", "out"), "nothing was written"),
        (("apply", "charcoal", "a.jpg", "-o", "b.jpg"), "nothing was written"),
        (("download", "weightzoo-small", "-o", "out"), "what was finished is kept"),
    ):
        result = CliRunner().invoke(app, list(command))
        assert result.exit_code == 130 and said in result.stderr


def test_ctrl_c_is_settled_for_every_command() -> None:
    from cli.main import app

    names = {command.name for command in app.registered_commands}
    assert names - set(STOPPED) == {"inspect", "serve"}, "say in cli.console.exits what Ctrl-C leaves"


def test_the_version() -> None:
    from importlib.metadata import version

    from cli.main import app

    assert CliRunner().invoke(app, ["--version"]).stdout == f"weightzoo {version('weightzoo')}\n"


def test_success_is_zero() -> None:
    assert run().exit_code == 0


def test_our_own_defects_keep_their_traceback() -> None:
    result = run(ZeroDivisionError("a defect"))
    assert isinstance(result.exception, ZeroDivisionError)


def test_full_disk_inside_an_atomic_write(tmp_path: Path) -> None:
    def write() -> None:
        with atomic_path(tmp_path / "shard.parquet"):
            raise OSError(errno.ENOSPC, "No space left on device")

    result = run(action=write)
    assert result.exit_code == 1
    assert "shard.parquet" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_argument_that_is_no_text_is_named(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["weightzoo", "generate", "ein Caf\udce9", "-o", "cafe"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "'ein Caf\\udce9' is not in UTF-8; rename the file, or set LANG" in capsys.readouterr().err


@pytest.mark.parametrize(("theirs", "wanted"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_do_not_spin_unless_the_user_wants_it(theirs, wanted, monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "")  # what the command sets is taken back
    monkeypatch.delenv("OMP_WAIT_POLICY")
    if theirs:
        monkeypatch.setenv("OMP_WAIT_POLICY", theirs)
    monkeypatch.setattr("sys.argv", ["weightzoo", "--version"])
    with pytest.raises(SystemExit):
        main()
    assert os.environ["OMP_WAIT_POLICY"] == wanted
