"""The generator of solved layers (`zoo.gans.solved`) and its feature bank (`zoo.gans.feature_bank`), in ONNX."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from zoo.export.graphs import (
    COLUMNS,
    FLOAT,
    ROWS,
    Op,
    Value,
    continued,
    convolved,
    count,
    cut,
    double,
    extent,
    inner,
    integer,
    repeat,
    size,
)
from zoo.export.resampling import enlarged, reduced, torch_reduction
from zoo.export.sizes import LONGEST_SMALL, Seen, Sizes, scaled
from zoo.gans.branches import READS
from zoo.gans.feature_bank import (
    BAND_GAINS,
    CONTEXT_SIDE,
    DILATIONS,
    KERNEL,
    PARTS,
    PATCH,
    QUANTILES,
    RIM,
    SMALL,
    TIE,
    WIDE,
)
from zoo.gans.solved import STRIP_PIXELS

Maps = dict[str, Value]  # by the names in PARTS, [1, channels, h, w] each


class Context(NamedTuple):
    """What belongs to the whole photograph.

    Attributes:
        wide: two blurs of the reduced photograph as wide as the photograph, [2, 3, h, W] in [-1, 1].
        low, high: the ends of its tones, [1, 4, 1, 1].
        luminances: in ascending order.
        mean: [1, 3, 1, 1] in [-1, 1].
    """

    wide: Value
    low: Value
    high: Value
    luminances: Value
    mean: Value


def look(op: Op, network: Any, photo: Value, sizes: Sizes) -> Seen:
    """Return what a generator of solved layers sees of a photograph, at the size of those that it was solved on."""

    def edit(op: Op, images: Value) -> Value:
        return op.Clip(edited(op, network, images), 0.0, 1.0)

    side = op.Min(sizes.side, sizes.short)
    source = op.Clip(reduced(op, photo, *scaled(op, sizes, side)), 0.0, 1.0)
    first = edit(op, source)
    return Seen(source, first, first, edit)


def edited(op: Op, network: Any, images: Value) -> Value:
    """Return pictures [N, 3, h, w] edited, each with its own context, strip by strip."""

    def one(op: Op, number: Value) -> Value:
        photo = cut(op, images, 0, number, op.Add(number, [1]))
        context = context_of(op, photo)
        padded = continued(op, photo, RIM, RIM)
        height, width = size(op, photo)
        rows = op.Max(op.Div([STRIP_PIXELS], width), [1])

        def strip(op: Op, number: Value, done: Value) -> Value:
            top = op.Mul(number, rows)
            length = op.Min(rows, op.Sub(height, top))
            crop = cut(op, padded, ROWS, top, op.Add(op.Add(top, length), [2 * RIM]))
            maps = maps_of(op, crop, context, (top, length, height, width))
            return op.Concat(done, pixels(op, network, maps), axis=ROWS)

        strips = op.Div(op.Sub(op.Add(height, rows), [1]), rows)
        whole = repeat(op, strips, strip, [cut(op, photo, ROWS, 0, 0)], [(FLOAT, 4)])
        return op.Squeeze(whole, [0])

    return repeat(op, extent(op, images, 0), one, stacked=3)


def context_of(op: Op, photo: Value) -> Context:
    """Return what belongs to the whole photograph [1, 3, H, W]."""
    height, width = size(op, photo)
    factor = op.Div(op.CastLike([float(CONTEXT_SIDE)], double(op, height)), double(op, op.Min(height, width)))
    rows, columns = (
        op.Max(integer(op, op.Round(op.Mul(double(op, length), factor))), [1]) for length in (height, width)
    )
    small = op.Clip(reduced(op, photo, rows, columns, torch_reduction), 0.0, 1.0)
    first = blurred(op, scaled_colour(op, small), WIDE[0])
    wide = op.Concat(first, blurred(op, first, WIDE[1]), axis=0)
    wide = enlarged(op, wide, COLUMNS, width, op.Constant(value_ints=[0]), width, taps=2)
    values = op.Reshape(op.Concat(small, grey_of(op, small), axis=1), [4, -1])
    pixels = extent(op, values, 1)
    ordered = op.TopK(values, pixels, axis=1, largest=0, sorted=1, _outputs=2)[0]
    low, high = (quantile(op, ordered, pixels, share) for share in QUANTILES)
    mean = op.Sub(op.Mul(op.ReduceMean(small, [2, 3]), 2.0), 1.0)
    luminances = op.Reshape(cut(op, ordered, 0, 3, 4), [-1])
    return Context(wide, low, high, luminances, mean)


def quantile(op: Op, ordered: Value, pixels: Value, share: float) -> Value:
    """Return a quantile of each row of sorted values [4, pixels], interpolated, [1, 4, 1, 1]."""
    place = op.Mul(op.Cast(op.Sub(pixels, [1]), to=FLOAT), share)
    below = integer(op, op.Floor(place))
    above = op.Min(op.Add(below, [1]), op.Sub(pixels, [1]))
    low, high = (op.Gather(ordered, index, axis=1) for index in (below, above))
    return op.Reshape(op.Add(low, op.Mul(op.Sub(high, low), op.Sub(place, op.Floor(place)))), [1, 4, 1, 1])


def scaled_colour(op: Op, images: Value) -> Value:
    """Return colours in [-1, 1]."""
    return op.Sub(op.Mul(images, 2.0), 1.0)


def grey_of(op: Op, images: Value) -> Value:
    """Return luminance, [N, 1, h, w]; added up as torch does, since the ranks of equal ones hang on the last bit."""
    red, green, blue = op.Split(images, axis=1, num_outputs=3, _outputs=3)
    return op.Div(op.Add(op.Add(red, green), blue), 3.0)


def smoothed(op: Op, x: Value, channels: int, step: int = 1) -> Value:
    """Return a picture under KERNEL with `step` pixels between its taps, along both axes."""
    kernels = torch.tensor(KERNEL).expand(channels, 1, 3)
    for shape, rows, columns in (((3, 1), step, 0), ((1, 3), 0, step)):
        x = continued(op, x, rows, columns)
        x = convolved(op, x, kernels.reshape(channels, 1, *shape), group=channels, dilations=[step, step])
    return x


def blurred(op: Op, x: Value, doublings: int) -> Value:
    """Return a picture smoothed `doublings` times, with steps of 1, 2, 4, ... pixels."""
    for k in range(doublings):
        x = smoothed(op, x, 3, 2**k)
    return x


def maps_of(op: Op, padded: Value, context: Context, place: tuple[Value, ...]) -> Maps:
    """Return what a strip shows at each pixel.

    Args:
        padded: the strip with `RIM` pixels around it, [1, 3, h + 2 RIM, W + 2 RIM] in [0, 1].
        place: its first row, its rows, and height and width of its photograph.
    """
    top, rows, height, width = place
    image = inner(op, padded, RIM)
    levels = [scaled_colour(op, padded)]
    for step in DILATIONS:
        levels.append(smoothed(op, levels[-1], 3, step))
    wide = enlarged(op, context.wide, ROWS, height, top, rows, taps=2)
    here = [inner(op, level, RIM) for level in levels] + [cut(op, wide, 0, k, k + 1) for k in range(len(WIDE))]
    bands = [op.Sub(fine, coarse) for fine, coarse in zip(here, here[1:], strict=False)]
    greys = [grey_of(op, levels[k]) for k in (0, 1, 3)]
    shape = op.Concat([1, 1], rows, width, axis=0)
    y, x = (
        op.Sub(op.Div(op.Cast(op.Add(op.Mul(numbers, [2]), [1]), to=FLOAT), op.Cast(length, to=FLOAT)), 1.0)
        for numbers, length in ((count(op, top, rows), height), (count(op, [0], width), width))
    )
    position = op.Concat(op.Expand(op.Unsqueeze(y, [1]), shape), op.Expand(x, shape), axis=1)
    return {
        "colour": here[0],
        "bands": op.Concat(*bands, axis=1),
        "slopes": op.Concat(*[slopes(op, grey) for grey in greys], axis=1),
        "extremes": extremes(op, greys[0]),
        "spread": spread(op, levels[0], levels[3]),
        "tones": tones(op, image, context),
        "mean": op.Expand(context.mean, op.Shape(image)),
        "position": op.Gather(position, op.Constant(value_ints=[1, 0]), axis=1),
        "patch": patches(op, inner(op, greys[0], RIM - 2)),
    }


def slopes(op: Op, grey: Value) -> Value:
    """Return slopes along x and y and their length, [1, 3, h, w]."""
    kernels = torch.zeros(2, 1, 3, 3)
    kernels[0, 0, 1, 0], kernels[0, 0, 1, 2] = -1, 1
    kernels[1, 0, 0, 1], kernels[1, 0, 2, 1] = -1, 1
    both = convolved(op, inner(op, grey, RIM - 1), kernels)
    square = op.ReduceSum(op.Mul(both, both), [1], keepdims=1)
    return op.Concat(both, op.Sqrt(op.Add(square, SMALL)), axis=1)


def extremes(op: Op, grey: Value) -> Value:
    """Return how far the brightest and the darkest of the 3x3 and 5x5 neighbours are, [1, 4, h, w]."""
    found, here = [], inner(op, grey, RIM)
    for reach in (1, 2):
        around, side = inner(op, grey, RIM - reach), 2 * reach + 1
        found.append(op.Sub(op.MaxPool(around, kernel_shape=[side, side]), here))
        found.append(op.Add(op.MaxPool(op.Neg(around), kernel_shape=[side, side]), here))
    return op.Concat(*found, axis=1)


def spread(op: Op, colour: Value, level: Value) -> Value:
    """Return the standard deviation of luminance around its blur `level`, [1, 1, h, w]."""
    grey = grey_of(op, op.Sub(colour, level))
    squares = smoothed(op, smoothed(op, op.Mul(grey, grey), 1), 1, 2)
    return op.Sqrt(op.Add(inner(op, squares, RIM), SMALL))


def patches(op: Op, grey: Value) -> Value:
    """Return the 24 neighbours of each pixel less the pixel, [1, 24, h, w]."""
    kernels = torch.eye(25).view(25, 1, 5, 5)
    kernels[:, 0, 2, 2] -= 1
    return convolved(op, grey, torch.cat([kernels[:12], kernels[13:]]))


def tones(op: Op, image: Value, context: Context) -> Value:
    """Return the colour stretched between the photograph's own ends, its luminance's rank, and that stretched."""
    grey = grey_of(op, image)
    span = op.Max(op.Sub(context.high, context.low), 0.05)
    stretched = op.Clip(op.Div(op.Sub(op.Concat(image, grey, axis=1), context.low), span), -0.1, 1.1)
    stretched = scaled_colour(op, stretched)
    below = rank(op, context.luminances, op.Sub(grey, TIE))
    share = op.Div(op.Cast(below, to=FLOAT), op.Cast(extent(op, context.luminances, 0), to=FLOAT))
    first, last = (cut(op, stretched, 1, *ends) for ends in ((0, 3), (3, 4)))
    return op.Concat(first, scaled_colour(op, share), last, axis=1)


def rank(op: Op, ordered: Value, values: Value) -> Value:
    """Return how many of the sorted numbers are below each value, int64: a binary search, which ONNX lacks."""
    total = extent(op, ordered, 0)
    below = op.Mul(integer(op, values), [0])
    for step in (2**k for k in reversed(range(LONGEST_SMALL.bit_length()))):
        further = op.Add(below, [step])
        number = op.Gather(ordered, op.Sub(op.Min(further, total), [1]), axis=0)
        is_below = op.And(op.LessOrEqual(further, total), op.Less(number, values))
        below = op.Where(is_below, further, below)
    return below


def pixels(op: Op, network: Any, maps: Maps) -> Value:
    """Return a strip edited, [1, 3, h, w], from its maps."""
    bank = network.bank
    colour, tone, mean = maps["colour"], maps["tones"], maps["mean"]
    r, g, b = op.Split(colour, axis=1, num_outputs=3, _outputs=3)
    x, y = op.Split(maps["position"], axis=1, num_outputs=2, _outputs=2)
    pairs = ((r, r), (r, g), (r, b), (g, g), (g, b), (b, b))
    plain = [maps[name] for name in PARTS if name != "patch"]
    plain += [op.Mul(*pair) for pair in pairs]
    plain += [op.Mul(op.Mul(colour, colour), colour), op.Mul(tone, tone), op.Mul(op.Mul(tone, tone), tone)]
    plain += [op.Mul(mean, op.ReduceMean(colour, [1], keepdims=1)), op.Mul(x, x), op.Mul(x, y), op.Mul(y, y)]
    halves = torch.full((3,), 0.5)
    relus = [
        (bank.colour, [colour], None),
        (bank.patch, [maps["patch"], colour], torch.cat([torch.ones(PATCH), halves])),
        (bank.scales, [colour, maps["bands"]], torch.cat([torch.ones(3), torch.tensor(BAND_GAINS)])),
        (bank.tones, [cut(op, tone, 1, 3, 5), colour, mean], torch.cat([torch.ones(2), halves, halves])),
    ]
    parts = [op.Concat(*plain, axis=1)]
    parts += [op.Relu(layer_of(op, layer, joined(op, inputs), gains)) for layer, inputs, gains in relus]
    parts += [branch_of(op, branch, maps) for branch in network.branches]
    own = [layer.out_features for layer, _, _ in relus]
    last = bank.num_features - 1  # the feature that is 1
    weight = network.output.weight / 2
    widths = [last - sum(own), *own, 1, *[network.config.hidden] * len(network.branches)]
    shares = list(weight.split(widths, 1))
    bias = shares.pop(1 + len(own))[:, 0] + 0.5
    total = None
    for part, share in zip(parts, shares, strict=True):
        edited = convolved(op, part, share[..., None, None], bias if total is None else None)
        total = edited if total is None else op.Add(total, edited)
    return total


def joined(op: Op, inputs: list[Value]) -> Value:
    """Return maps side by side."""
    return inputs[0] if len(inputs) == 1 else op.Concat(*inputs, axis=1)


def layer_of(op: Op, layer: Any, x: Value, gains: Tensor | None = None) -> Value:
    """Return a linear layer of every pixel, whose inputs are multiplied by gains before."""
    weight = layer.weight if gains is None else layer.weight * gains
    return convolved(op, x, weight[..., None, None], layer.bias)


def branch_of(op: Op, branch: Any, maps: Maps) -> Value:
    """Return a branch's ReLUs, [1, hidden, h, w]."""
    inputs = [maps[name] for name in PARTS if name in READS[branch.name]]
    gains = torch.tensor(branch.gains)
    return op.Relu(layer_of(op, branch.second, op.Relu(layer_of(op, branch.first, joined(op, inputs), gains))))
