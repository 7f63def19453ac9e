"""Progress on stderr: a rich bar at a terminal; a line now and then in a pipe, a notebook, a log; nothing under --json.

    for shard in track(shards, "reading", unit="shards"): ...
    with bar() as display:
        task = display.add_task("fine-tuning", total=300, unit="steps")
        display.update(task, completed=120)
    with working("loading the model"): ...

    fine-tuning: 120/300 steps in 0:00:12, 0:00:18 left
"""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")
FIRST_LINE, LEAST_PAUSE, LONGEST_PAUSE = 2.0, 10.0, 60.0  # seconds, of lines where there is no terminal
console = Console(stderr=True)


def say(line: str, even_if_quiet: bool = False) -> None:
    """Print a line for a person on stderr; under `--json` only what they have to know at once."""
    if console.quiet and even_if_quiet:
        print(line, file=sys.stderr, flush=True)
    console.print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def bar(*columns: TextColumn) -> Iterator[Progress]:
    """Yield the progress display of all commands; its tasks have a field `unit`: what is counted, in the plural.

    Args:
        columns: further ones, left of the times. Lines take the field `values` of a task in their place.
    """
    terminal = console.is_terminal and not console.quiet
    display = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        *columns,
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not terminal,
    )
    with display, nullcontext() if terminal else lines(lambda: "  ".join(map(line_of, display.tasks))):
        yield display


def line_of(task: Task) -> str:
    """Return how far a task is, in words."""
    if task.total is None:
        parts = [f"{task.description}: {int(task.completed):,} {task.fields['unit']}"]
    else:
        parts = [f"{task.description}: {int(task.completed):,}/{int(task.total):,} {task.fields['unit']}"]
    parts[0] += f" in {clock(task.finished_time or task.elapsed or 0)}"
    if task.time_remaining:
        parts.append(f"{clock(task.time_remaining)} left")
    return ", ".join(parts + [values for values in [task.fields.get("values")] if values])


def clock(seconds: float) -> str:
    """Return a time as rich's columns show it: `0:01:30`."""
    return str(timedelta(seconds=int(seconds)))


def track(iterable: Iterable[T], description: str, unit: str, total: float | None = None) -> Iterator[T]:
    """Iterate over `iterable` behind a progress display.

    Args:
        unit: what is counted, in the plural.
    """
    if total is None and hasattr(iterable, "__len__"):
        total = len(iterable)  # type: ignore[arg-type]
    with bar() as display:
        task = display.add_task(description, total=total, unit=unit)
        for item in iterable:
            yield item
            display.advance(task)


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show that something goes on of which nobody knows how long it takes."""
    started = time.monotonic()
    terminal = console.is_terminal and not console.quiet
    with console.status(what) if terminal else lines(lambda: f"{what}: {clock(time.monotonic() - started)}"):
        yield


@contextmanager
def lines(text: Callable[[], str]) -> Iterator[None]:
    """Print `text()` now and then while the body runs, and at its end if it was printed before."""
    if console.quiet:
        yield
        return
    ended, printed = threading.Event(), threading.Event()

    def run() -> None:
        for pause in pauses():
            if ended.wait(pause):
                return
            printed.set()
            say(text())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        if printed.is_set():
            say(text())


def pauses() -> Iterator[float]:
    """Yield the seconds before each line: short at first, longer in what takes hours."""
    passed, pause = 0.0, FIRST_LINE
    while True:
        yield pause
        passed += pause
        pause = min(max(LEAST_PAUSE, passed / 10), LONGEST_PAUSE)
