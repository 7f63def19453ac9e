"""The pix2pix generator (`zoo.gans.pix2pix`) in ONNX."""

from __future__ import annotations

from typing import Any

from torch import nn

from zoo.export.graphs import Op, Value, convolved, weights
from zoo.export.resampling import reduced
from zoo.export.sizes import Seen, Sizes, multiples


def look(op: Op, network: Any, photo: Value, sizes: Sizes) -> Seen:
    """Return what a pix2pix generator sees of a photograph, whose sides become multiples of the training size."""

    def edit(op: Op, images: Value) -> Value:
        return op.Clip(generated(op, network, images), 0.0, 1.0)

    source = op.Clip(reduced(op, photo, *multiples(op, sizes)), 0.0, 1.0)
    edited = edit(op, source)
    return Seen(source, edited, edited, edit)


def generated(op: Op, network: Any, images: Value) -> Value:
    """Return pictures after the U-Net, in [0, 1]."""
    features, skips = op.Sub(op.Mul(images, 2.0), 1.0), []
    for layers in network.downs:
        for layer in layers:
            features = applied_layer(op, layer, features)
        skips.append(features)
    features = skips.pop()
    for index, layers in enumerate(network.ups):
        features = op.Concat(features, skips.pop(), axis=1) if index else features
        for layer in layers:
            features = applied_layer(op, layer, features)
    return op.Add(op.Mul(op.Tanh(features), 0.5), 0.5)


def applied_layer(op: Op, layer: nn.Module, x: Value) -> Value:
    """Return what one of the generator's layers makes of features; each picture is normed by itself."""
    if isinstance(layer, nn.ConvTranspose2d):
        constants = [weights(op, layer.weight)] + ([] if layer.bias is None else [weights(op, layer.bias)])
        return op.ConvTranspose(x, *constants, strides=[2, 2], pads=[1, 1, 1, 1], kernel_shape=[4, 4])
    if isinstance(layer, nn.Conv2d):
        return convolved(op, x, layer.weight, layer.bias, strides=[2, 2], pads=[1, 1, 1, 1])
    if isinstance(layer, nn.LeakyReLU):
        return op.LeakyRelu(x, alpha=layer.negative_slope)
    if isinstance(layer, nn.ReLU):
        return op.Relu(x)
    if isinstance(layer, nn.BatchNorm2d | nn.GroupNorm):
        return op.InstanceNormalization(x, weights(op, layer.weight), weights(op, layer.bias), epsilon=layer.eps)
    return x  # identity, and dropout, which is for training
