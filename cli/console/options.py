"""Options: those that several commands take, and the refusal of those that would do nothing beside others.

A choice is a `Literal`, so that `--help` lists it and the shell completes it, without an import of what it names.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

Preset = Literal["tiny", "small", "paper"]  # of a build, and of a training
ModelOption = Annotated[
    str | None, typer.Option(help="Weight generator: a folder or USER/NAME.  [default: the embedded one]")
]
ZooOption = Annotated[str | None, typer.Option(help="Zoo of that model.  [default: the embedded one]")]
BaseOption = Annotated[
    Path | None, typer.Option(help="Base generator of an adapter, if it cannot be found by its hash.")
]
ProcessesOption = Annotated[
    int | None, typer.Option(min=1, help="Number of processes.  [default: one for each core]")
]
SecondsOption = Annotated[
    float | None, typer.Option(min=1.0, help="Train for this many seconds, in place of --steps.")
]
ResumeOption = Annotated[bool, typer.Option(help="Continue from the last checkpoint, or start again.")]


def out_option(help: str) -> Any:
    """Return the option -o, with what it names in the command's own words."""
    return typer.Option("-o", "--out", help=help)


def given(ctx: typer.Context, *names: str) -> list[str]:
    """Return those of the options `names` (as parameters: `run_dir`) that stand on the command line."""
    sources = {name: ctx.get_parameter_source(name) for name in names}
    return [spelt(name) for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]


def spelt(name: str) -> str:
    """Return a parameter as its option is typed: `run_dir` -> `--run-dir`."""
    return f"--{name.replace('_', '-')}"


def refuse(ctx: typer.Context, what: str, why: str, *names: str) -> None:
    """Refuse options that would do nothing beside `what`.

    Raises:
        WeightzooError: one of them was given.
    """
    from zoo.errors import WeightzooError

    if found := given(ctx, *names):
        raise WeightzooError(f"{what} takes no {found[0]}: {why}; leave it out")


def require(ctx: typer.Context, what: str, *names: str) -> None:
    """Refuse options that do something beside `what` only.

    Raises:
        WeightzooError: one of them was given.
    """
    from zoo.errors import WeightzooError

    if found := given(ctx, *names):
        raise WeightzooError(f"{found[0]} is an option of {what}; add it, or leave {found[0]} out")


def check_combination(
    ctx: typer.Context,
    takes_no: Mapping[str, tuple[str, ...]] | None = None,
    has: Mapping[str, tuple[str, ...]] | None = None,
) -> None:
    """Refuse options that would do nothing, by tables of parameters.

    Args:
        takes_no: beside an option that is set, why it takes no others, and which.
        has: the options that do something beside an option only.

    Raises:
        WeightzooError: naming the option.
    """
    for name, (why, *others) in (takes_no or {}).items():
        if ctx.params[name]:
            refuse(ctx, spelt(name), why, *others)
    for name, own in (has or {}).items():
        if not ctx.params[name]:
            require(ctx, spelt(name), *own)


def check_length(ctx: typer.Context) -> None:
    """Refuse a training that is limited both in seconds and in steps.

    Raises:
        WeightzooError: both were given.
    """
    from zoo.errors import WeightzooError

    if len(given(ctx, "seconds", "steps")) == 2:
        raise WeightzooError("--seconds and --steps exclude each other; give one of them")
