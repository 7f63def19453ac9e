"""Options: the names that several commands take, and the refusal of those that would do nothing beside others.

A choice is a `Literal`, so that `--help` lists it and the shell completes it, without an import of what it names.
"""

from typing import Literal

import typer

Preset = Literal["tiny", "small", "paper"]  # of a build, and of a training


def given(ctx: typer.Context, *names: str) -> list[str]:
    """Return those of the options `names` (as parameters: `run_dir`) that stand on the command line."""
    sources = {name: ctx.get_parameter_source(name) for name in names}
    return [
        f"--{name.replace('_', '-')}"
        for name, source in sources.items()
        if source is not None and source.name == "COMMANDLINE"
    ]


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
