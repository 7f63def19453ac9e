"""One operation of a program: what it may do, and how people ask for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Operator:
    """An operation with parameters to be drawn.

    Attributes:
        make: gets the drawn parameters by name; what it returns is the program's matter: words, or a function.
        wordings: how people may ask for it; without parameters, which words do not tell well.
        choices: parameters drawn from some values.
        ranges: parameters drawn evenly between two ends.
    """

    make: Callable[..., Any]
    wordings: tuple[str, ...]
    choices: dict[str, tuple[Any, ...]]
    ranges: dict[str, tuple[float, float]]

    def draw(self, rng: np.random.Generator) -> Any:
        """Return the operation with drawn parameters."""
        drawn = {name: values[int(rng.integers(len(values)))] for name, values in self.choices.items()}
        drawn |= {name: round(float(rng.uniform(*ends)), 3) for name, ends in self.ranges.items()}
        return self.make(**drawn)


def operator(make: Callable[..., Any] | str, *wordings: str, **values: Any) -> Operator:
    """Return an operator; a list of values is a choice, a pair (low, high) a range; text is a template of words."""
    build = make.format if isinstance(make, str) else make
    return Operator(
        build,
        wordings,
        {name: tuple(value) for name, value in values.items() if isinstance(value, list)},
        {name: value for name, value in values.items() if isinstance(value, tuple)},
    )
