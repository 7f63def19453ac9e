"""What commands print: JSON on stdout for programs, plain lines and tables on stdout for people.

Progress bars go to stderr (`zoo.progress`); `quiet_progress` turns them off under `--json`.
"""

import json
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

WIDTH = 120  # of tables in a file or a pipe
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace an earlier result, which is otherwise kept.")
]


def emit(result: Any, as_json: bool, lines: Iterable[str] = ()) -> None:
    """Print `result` as JSON, or `lines` for a person."""
    if as_json:
        typer.echo(json.dumps(plain(result), indent=2, sort_keys=True, ensure_ascii=False))
        return
    for line in lines:
        typer.echo(line)


def note(line: str) -> None:
    """Print a line on stderr that is neither a result nor a warning: what something was taken for."""
    typer.echo(line, err=True)


def plain(value: Any) -> Any:
    """Turn dataclasses, paths and numpy scalars into what JSON can hold; NaN and infinity become null."""
    from zoo.config import to_dict

    value = to_dict(value)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item") and not isinstance(value, (str, bytes)):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table on stdout: the first column to the left, the others to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for position, column in enumerate(columns):
        grid.add_column(column, justify="left" if position == 0 else "right", no_wrap=True)
    for row in rows:
        grid.add_row(*(cell(value) for value in row))
    typer.echo(f"\n{title}")
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    console.print(grid)


def cell(value: Any) -> str:
    """Format one value of a table: three digits for numbers, a dash for what is absent."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def quiet_progress(as_json: bool) -> None:
    """Turn the progress bars off when the output is JSON, and on otherwise."""
    from zoo.progress import console

    console.quiet = as_json
