"""Random edits that look at the whole picture: its own range, histogram and mean colour, and light over its frame."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pipeline.teachers.operators.basics import frame, luma
from pipeline.teachers.random_edits.basics import Edit, ranks, stretched


def own_range(rng: np.random.Generator) -> Edit:
    """Return each picture stretched between its own ends: by channel, or all channels alike."""
    cut, together = float(rng.choice((0.0, 0.005, 0.02))), bool(rng.random() < 0.5)

    def edit(x: Tensor) -> Tensor:
        if not together:
            return stretched(x, cut, 1 - cut)
        grey = luma(x)
        return x * (stretched(grey, cut, 1 - cut) / grey.clamp_min(0.02)).clamp(0, 4)

    return edit


def equalised(rng: np.random.Generator) -> Edit:
    """Return each picture with its luminance's own histogram made even, in grey or in its colours."""
    coloured = bool(rng.random() < 0.6)

    def edit(x: Tensor) -> Tensor:
        grey = luma(x)
        rank = ranks(grey)
        return x * (rank / grey.clamp_min(0.02)).clamp(0, 4) if coloured else rank.expand_as(x)

    return edit


def grey_world(rng: np.random.Generator) -> Edit:
    """Return each picture with its mean colour made grey, or another colour."""
    wanted = torch.from_numpy(0.45 + rng.normal(0, 0.08, (3, 1, 1)) * (rng.random() < 0.6)).float()
    return lambda x: x * (wanted / x.mean((2, 3), keepdim=True).clamp_min(0.05)).clamp(0.3, 3)


def frame_light(rng: np.random.Generator) -> Edit:
    """Return light or colour that grows along a direction over the frame, or towards its corners."""
    angle, radial = float(rng.uniform(0, 2 * np.pi)), bool(rng.random() < 0.5)
    colour = torch.from_numpy(rng.uniform(0, 1, (3, 1, 1)) * (rng.random() < 0.6)).float()
    amount, start = float(rng.uniform(0.3, 0.9)), float(rng.uniform(0, 0.6))

    def edit(x: Tensor) -> Tensor:
        across, down = frame(x)
        slope = across * float(np.cos(angle)) + down * float(np.sin(angle))
        away = (across.square() + down.square()).sqrt() / 1.4 if radial else slope * 0.35 + 0.5
        return torch.lerp(x, colour.expand_as(x), (((away - start) / (1 - start)).clamp(0, 1) * amount))

    return edit
