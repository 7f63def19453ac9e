"""Presets by name, with an exact error for a name that is unknown."""

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def preset_named(name: str, presets: Mapping[str, T]) -> T:
    """Return the preset ``name``.

    Raises:
        WeightzooError: there is none of that name.
    """
    from zoo.errors import WeightzooError

    if name not in presets:
        raise WeightzooError(f"unknown preset {name!r}; known: {', '.join(presets)}")
    return presets[name]
