"""The strength of an edit: photograph and edit are mixed, or the edit is exaggerated.

    check_strength(0.5)
    mixed(photograph, edited, 0.5)          # half of what the edit changes

It works on pictures, so every network has it: 0 is the photograph itself, 1 the edit, 2 twice what the edit changes,
and -1 the opposite change.
"""

from __future__ import annotations

from torch import Tensor

from zoo.errors import WeightzooError

STRENGTHS = (-1.0, 2.0)  # the least and the largest share of an edit in its mixture with the photograph


def check_strength(strength: float) -> None:
    """Raise `WeightzooError` for a strength that is not within `STRENGTHS`."""
    least, most = STRENGTHS
    if not least <= strength <= most:
        raise WeightzooError(
            f"a strength of {strength:g} is out of range; give {least:g} to {most:g}, where 1 is the edit"
        )


def mixed(source: Tensor, edited: Tensor, strength: float) -> Tensor:
    """Return a picture with `strength` times what the edit changes of the source."""
    return edited if strength == 1 else source + strength * (edited.clamp(0, 1) - source)
