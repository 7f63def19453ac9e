"""Options: a name from a registry, and those that would do nothing beside others, with an exact error for each."""

from collections.abc import Mapping
from typing import TypeVar

import typer

T = TypeVar("T")


def choose(what: str, name: str, registry: Mapping[str, T]) -> T:
    """Return `registry[name]`.

    Raises:
        WeightzooError: there is no `what` of that name.
    """
    from zoo.errors import WeightzooError

    if name not in registry:
        raise WeightzooError(f"unknown {what} {name!r}; known: {', '.join(registry)}")
    return registry[name]


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
