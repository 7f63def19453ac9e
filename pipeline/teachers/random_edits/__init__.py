"""Edits without words, drawn from a seed: what many programs do to pictures, composed at random.

    edit = random_edit(seed=7)
    targets = edit(photos)               # [N, 3, H, W] in [0, 1] -> the same shape

An edit is one to three operations in a row: colour maps, tone curves, look-up ramps, steps, blurs, sharpening, lines,
relief, paint, whatever stretches or equalises each picture, light over the frame, small random networks. Widths are in
pixels of the picture, as in most programs. The same seed gives the same operations and parameters everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.teachers.random_edits import neighbours, tones, whole
from pipeline.teachers.random_edits.basics import Draw, Edit

__all__ = ["DRAWS", "Composition", "Edit", "random_edit"]

DRAWS: dict[str, Draw] = {
    draw.__name__: draw
    for draw in (
        tones.colour_map, tones.colour_network, tones.faded, tones.ramp, tones.saturation, tones.split_tone,
        tones.steps, tones.threshold, tones.tone_curve, neighbours.cleaned, neighbours.glow, neighbours.hatching,
        neighbours.ink, neighbours.kuwahara, neighbours.lines, neighbours.local_contrast, neighbours.paint,
        neighbours.patch_network, neighbours.relief, neighbours.sharpening, neighbours.sketch, neighbours.soft,
        whole.equalised, whole.frame_light, whole.grey_world, whole.own_range,
    )
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Composition:
    """Operations in a row, mixed with the source.

    Attributes:
        amount: 1 is the edit alone, 0 the source.
    """

    operations: tuple[Edit, ...]
    amount: float

    @torch.no_grad()
    def __call__(self, photos: Tensor) -> Tensor:
        """Return photos [N, 3, H, W] in [0, 1] edited."""
        edited = photos
        for operation in self.operations:
            edited = operation(edited).clamp(0, 1)
        return photos + (edited - photos) * self.amount


def random_edit(seed: int) -> Composition:
    """Return the edit of a seed: one operation in half of the cases, else two or three."""
    rng = np.random.default_rng([20261128, seed])
    count = int(rng.choice((1, 2, 3), p=(0.5, 0.35, 0.15)))
    names = rng.choice(sorted(DRAWS), count, replace=False)
    amount = float(rng.uniform(0.4, 1.0)) if rng.random() < 0.25 else 1.0
    return Composition(tuple(DRAWS[name](rng) for name in names), amount)
