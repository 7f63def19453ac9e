"""Choosing from a registry by name, with an exact error for a name that is unknown."""

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def choose(what: str, name: str, registry: Mapping[str, T]) -> T:
    """Return ``registry[name]``.

    Raises:
        WeightzooError: there is no ``what`` of that name.
    """
    from zoo.errors import WeightzooError

    if name not in registry:
        raise WeightzooError(f"unknown {what} {name!r}; known: {', '.join(registry)}")
    return registry[name]
