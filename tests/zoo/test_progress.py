"""Progress: lines with units where there is no terminal, silence for short work and for programs."""

import io
import itertools
import time

import pytest
from rich.console import Console
from rich.progress import Progress

from zoo import progress


@pytest.fixture
def log(monkeypatch):
    """A pipe in which the first line comes at once."""
    written = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=written))
    monkeypatch.setattr(progress, "FIRST_LINE", 0.01)
    return written


def wait_for(log):
    ends = time.monotonic() + 60
    while not log.getvalue() and time.monotonic() < ends:
        time.sleep(0.01)


def test_a_pipe_gets_lines_with_units(log):
    for index in progress.track(range(7), "reading", "shards"):
        if index == 3:
            wait_for(log)
    first, *_, last = log.getvalue().splitlines()
    assert first.startswith("reading: 3/7 shards in 0:00:") and last.startswith("reading: 7/7 shards in ")


def test_values_and_unknown_totals(log):
    with progress.bar() as display:
        task = display.add_task("training", total=None, unit="steps", values="")
        display.update(task, completed=1200, values="loss 0.128")
        wait_for(log)
    assert log.getvalue().startswith("training: 1,200 steps in 0:00:") and ", loss 0.128" in log.getvalue()


def test_what_is_done_keeps_its_time():
    seconds = 0.0
    display = Progress(get_time=lambda: seconds, disable=True)
    task = display.add_task("measuring", total=1, unit="pairs")
    seconds = 3.0
    display.update(task, completed=1)
    seconds = 60.0
    assert progress.line_of(display.tasks[0]) == "measuring: 1/1 pairs in 0:00:03"


def test_work_of_unknown_length_is_shown(log):
    with progress.working("loading the model"):
        wait_for(log)
    assert log.getvalue().startswith("loading the model: 0:00:")


def test_a_failure_ends_the_lines(log):
    with pytest.raises(ValueError), progress.bar() as display:  # noqa: PT011
        display.add_task("reading", total=3, unit="shards")
        wait_for(log)
        raise ValueError
    assert log.getvalue().splitlines()[-1].startswith("reading: 0/3 shards")


@pytest.mark.parametrize("quiet", [False, True])
def test_short_work_and_programs_get_nothing(monkeypatch, quiet):
    log = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=log, quiet=quiet))
    monkeypatch.setattr(progress, "FIRST_LINE", 0.0 if quiet else 60.0)
    assert list(progress.track(range(3), "reading", "shards")) == [0, 1, 2]
    with progress.working("loading"):
        pass
    assert log.getvalue() == ""


def test_a_terminal_gets_a_bar_with_units(monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=log, force_terminal=True, width=100))
    list(progress.track(range(7), "reading", "shards"))
    assert "7/7" in log.getvalue() and "shards" in log.getvalue()


def test_a_day_does_not_fill_a_log():
    ends = itertools.takewhile(lambda second: second < 24 * 3600, itertools.accumulate(progress.pauses()))
    assert list(itertools.islice(progress.pauses(), 3)) == [2, 10, 10] and len(list(ends)) < 1500
