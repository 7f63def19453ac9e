"""The local affine map of colour of `zoo.pictures.local_affine`, in ONNX."""

from __future__ import annotations

from collections.abc import Callable

import torch

from zoo.export.graphs import COLUMNS, FLOAT, ROWS, Op, Value, count, cut, repeat, size, smallest, weights
from zoo.export.resampling import enlarged
from zoo.pictures.local_affine import (
    BLUR,
    COLOUR,
    NO_RESPONSE,
    NOISE,
    PATTERN_HEIGHT,
    PATTERN_RADIUS,
    PERIODS,
    SLOPE_RADIUS,
    TEXTURE,
)

STRIP_PIXELS = 1 << 20  # of the whole photograph that are edited at a time
Detail = tuple[Value, Value]  # fine and coarse gain, [1, 9, h, w] each


def unit(op: Op) -> Value:
    """Return the identity as nine channels, [1, 9, 1, 1]."""
    return weights(op, torch.eye(3).view(1, 9, 1, 1))


def box(op: Op, x: Value, radius: int) -> Value:
    """Return the mean over (2 radius + 1)^2 pixels; fewer at the border."""
    for side, pads in (([2 * radius + 1, 1], [radius, 0, radius, 0]), ([1, 2 * radius + 1], [0, radius, 0, radius])):
        x = op.AveragePool(x, kernel_shape=side, pads=pads, count_include_pad=0)
    return x


def products(op: Op, a: Value, b: Value) -> Value:
    """Return all products of a channel of a and one of b, [N, 9, h, w]."""
    return op.Concat(*[op.Mul(channel, b) for channel in planes(op, a, 3)], axis=1)


def planes(op: Op, x: Value, channels: int) -> list[Value]:
    """Return the channels of a picture."""
    return list(op.Split(x, axis=1, num_outputs=channels, _outputs=channels))


def affine(op: Op, gain: Value, x: Value) -> Value:
    """Return a picture [1, 3, h, w], each pixel multiplied by its own 3x3 matrix [1, 9, h, w]."""
    rows = op.Split(gain, axis=1, num_outputs=3, _outputs=3)
    return op.Concat(*[op.ReduceSum(op.Mul(row, x), [1], keepdims=1) for row in rows], axis=1)


def slopes(op: Op, source: Value, edited: Value, usual: Value, noise: float, radius: int) -> Value:
    """Return the slope A of `edited` over `source` around each pixel, [1, 9, h, w]."""
    mean, target = box(op, source, radius), box(op, edited, radius)
    covariance = op.Sub(box(op, products(op, source, source), radius), products(op, mean, mean))
    crossed = op.Sub(box(op, products(op, source, edited), radius), products(op, mean, target))
    (a, b, c, _, d, e, _, _, f) = planes(op, op.Add(covariance, op.Mul(unit(op), noise)), 9)
    prior = op.Gather(usual, weights_index(op, [0, 3, 6, 1, 4, 7, 2, 5, 8]), axis=1)  # transposed
    right = op.Split(op.Add(crossed, op.Mul(prior, noise)), axis=1, num_outputs=3, _outputs=3)  # rows of the matrix
    solution = solved(op, (a, b, c, d, e, f), right)
    columns = [planes(op, row, 3) for row in solution]  # by channel in, then channel out
    return op.Concat(*[columns[k][out] for out in range(3) for k in range(3)], axis=1)


def weights_index(op: Op, index: list[int]) -> Value:
    """Return places as a constant."""
    return op.Constant(value_ints=index)


def solved(op: Op, matrix: tuple[Value, ...], right: list[Value]) -> list[Value]:
    """Solve symmetric positive definite systems (a b c; b d e; c e f) by elimination; rows of `right` in and out."""
    a, b, c, d, e, f = matrix
    first, second, third = right
    by, cy = op.Div(b, a), op.Div(c, a)
    d, e, f = op.Sub(d, op.Mul(by, b)), op.Sub(e, op.Mul(by, c)), op.Sub(f, op.Mul(cy, c))
    second, third = op.Sub(second, op.Mul(by, first)), op.Sub(third, op.Mul(cy, first))
    ey = op.Div(e, d)
    third = op.Div(op.Sub(third, op.Mul(ey, second)), op.Sub(f, op.Mul(ey, e)))
    second = op.Div(op.Sub(second, op.Mul(e, third)), d)
    return [op.Div(op.Sub(op.Sub(first, op.Mul(b, second)), op.Mul(c, third)), a), second, third]


def averaged(op: Op, gain: Value, source: Value, edited: Value, radius: int) -> tuple[Value, Value]:
    """Return A and the b that keeps each window's mean colour, both averaged over windows."""
    offset = op.Sub(box(op, edited, radius), affine(op, gain, box(op, source, radius)))
    return box(op, gain, radius), box(op, offset, radius)


