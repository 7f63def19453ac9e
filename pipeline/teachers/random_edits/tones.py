"""Random edits of colours and tones: what a pixel becomes hangs on its own colour alone."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pipeline.teachers.operators.basics import luma, screen
from pipeline.teachers.random_edits.basics import Edit, drawn_colour


def colour_map(rng: np.random.Generator) -> Edit:
    """Return a random linear map of colours near the identity."""
    matrix = torch.from_numpy(np.eye(3) + rng.normal(0, rng.uniform(0.05, 0.4), (3, 3))).float()
    bias = torch.from_numpy(rng.normal(0, 0.08, (3, 1, 1))).float()
    return lambda x: torch.einsum("dc,nchw->ndhw", matrix, x) + bias


def tone_curve(rng: np.random.Generator) -> Edit:
    """Return a power and new ends for each channel, or for all alike; sometimes a negative."""
    channels = 1 if rng.random() < 0.5 else 3
    power = torch.from_numpy(np.exp(rng.normal(0, 0.5, (channels, 1, 1)))).float()
    low, high = (torch.from_numpy(rng.uniform(*ends, (channels, 1, 1))).float() for ends in ((-0.2, 0.2), (0.8, 1.2)))
    sign = -1 if rng.random() < 0.1 else 1
    return lambda x: low + (high - low) * ((x if sign > 0 else 1 - x).clamp_min(1e-3) ** power)


def saturation(rng: np.random.Generator) -> Edit:
    """Return the colour away from grey, or towards it."""
    amount, gain = float(rng.uniform(0, 2.5)), float(rng.uniform(0.8, 1.2))
    return lambda x: (luma(x) + (x - luma(x)) * amount) * gain


def ramp(rng: np.random.Generator) -> Edit:
    """Return luminance through a ramp of two to four random colours."""
    colours = torch.from_numpy(rng.uniform(0, 1, (int(rng.integers(2, 5)), 3))).float()
    if rng.random() < 0.7:
        colours = colours[colours.mean(1).argsort(stable=True)]
    last = len(colours) - 1

    def edit(x: Tensor) -> Tensor:
        at = luma(x)[:, 0].clamp(0, 1) * last
        below = at.floor().clamp(0, last - 1)
        mixed = torch.lerp(colours[below.long()], colours[below.long() + 1], (at - below)[..., None])
        return mixed.permute(0, 3, 1, 2)

    return edit


def steps(rng: np.random.Generator) -> Edit:
    """Return colours, or luminance, in a few steps."""
    levels = int(rng.integers(2, 9)) - 1
    grey = rng.random() < 0.3
    return lambda x: ((luma(x).expand_as(x) if grey else x) * levels).round() / levels


def colour_network(rng: np.random.Generator) -> Edit:
    """Return a small random network of the colour alone."""
    first = torch.from_numpy(rng.normal(0, 2.0, (12, 3))).float()
    bias = torch.from_numpy(rng.normal(0, 0.7, (12, 1, 1))).float()
    last = torch.from_numpy(rng.normal(0, 0.25, (3, 12))).float()
    keep = float(rng.uniform(0, 1))

    def edit(x: Tensor) -> Tensor:
        hidden = torch.tanh(torch.einsum("dc,nchw->ndhw", first, x - 0.5) + bias)
        return keep * x + (1 - keep) * 0.5 + torch.einsum("dc,nchw->ndhw", last, hidden)

    return edit


def threshold(rng: np.random.Generator) -> Edit:
    """Return two colours with a hard or a soft step of luminance between them."""
    at, width = float(rng.uniform(0.25, 0.75)), float(np.exp(rng.uniform(np.log(0.01), np.log(0.2))))
    dark, bright = drawn_colour(rng, 0.0, 0.5), drawn_colour(rng, 0.5, 1.0)
    return lambda x: torch.lerp(dark, bright, torch.sigmoid((luma(x) - at) / width))


def split_tone(rng: np.random.Generator) -> Edit:
    """Return shadows tinted with one colour and highlights with another."""
    shadows, highlights = drawn_colour(rng), drawn_colour(rng)
    amount, balance = float(rng.uniform(0.1, 0.5)), float(rng.uniform(0.3, 0.7))

    def edit(x: Tensor) -> Tensor:
        bright = torch.sigmoid((luma(x) - balance) * 8)
        tinted = torch.lerp(x * shadows * 2, screen(x, highlights.expand_as(x) * 0.5), bright)
        return torch.lerp(x, tinted.clamp(0, 1), amount)

    return edit


def faded(rng: np.random.Generator) -> Edit:
    """Return blacks lifted to one colour and whites lowered to another, as in an old print."""
    low, high = drawn_colour(rng, 0.0, 0.3), drawn_colour(rng, 0.7, 1.0)
    return lambda x: low + (high - low) * x
