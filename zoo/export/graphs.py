"""Pieces of ONNX graphs that every part of an export needs.

The graphs are written with `onnxscript.GraphBuilder`: `op.Add(x, 1.0)` adds a node and returns its output. All sizes in
them are computed while the file runs, as int64 tensors with one element, so that one file takes every picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import onnx_ir as ir
from torch import Tensor

Op = Any  # onnxscript's OpBuilder, whose methods are ONNX's operators
Value = Any  # a value of a graph

FLOAT, DOUBLE, INT64, BOOL = ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.INT64, ir.DataType.BOOL
ROWS, COLUMNS = 2, 3  # axes of pictures [N, C, H, W]
LAST = 2**62  # end of a slice that goes on to the end


def weights(op: Op, tensor: Tensor) -> Value:
    """Return a constant of the file; the same tensor may be asked for many times, each time is stored."""
    root = op.builder.root.graph
    name = f"weights_{len(root.initializers)}"
    return op.builder.initializer(ir.tensor(tensor.detach().float().contiguous().numpy(), name=name), name=name)


def extent(op: Op, x: Value, axis: int) -> Value:
    """Return how long a picture is along an axis, [1]."""
    return op.Shape(x, start=axis, end=axis + 1)


def size(op: Op, x: Value) -> tuple[Value, Value]:
    """Return height and width of a picture [N, C, H, W], [1] each."""
    return extent(op, x, ROWS), extent(op, x, COLUMNS)


def double(op: Op, x: Value) -> Value:
    """Return a value in 64 bits."""
    return op.Cast(x, to=DOUBLE)


def integer(op: Op, x: Value) -> Value:
    """Return a value as int64; the part behind the point is cut off."""
    return op.Cast(x, to=INT64)


def count(op: Op, start: Value, length: Value) -> Value:
    """Return `start`, `start` + 1, ..., [length], from int64 tensors with one element."""
    return op.Range(op.Squeeze(start), op.Squeeze(op.Add(start, length)), 1)


def cut(op: Op, x: Value, axis: int, start: Value | int, stop: Value | int) -> Value:
    """Return a part of a tensor along one axis."""
    first, last = ([edge] if isinstance(edge, int) else edge for edge in (start, stop))
    return op.Slice(x, first, last, [axis])


def inner(op: Op, x: Value, rim: int) -> Value:
    """Return a picture without `rim` pixels on each side."""
    return op.Slice(x, [rim, rim], [-rim, -rim], [ROWS, COLUMNS]) if rim else x


def continued(op: Op, x: Value, rows: int, columns: int) -> Value:
    """Return a picture with its border pixels continued on each side."""
    return op.Pad(x, [0, 0, rows, columns, 0, 0, rows, columns], mode="edge")


def convolved(op: Op, x: Value, kernels: Tensor, bias: Tensor | None = None, **attributes: Any) -> Value:
    """Return a picture under convolution kernels [out, in, h, w]."""
    constants = [weights(op, kernels)] + ([] if bias is None else [weights(op, bias)])
    return op.Conv(x, *constants, kernel_shape=list(kernels.shape[2:]), **attributes)


def smallest(op: Op, *values: Value) -> Value:
    """Return the least of int64 values."""
    return op.Min(*values)


def value(name: str, kind: ir.DataType, rank: int) -> ir.Value:
    """Return the declaration of a value whose sizes are not known."""
    return ir.Value(name=name, type=ir.TensorType(kind), shape=ir.Shape([None] * rank))


def repeat(
    op: Op,
    times: Value,
    body: Callable[..., Value],
    start: Sequence[Value] = (),
    kinds: Sequence[tuple[ir.DataType, int]] = (),
    stacked: int | None = None,
) -> Any:
    """Run a part of a graph several times.

    Args:
        times: how often, [1].
        body: from its builder, the number of the round [1] and what is carried, to what is carried on; with `stacked`
            also a result of every round.
        start: what is carried into the first round.
        kinds: type and number of axes of what is carried.
        stacked: number of axes of a result that every round gives; they are stacked along a new first axis.

    Returns:
        What the last round carries, and the stacked results.
    """
    builder = op.builder
    number = len(builder.root.graph.initializers)

    def traced(inner_op: Op, round_number: Value, go_on: Value, *carried: Value) -> list[Value]:
        results = body(inner_op, inner_op.Reshape(round_number, [1]), *carried)
        return [inner_op.Identity(go_on), *(results if isinstance(results, list) else [results])]

    carried = [value(f"carried_{number}_{k}", *kind) for k, kind in enumerate(kinds)]
    inputs = [value(f"round_{number}", INT64, 0), value(f"condition_{number}", BOOL, 0), *carried]
    outputs = [value(f"go_on_{number}", BOOL, 0)]
    outputs += [value(f"carried_on_{number}_{k}", *kind) for k, kind in enumerate(kinds)]
    outputs += [] if stacked is None else [value(f"result_{number}", FLOAT, stacked)]
    graph = builder.subgraph(traced, inputs, outputs, name=f"repeat_{number}")
    return op.Loop(op.Squeeze(times), op.Constant(value=ir.tensor(True)), *start, body=graph, _outputs=len(outputs) - 1)


def either(
    op: Op, condition: Value, this: Callable[[Op], list[Value]], that: Callable[[Op], list[Value]], ranks: list[int]
) -> Any:
    """Run one of two parts of a graph, [1] decides; both give as many results of `ranks` axes."""
    builder = op.builder
    number = len(builder.root.graph.initializers)
    graphs = []
    for name, part in (("this", this), ("that", that)):
        outputs = [value(f"{name}_{number}_{k}", FLOAT, rank) for k, rank in enumerate(ranks)]
        graphs.append(builder.subgraph(part, [], outputs, name=f"{name}_{number}"))
    return op.If(op.Squeeze(condition), then_branch=graphs[0], else_branch=graphs[1], _outputs=len(ranks))
