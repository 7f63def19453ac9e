"""The sizes at which a network looks at a photograph, in ONNX, as `zoo.pictures.apply` has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from zoo.export.graphs import Op, Value, double, integer, size
from zoo.gans.feature_bank import CONTEXT_SIDE
from zoo.pictures.apply import LONGEST

LONGEST_SMALL = LONGEST * CONTEXT_SIDE**2  # pixels that the reduced photograph of a feature bank has at most


@dataclass(frozen=True)
class Sizes:
    """Sizes of a photograph, int64 tensors with one element.

    Attributes:
        height, width: of the photograph, pixels.
        short, long: the shorter and the longer of these.
        side: short side at which the network looks first.
        is_larger: whether the photograph has detail beyond that.
    """

    height: Value
    width: Value
    short: Value
    long: Value
    side: Value
    is_larger: Value


def sizes_of(op: Op, photo: Value, training_size: int, scale: int | None) -> Sizes:
    """Return the sizes of a photograph; `scale`, at most its short side, stands for the training size."""
    height, width = size(op, photo)
    short, long = op.Min(height, width), op.Max(height, width)
    side = op.Constant(value_ints=[training_size]) if scale is None else op.Min(short, [scale])
    return Sizes(height, width, short, long, side, op.Greater(short, side))


def scaled(op: Op, sizes: Sizes, side: Value) -> tuple[Value, Value]:
    """Return height and width of a copy with short side `side`."""
    longer = op.Div(double(op, op.Mul(sizes.long, side)), double(op, sizes.short))
    longer = op.Max(side, integer(op, op.Round(longer)))
    return _upright(op, sizes, side, op.Min(longer, op.Mul(side, [LONGEST])))


def multiples(op: Op, sizes: Sizes) -> tuple[Value, Value]:
    """Return height and width in multiples of the side, nearest to the proportions of the photograph."""
    times = integer(op, op.Round(op.Div(double(op, sizes.long), double(op, sizes.short))))
    return _upright(op, sizes, sizes.side, op.Mul(op.Min(op.Max(times, [1]), [LONGEST]), sizes.side))


def _upright(op: Op, sizes: Sizes, side: Value, longer: Value) -> tuple[Value, Value]:
    is_wide = op.GreaterOrEqual(sizes.width, sizes.height)
    return op.Where(is_wide, side, longer), op.Where(is_wide, longer, side)


@dataclass(frozen=True)
class Seen:
    """What a network has seen of a photograph.

    Attributes:
        source: the finest picture that it has looked at, [1, 3, h, w].
        edited: its edit of that, in [0, 1].
        plain: the same from one look alone, in [0, 1]; what `again` gives for `source`.
        again: edits variants [N, 3, h, w] of `source`.
    """

    source: Value
    edited: Value
    plain: Value
    again: Callable[[Op, Value], Value]
