"""The E2GAN generator (`zoo.gans.e2gan`) and its passes over a photograph, in ONNX.

The passes are those of `zoo.pictures.apply.edit_small`: the whole photograph at the training size gives the global
context and the first edit, and each further pass at twice the size is bent to agree with the one before.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from zoo.export.graphs import (
    FLOAT,
    INT64,
    Op,
    Value,
    continued,
    convolved,
    count,
    either,
    inner,
    integer,
    repeat,
    size,
    weights,
)
from zoo.export.local_affine import applied, fit
from zoo.export.resampling import bilinear, reduced, torch_reduction
from zoo.export.sizes import Seen, Sizes, scaled
from zoo.pictures.apply import DETAIL_SIDE, MARGIN


def look(op: Op, network: Any, photo: Value, sizes: Sizes) -> Seen:
    """Return what an E2GAN generator sees of a photograph, up to a short side of `DETAIL_SIDE`."""
    first = bounded(op, reduced(op, photo, *scaled(op, sizes, sizes.side)))
    context = trunk(op, network, encoded(op, network, first)[1])

    def edit(op: Op, images: Value, margin: int = MARGIN) -> Value:
        return bounded(op, rendered(op, network, images, context, margin))

    def finer(op: Op, _: Value, __: Value, coarser: Value, ___: Value, side: Value) -> list[Value]:
        side = op.Min(op.Mul(side, [2]), finest)
        source = bounded(op, reduced(op, photo, *scaled(op, sizes, side)))
        plain = edit(op, source)
        return [source, agreed(op, plain, coarser), plain, side]

    edited = either(op, sizes.is_larger, lambda op: [edit(op, first)], lambda op: [edit(op, first, 0)], [4])
    long = op.Div(op.Mul(sizes.short, [4 * DETAIL_SIDE]), sizes.long)
    finest = op.Min(op.Min(sizes.short, [DETAIL_SIDE]), long)
    doubled = op.Mul(sizes.side, op.Constant(value_ints=[2**k for k in range(DETAIL_SIDE.bit_length())]))
    passes = op.ReduceSum(integer(op, op.Less(doubled, finest)))
    picture, number = (FLOAT, 4), (INT64, 1)
    carried = repeat(op, passes, finer, [first, edited, edited, sizes.side], [picture, picture, picture, number])
    source, edited, plain, _ = carried
    return Seen(source, edited, plain, edit)


def bounded(op: Op, images: Value) -> Value:
    """Return pictures in [0, 1]."""
    return op.Clip(images, 0.0, 1.0)


def agreed(op: Op, finer: Value, coarser: Value) -> Value:
    """Return `finer` bent so that, reduced, it equals `coarser` but keeps its detail, as `agree` does."""
    alike = reduced(op, finer, *size(op, coarser), torch_reduction)
    return applied(op, fit(op, alike, coarser), finer, lambda op, source, edited: bounded(op, edited))


def convolution(op: Op, layer: Any, x: Value) -> Value:
    """Return a layer's convolution of a picture."""
    pads = [layer.padding[0], layer.padding[1]] * 2
    return convolved(op, x, layer.weight, layer.bias, strides=list(layer.stride), pads=pads)


def encoded(op: Op, network: Any, images: Value) -> tuple[Value, Value]:
    """Return the features of pictures at full and at half resolution."""
    full = convolution(op, network.stem, scaled_colour(op, images))
    return full, convolution(op, network.down1, op.Relu(full))


def scaled_colour(op: Op, images: Value) -> Value:
    """Return colours in [-1, 1]."""
    return op.Sub(op.Mul(images, 2.0), 1.0)


def trunk(op: Op, network: Any, half: Value) -> Value:
    """Return the global context."""
    quarter = convolution(op, network.down2, op.Relu(half))
    quarter = residual(op, network.res2, residual(op, network.res1, quarter))
    eighth = transformed(op, network.transformer, convolution(op, network.ds, op.Relu(quarter)))
    larger = bilinear(op, convolution(op, network.us, op.Relu(eighth)), *size(op, quarter))
    h = residual(op, network.res3, op.Add(quarter, larger))
    return convolution(op, network.up1, op.Relu(h))


