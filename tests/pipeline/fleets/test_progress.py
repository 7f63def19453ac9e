"""The progress line: what it says, and that 10,000 fleets do not fill a log."""

import io
import time
from datetime import datetime, timedelta

import pytest
from rich.console import Console

from pipeline.executors.attempts import Outcome
from pipeline.fleets.progress import FleetProgress, Tally, duration
from pipeline.run_folder.shard_plan import FleetTask
from tests.pipeline.fake_fleet import fake_concepts
from zoo import progress

NOON = datetime(2026, 5, 1, 12, 0)


def test_the_line():
    tally = Tally(10_000, 80_000, drawn=1300, done=1234, failed=2, concepts_done=9872)
    assert tally.line(600, NOON) == (
        "fleets 1,234/10,000  64 running  2 failed  987.2 concepts/min  ends 2026-05-01 13:11 (in 1 h 11 min)"
    )
    assert Tally(3, 6).line(0.0, NOON) == "fleets 0/3  0 running  0 failed"


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (timedelta(seconds=3), "1 min"),
        (timedelta(minutes=61), "1 h 1 min"),
        (timedelta(days=2, hours=3), "2 d 3 h"),
    ],
)
def test_durations(span, text):
    assert duration(span) == text


def test_the_last_line_tells_how_a_build_ended(monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=log))
    monkeypatch.setattr(progress, "FIRST_LINE", 0.01)
    tasks = [FleetTask("run", "train", 0, 1, tuple(fake_concepts(2)), ".parquet")] * 10
    with FleetProgress(tasks) as shown:
        for task in shown.draw(tasks):
            shown.settle(Outcome(task, error=None))
        wait_for(log)
    lines = log.getvalue().splitlines()
    assert len(lines) >= 2 and lines[-1].startswith("fleets 10/10  0 running  0 failed")


def test_a_short_build_says_nothing_to_a_pipe(monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=log))
    with FleetProgress([]) as shown:
        list(shown.draw([]))
    assert log.getvalue() == ""


def wait_for(log):
    """A thread writes the first line."""
    ends = time.monotonic() + 60
    while not log.getvalue() and time.monotonic() < ends:
        time.sleep(0.01)
