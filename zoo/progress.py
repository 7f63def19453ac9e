"""Progress on stderr: a rich bar for a person at a terminal, silence for pipes and ``--json``."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")
console = Console(stderr=True)


def say(line: str, even_if_quiet: bool = False) -> None:
    """Print a line for a person on stderr; under ``--json`` only what they have to know at once."""
    if console.quiet and even_if_quiet:
        print(line, file=sys.stderr, flush=True)
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def bar(visible: bool | None = None) -> Progress:
    """Return the progress display of all commands, to be used as a context manager.

    Args:
        visible: ``None`` shows it only when stderr is a terminal.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    hidden = not (console.is_terminal if visible is None else visible) or console.quiet
    return Progress(*columns, console=console, disable=hidden)


def track(iterable: Iterable[T], description: str, total: float | None = None) -> Iterator[T]:
    """Iterate over ``iterable`` behind a progress bar (silent unless stderr is a terminal)."""
    if total is None and hasattr(iterable, "__len__"):
        total = len(iterable)  # type: ignore[arg-type]
    with bar() as progress:
        task = progress.add_task(description, total=total)
        for item in iterable:
            yield item
            progress.advance(task)