def rendered(op: Op, network: Any, images: Value, context: Value, margin: int) -> Value:
    """Return pictures edited with a given context; see `zoo.gans.e2gan.E2ganGenerator.render`."""
    height, width = size(op, images)
    half_height, half_width = (op.Div(op.Add(length, [1]), [2]) for length in (height, width))
    images = continued(op, images, margin, margin)
    full, half = encoded(op, network, images)
    context = continued(op, bilinear(op, context, half_height, half_width), margin // 2, margin // 2)
    edited = decoded(op, network, images, full, half, context)
    return inner(op, edited, margin)


def decoded(op: Op, network: Any, images: Value, full: Value, half: Value, context: Value) -> Value:
    """Return the edited pictures."""
    colour = scaled_colour(op, images)
    half = op.Relu(op.Add(half, context))
    full = op.Relu(op.Add(full, bilinear(op, convolution(op, network.up2, half), *size(op, full))))
    full = op.Relu(convolution(op, network.refine, op.Concat(full, colour, axis=1)))
    x = convolution(op, network.output, op.Concat(full, colour, axis=1))
    x = op.Add(op.Mul(x, 0.5), 0.5)
    clamped = bounded(op, x)
    return op.Add(clamped, op.Mul(op.Sub(x, clamped), 0.1))


def residual(op: Op, block: Any, x: Value) -> Value:
    """Return a residual block's result."""
    h = convolution(op, block.conv1, op.Relu(group_norm(op, block.norm1, x)))
    return op.Add(x, convolution(op, block.conv2, op.Relu(group_norm(op, block.norm2, h))))


def group_norm(op: Op, norm: nn.GroupNorm, x: Value) -> Value:
    """Return a group norm, as an instance norm of groups: opset 18 has none of its own that is usable."""
    ones, zeros = torch.ones(norm.num_groups), torch.zeros(norm.num_groups)
    grouped = op.Reshape(x, [0, norm.num_groups, -1])
    normed = op.InstanceNormalization(grouped, weights(op, ones), weights(op, zeros), epsilon=norm.eps)
    normed = op.Reshape(normed, op.Shape(x))
    scale, shift = (weights(op, values.view(-1, 1, 1)) for values in (norm.weight, norm.bias))
    return op.Add(op.Mul(normed, scale), shift)


def transformed(op: Op, block: Any, x: Value) -> Value:
    """Return the transformer block's result, [1, D, h, w]."""
    height, width = size(op, x)
    positions = op.MatMul(coordinates(op, height, width), weights(op, block.position.T))
    h = op.Add(op.Transpose(op.Reshape(x, [0, 0, -1]), perm=[0, 2, 1]), positions)
    normed = layer_norm(op, block.norm1, h)
    h = op.Add(h, attention(op, block.self_attention, normed, normed))
    tokens = op.Unsqueeze(weights(op, block.tokens), [0])
    h = op.Add(h, attention(op, block.cross_attention, layer_norm(op, block.norm2, h), tokens))
    expanded = op.Relu(linear(op, block.expand, layer_norm(op, block.norm3, h)))
    h = op.Add(h, linear(op, block.contract, expanded))
    return op.Reshape(op.Transpose(h, perm=[0, 2, 1]), op.Shape(x))


def layer_norm(op: Op, norm: nn.LayerNorm, x: Value) -> Value:
    """Return a layer norm over the last axis."""
    return op.LayerNormalization(x, weights(op, norm.weight), weights(op, norm.bias), axis=-1, epsilon=norm.eps)


def linear(op: Op, layer: Any, x: Value) -> Value:
    """Return a linear layer over the last axis."""
    return op.Add(op.MatMul(x, weights(op, layer.weight.T)), weights(op, layer.bias))


def attention(op: Op, layer: Any, x: Value, memory: Value) -> Value:
    """Return multi-head attention of `x` [1, T, D] over `memory` [1, S, D]."""

    def split(values: Value, perm: list[int]) -> Value:
        return op.Transpose(op.Reshape(values, [0, 0, layer.heads, -1]), perm=perm)

    query = split(linear(op, layer.query, x), [0, 2, 1, 3])
    key = split(linear(op, layer.key, memory), [0, 2, 3, 1])
    value = split(linear(op, layer.value, memory), [0, 2, 1, 3])
    scores = op.Softmax(op.Mul(op.MatMul(query, key), layer_scale(layer)), axis=-1)
    mixed = op.Transpose(op.MatMul(scores, value), perm=[0, 2, 1, 3])
    return linear(op, layer.project, op.Reshape(mixed, [0, 0, -1]))


def layer_scale(layer: Any) -> float:
    """Return what an attention's scores are multiplied by."""
    return (layer.query.weight.shape[0] // layer.heads) ** -0.5


def coordinates(op: Op, height: Value, width: Value) -> Value:
    """Return features (x, y, x^2, y^2, x y) of the positions in a grid that spans [-1, 1]^2, [height * width, 5]."""
    y, x = (
        op.Sub(op.Mul(op.Div(op.Add(op.Cast(count(op, [0], n), to=FLOAT), 0.5), op.Cast(n, to=FLOAT)), 2.0), 1.0)
        for n in (height, width)
    )
    grid = op.Concat(height, width, axis=0)
    y, x = op.Expand(op.Unsqueeze(y, [1]), grid), op.Expand(x, grid)
    features = (x, y, op.Mul(x, x), op.Mul(y, y), op.Mul(x, y))
    return op.Concat(*[op.Reshape(values, [-1, 1]) for values in features], axis=1)