def fit(op: Op, source: Value, edited: Value, detail: Detail | None = None, radius: int = 2) -> Value:
    """Return the maps of `zoo.pictures.local_affine.fit_local_affine`, [1, 15, h, w]."""
    usual = unit(op) if detail is None else detail[0]
    gain, offset = averaged(op, slopes(op, source, edited, usual, NOISE, radius), source, edited, radius)
    remainder = op.Sub(op.Sub(edited, affine(op, gain, source)), offset)
    if detail is not None:
        slope = slopes(op, box(op, source, 1), box(op, edited, 1), detail[1], TEXTURE, SLOPE_RADIUS)
        gain, offset = averaged(op, op.Mul(sharpness(op, *detail), slope), source, edited, radius)
    return op.Concat(gain, offset, remainder, axis=1)


def sharpness(op: Op, fine: Value, coarse: Value) -> Value:
    """Return the share of detail that is finer than the small picture which the edit keeps, [1, 1, h, w]."""
    sums = []
    for gain in (fine, coarse):
        rows = op.Split(gain, axis=1, num_outputs=3, _outputs=3)
        sums.append(op.Concat(*[op.ReduceSum(row, [1], keepdims=1) for row in rows], axis=1))
    likeness = op.Add(op.ReduceSum(op.Mul(*sums), [1], keepdims=1), NO_RESPONSE)
    share = op.Div(likeness, op.Add(op.ReduceSum(op.Mul(sums[1], sums[1]), [1], keepdims=1), NO_RESPONSE))
    return op.Clip(op.Div(op.Sub(share, BLUR), COLOUR - BLUR), 0.0, 1.0)


def pattern(op: Op, source: Value, period: int) -> Value:
    """Return faint waves in both directions, [1, 1, h, w]."""
    rows, columns = (
        op.Cos(op.Mul(op.Cast(count(op, [0], length), to=FLOAT), 2 * torch.pi / period)) for length in size(op, source)
    )
    return op.Unsqueeze(op.Mul(op.Mul(op.Unsqueeze(rows, [1]), columns), PATTERN_HEIGHT), [0, 1])


def patterned(op: Op, source: Value) -> Value:
    """Return a picture with the patterns laid over its red, over its green and over its blue, [3, 3, h, w]."""
    both = op.Add(*[pattern(op, source, period) for period in PERIODS])
    return op.Add(op.Mul(weights(op, torch.eye(3).view(3, 3, 1, 1)), both), source)


def detail(op: Op, source: Value, edited: Value, variants: Value) -> Detail:
    """Return what the edit makes of faint detail, from the edits of the source and of `patterned(source)`."""
    fine, coarse = (pattern(op, source, period) for period in PERIODS)
    changes = op.Sub(variants, edited)

    def local(a: Value, b: Value) -> Value:
        return box(op, op.Mul(a, b), PATTERN_RADIUS)

    power_fine, power_coarse, shared = local(fine, fine), local(coarse, coarse), local(fine, coarse)
    seen_fine, seen_coarse = local(changes, fine), local(changes, coarse)
    determinant = op.Sub(op.Mul(power_fine, power_coarse), op.Mul(shared, shared))
    gains = []
    for own, own_power, other in (
        (seen_fine, power_coarse, seen_coarse),
        (seen_coarse, power_fine, seen_fine),
    ):
        gain = op.Div(op.Sub(op.Mul(own, own_power), op.Mul(other, shared)), determinant)  # [in, out, h, w]
        gain = op.Transpose(gain, perm=[1, 0, 2, 3])
        gains.append(op.Reshape(gain, op.Concat([1, 9], op.Shape(source, start=2, end=4), axis=0)))
    return gains[0], gains[1]


def applied(op: Op, maps: Value, photo: Value, finish: Callable[[Op, Value, Value], Value]) -> Value:
    """Return a photograph of any size after the maps, strip by strip; `finish` gets each strip's source and edit."""
    height, width = size(op, photo)
    wide = enlarged(op, maps, COLUMNS, width, op.Constant(value_ints=[0]), width)
    rows = op.Max(op.Div([STRIP_PIXELS], width), [1])
    strips = op.Div(op.Sub(op.Add(height, rows), [1]), rows)

    def strip(op: Op, number: Value, done: Value) -> Value:
        top = op.Mul(number, rows)
        length = smallest(op, rows, op.Sub(height, top))
        source = cut(op, photo, ROWS, top, op.Add(top, length))
        gain, offset, remainder = op.Split(enlarged(op, wide, ROWS, height, top, length), [9, 3, 3], axis=1, _outputs=3)
        edited = op.Add(op.Add(affine(op, gain, source), offset), remainder)
        return op.Concat(done, finish(op, source, edited), axis=ROWS)

    none = cut(op, photo, ROWS, 0, 0)
    return repeat(op, strips, strip, [none], [(FLOAT, 4)])
