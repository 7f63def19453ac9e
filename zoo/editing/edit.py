"""How photographs and films are edited: with which network, at which scale and strength."""

from __future__ import annotations

from dataclasses import dataclass

from zoo.files import PathLike


@dataclass(frozen=True)
class Edit:
    """How photographs are edited; see `zoo.pictures.apply.apply_to_photo`."""

    weights: PathLike
    base: PathLike | None = None
    scale: int | None = None
    strength: float = 1.0
