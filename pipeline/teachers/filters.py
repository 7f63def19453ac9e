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

OPERATORS: dict[str, Callable[..., Tensor]] = {
    "adjust": colour.adjust,
    "curve": colour.curve,
    "levels": colour.levels,
    "gray_world": colour.gray_world,
    "ramp": colour.ramp,
    "tint": colour.tint,
    "filter_glass": colour.filter_glass,
    "split_tone": colour.split_tone,
    "shadow_tint": colour.shadow_tint,
    "highlight_tint": colour.highlight_tint,
    "hue_shift": colour.hue_shift,
    "vibrance": colour.vibrance,
    "keep_hue": colour.keep_hue,
    "move_hue": colour.move_hue,
    "matrix": colour.matrix,
    "posterize": colour.posterize,
    "palette": colour.palette,
    "threshold": colour.threshold,
    "solarize": colour.solarize,
    "invert": colour.invert,
    "gray": colour.gray,
    "soft": texture.soft,
    "glow": texture.glow,
    "local_contrast": texture.local_contrast,
    "hdr": texture.hdr,
    "motion": texture.motion,
    "tilt_shift": texture.tilt_shift,
    "kuwahara": texture.kuwahara,
    "dark_edges": texture.dark_edges,
    "sketch": texture.sketch,
    "outline": texture.outline,
    "ink": texture.ink,
    "emboss": texture.emboss,
    "halftone": texture.halftone,
    "hatch": texture.hatch,
    "scanlines": texture.scanlines,
    "weave": texture.weave,
    "pixelate": texture.pixelate,
    "shift_channels": texture.shift_channels,
    "relief_paint": texture.relief_paint,
    "vignette": light.vignette,
    "spotlight": light.spotlight,
    "light_leak": light.light_leak,
    "shade": light.shade,
    "gradient": light.gradient,
    "haze": light.haze,
    "snow": light.snow,
    "wet": light.wet,
}


def apply_recipe(recipe: list[dict[str, Any]], images: Tensor) -> Tensor:
    """Apply the operators in order; the result is clamped to [0, 1] after each.

    Raises:
        WeightzooError: an unknown operator or parameter, by name.
    """
    for step in recipe:
        parameters = dict(step)
        name = parameters.pop("op", None)
        if name not in OPERATORS:
            raise WeightzooError(
                f"unknown operator {name!r} in a recipe; known: {', '.join(sorted(OPERATORS))}"
            )
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
