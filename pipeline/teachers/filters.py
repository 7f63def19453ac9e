"""The filters teacher: a concept's recipe of image operators, applied to photographs.

A recipe is `concept.attributes["recipe"]`, a list of `{"op": name, **parameters}` applied in order;
`concept.attributes["strength"]` (default 1) mixes the source with the result. Everything is a
deterministic function of the pixels, so targets need not be stored: rendering 32 crops at 64 px takes
some milliseconds on one thread. To add an operator, write a function `[N, 3, H, W] -> [N, 3, H, W]`
and name it in OPERATORS.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pipeline.teachers.operators import colour, light, texture
from zoo.concepts import Concept
from zoo.errors import WeightzooError

# by the name that a recipe has for it, which is the function's
OPERATORS: dict[str, Callable[..., Tensor]] = {
    operator.__name__: operator
    for operator in (
        colour.adjust, colour.curve, colour.levels, colour.gray_world, colour.ramp, colour.tint,
        colour.filter_glass, colour.split_tone, colour.shadow_tint, colour.highlight_tint, colour.hue_shift,
        colour.vibrance, colour.keep_hue, colour.move_hue, colour.matrix, colour.posterize, colour.palette,
        colour.threshold, colour.solarize, colour.invert, colour.gray,
        texture.soft, texture.glow, texture.local_contrast, texture.hdr, texture.motion, texture.tilt_shift,
        texture.kuwahara, texture.dark_edges, texture.sketch, texture.outline, texture.ink, texture.emboss,
        texture.halftone, texture.hatch, texture.scanlines, texture.weave, texture.pixelate,
        texture.shift_channels, texture.relief_paint,
        light.vignette, light.spotlight, light.light_leak, light.shade, light.gradient, light.haze, light.snow,
        light.wet,
    )
}  # fmt: skip


def apply_recipe(recipe: list[dict[str, Any]], images: Tensor) -> Tensor:
    """Apply the operators in order; the result is clamped to [0, 1] after each.

    Raises:
        WeightzooError: an unknown operator or parameter, by name.
    """
    for step in recipe:
        parameters = dict(step)
        name = parameters.pop("op", None)
        if name not in OPERATORS:
            raise WeightzooError(f"unknown operator {name!r} in a recipe; known: {', '.join(sorted(OPERATORS))}")
        try:
            images = OPERATORS[name](images, **parameters).clamp(0, 1)
        except TypeError as error:
            raise WeightzooError(f"operator {name!r}: {error}; check the recipe's parameters") from error
    return images


class FiltersTeacher:
    """Edits photographs by image operators; needs no weights, no network and no accelerator."""

    name = "filters"
    licence = "Apache-2.0"
    expensive = False

    def prepare(self, device: str) -> None:
        """Do nothing: there is nothing to load."""

    def refusal(self, concept: Concept) -> str | None:
        """Return why this teacher cannot edit for `concept`; None when it can."""
        recipe = concept.attributes.get("recipe")
        if not recipe:
            return f"concept {concept.id!r} has no recipe; the filters teacher edits catalogue concepts only"
        unknown = sorted({str(step.get("op")) for step in recipe} - set(OPERATORS))
        return f"concept {concept.id!r} uses unknown operators: {', '.join(unknown)}" if unknown else None

    @torch.no_grad()
    def edit(self, concept: Concept, photos: Tensor) -> Tensor:
        """Return target images of `concept` for photos [N, 3, H, W] in [0, 1], of the same shape.

        Raises:
            WeightzooError: the concept has no recipe that this teacher knows.
        """
        reason = self.refusal(concept)
        if reason:
            raise WeightzooError(reason)
        edited = apply_recipe(concept.attributes["recipe"], photos)
        strength = float(concept.attributes.get("strength", 1.0))
        return edited if strength == 1.0 else photos + (edited - photos) * strength
