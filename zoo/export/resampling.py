"""Pictures at another size, in ONNX, as Pillow and torch compute them.

Reductions are products with matrices that are computed from the sizes: bicubic kernels that are as wide as a pixel of
the result. Enlargements are sums over the two or four nearest pixels.
"""

from __future__ import annotations

from collections.abc import Callable

from zoo.export.graphs import FLOAT, ROWS, Op, Value, count, double, integer, size

REDUCING_GAP = 3.0  # of `zoo.pictures.apply.resized`: how much is left of a reduction when boxes are averaged first


def cubic(op: Op, distance: Value) -> tuple[Value, Value]:
    """Return both pieces of the Catmull-Rom kernel: for distances below 1, and for those from 1 to 2."""
    square = op.Mul(distance, distance)
    cube = op.Mul(square, distance)
    near = op.Add(op.Sub(op.Mul(cube, 1.5), op.Mul(square, 2.5)), 1.0)
    far = op.Add(op.Sub(op.Add(op.Mul(cube, -0.5), op.Mul(square, 2.5)), op.Mul(distance, 4.0)), 2.0)
    return near, far


def kernel(op: Op, distance: Value) -> Value:
    """Return the Catmull-Rom kernel, which is 0 from a distance of 2 on."""
    near, far = cubic(op, distance)
    zero = op.CastLike(0.0, distance)
    return op.Where(op.Less(distance, 1.0), near, op.Where(op.Less(distance, 2.0), far, zero))


def reduction(op: Op, large: Value, small: Value) -> Value:
    """Return the matrix [small, large] of Pillow's bicubic resize with `REDUCING_GAP`, from lengths [1]."""
    ratio = op.Div(double(op, large), double(op, small))
    factor = op.Max(integer(op, op.Div(ratio, REDUCING_GAP)), [1])
    pixels = count(op, [0], large)
    box = op.Div(pixels, factor)  # the averaged box that holds a pixel
    inside = op.Min(factor, op.Sub(large, op.Mul(box, factor)))  # the last one may be narrower
    scale = op.Div(ratio, double(op, factor))
    centre = op.Mul(op.Add(double(op, count(op, [0], small)), 0.5), scale)
    distance = op.Sub(op.Add(double(op, box), 0.5), op.Unsqueeze(centre, [1]))
    raw = kernel(op, op.Abs(op.Div(distance, op.Max(scale, op.CastLike(1.0, scale)))))
    raw = op.Div(raw, double(op, inside))
    return op.Cast(op.Div(raw, op.ReduceSum(raw, [1])), to=FLOAT)


def torch_reduction(op: Op, large: Value, small: Value) -> Value:
    """Return the matrix [small, large] of torch's antialiased bicubic interpolation, which computes in 32 bits."""
    scale = op.Div(op.Cast(large, to=FLOAT), op.Cast(small, to=FLOAT))
    centre = op.Mul(op.Add(op.Cast(count(op, [0], small), to=FLOAT), 0.5), scale)
    pixels = op.Cast(count(op, [0], large), to=FLOAT)
    distance = op.Add(op.Sub(pixels, op.Unsqueeze(centre, [1])), 0.5)
    raw = kernel(op, op.Abs(op.Div(distance, op.Max(scale, 1.0))))
    return op.Div(raw, op.ReduceSum(raw, [1]))


def reduced(op: Op, x: Value, height: Value, width: Value, matrix: Callable[..., Value] = reduction) -> Value:
    """Return a picture at another size, not clamped."""
    rows, columns = size(op, x)
    lower = op.MatMul(matrix(op, rows, height), x)
    return op.MatMul(lower, op.Transpose(matrix(op, columns, width), perm=[1, 0]))


def enlarged(op: Op, x: Value, axis: int, large: Value, start: Value, length: Value, taps: int = 4) -> Value:
    """Return maps at `length` samples from `start` on of an axis that would have `large` samples, all [1].

    Args:
        taps: 4 for Catmull-Rom, 2 for linear interpolation; samples beyond the border are those of the border.
    """
    small = size(op, x)[axis - ROWS]
    place = op.Div(op.Mul(op.Add(double(op, count(op, start, length)), 0.5), double(op, small)), double(op, large))
    place = op.Sub(place, 0.5)
    below = op.Floor(place)
    total = None
    for offset in range(1 - taps // 2, 1 + taps // 2):
        tap = op.Add(below, float(offset))
        distance = op.Abs(op.Sub(place, tap))
        if taps == 2:
            share = op.Sub(op.CastLike(1.0, distance), distance)
        else:
            share = cubic(op, distance)[0 if offset in (0, 1) else 1]
        index = op.Max(op.Min(integer(op, tap), op.Sub(small, [1])), [0])
        share = op.Cast(share, to=FLOAT)
        part = op.Mul(op.Gather(x, index, axis=axis), op.Unsqueeze(share, [1]) if axis == ROWS else share)
        total = part if total is None else op.Add(total, part)
    return total


def bilinear(op: Op, x: Value, height: Value, width: Value) -> Value:
    """Return maps enlarged by bilinear interpolation."""
    shape = op.Reshape(op.Concat(height, width, axis=0), [2])  # onnxruntime has to know that there are two
    return op.Resize(x, None, None, shape, axes=[2, 3], mode="linear", coordinate_transformation_mode="half_pixel")
