"""An edit as an ONNX file, for programs without weightzoo.

    told = write_onnx(network, "edit.onnx", photographs)      # checked on these, [PIL.Image]

The file takes a photograph of any size as `photo`, float32 [1, 3, height, width] with RGB in [0, 1], and gives `edited`
of the same shape and range. It does all that `zoo.pictures.apply.edit_photo` does, strips included. Its second
input, `strength`, may be left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
import torch
from PIL import Image
from torch import nn

from zoo.errors import WeightzooError
from zoo.export.check import Compared, check
from zoo.export.graphs import FLOAT, Op, Value, either, size
from zoo.export.local_affine import applied, detail, fit, patterned
from zoo.export.networks import NETWORKS
from zoo.export.sizes import Seen, Sizes, sizes_of
from zoo.files import PathLike, write_bytes
from zoo.gans import gan_name
from zoo.pictures.apply import check_scale
from zoo.pictures.mixing import check_strength

OPSET = 18
IR_VERSION = 9  # of the file format; onnxruntime reads it from version 1.16 on


@dataclass(frozen=True)
class OnnxFile:
    """What is told of an ONNX file.

    Attributes:
        opset: the version of ONNX's operators.
        bytes: length of the file.
        compared: how its edits differ from weightzoo's.
    """

    opset: int
    bytes: int
    compared: list[Compared]


def write_onnx(
    network: nn.Module,
    out: PathLike,
    photos: Sequence[Image.Image],
    scale: int | None = None,
    strength: float = 1.0,
) -> OnnxFile:
    """Write a network's edit as an ONNX file, after it was checked on photographs.

    Args:
        photos: two, at least; see `zoo.export.check.check`.
        scale, strength: see `zoo.pictures.apply.edit_photo`; the file's input `strength` replaces the latter.

    Raises:
        WeightzooError: out of range, a network that has no form in ONNX, another edit, or it cannot be written.
    """
    data, told = checked_model(network, photos, scale, strength)
    write_bytes(out, data)
    return told


def checked_model(
    network: nn.Module, photos: Sequence[Image.Image], scale: int | None = None, strength: float = 1.0
) -> tuple[bytes, OnnxFile]:
    """Return what `write_onnx` writes, and what is told of it."""
    check_strength(strength)
    if scale is not None:
        check_scale(network, scale)
    if (name := gan_name(network.config)) not in NETWORKS:
        raise WeightzooError(f"{name} has no form in ONNX; this version knows {', '.join(NETWORKS)}")
    data = onnx_model(network, scale, strength).SerializeToString()
    return data, OnnxFile(OPSET, len(data), check(data, network, photos, scale, strength))


def edited_photo(op: Op, network: nn.Module, photo: Value, strength: Value, scale: int | None) -> Value:
    """Return a photograph [1, 3, H, W] edited at its own size, in [0, 1]."""
    sizes = sizes_of(op, photo, getattr(network.config, "image_size", 64), scale)
    seen = NETWORKS[gan_name(network.config)](op, network, photo, sizes)

    def finish(op: Op, source: Value, edited: Value) -> Value:
        change = op.Sub(op.Clip(edited, 0.0, 1.0), source)
        return op.Clip(op.Add(source, op.Mul(change, strength)), 0.0, 1.0)

    def carried(op: Op) -> list[Value]:
        return [applied(op, maps_of(op, seen, sizes), photo, finish)]

    if not getattr(network, "whole_photograph", False):
        return carried(op)[0]
    is_whole = [op.Equal(*pair) for pair in zip(size(op, seen.source), size(op, photo), strict=True)]
    return either(op, op.And(*is_whole), lambda op: [finish(op, seen.source, seen.edited)], carried, [4])


def maps_of(op: Op, seen: Seen, sizes: Sizes) -> Value:
    """Return the local affine maps of an edit, with its detail where the photograph has more than the network saw."""

    def with_detail(op: Op) -> list[Value]:
        gains = detail(op, seen.source, seen.plain, seen.again(op, patterned(op, seen.source)))
        return [fit(op, seen.source, seen.edited, gains)]

    return either(op, sizes.is_larger, with_detail, lambda op: [fit(op, seen.source, seen.edited)], [4])


@torch.no_grad()
def onnx_model(network: nn.Module, scale: int | None = None, strength: float = 1.0) -> Any:
    """Return a network's edit as an `onnx.ModelProto`; see `zoo.pictures.apply.edit_photo` for the arguments."""
    from onnx_ir.passes.common import RemoveUnusedNodesPass
    from onnxscript import GraphBuilder

    graph = ir.Graph([], [], nodes=[], name="edit", opset_imports={"": OPSET})
    builder = GraphBuilder(graph)
    photo = builder.input("photo", FLOAT, [1, 3, "height", "width"])
    amount = builder.input("strength", FLOAT, [1], const_value=ir.tensor([strength], FLOAT, name="strength"))
    edited = edited_photo(builder.op, network, photo, amount, scale)
    edited = builder.op.Identity(edited)
    builder.add_output(edited, "edited")
    edited.type, edited.shape = ir.TensorType(FLOAT), ir.Shape([1, 3, "height", "width"])
    model = ir.Model(graph, ir_version=IR_VERSION, producer_name="weightzoo")
    RemoveUnusedNodesPass()(model)
    rename(graph)
    return ir.to_proto(model)


def rename(graph: Any) -> None:
    """Give every value of a graph and of the graphs in it a name of its own, which ONNX asks for."""
    from onnx_ir.traversal import RecursiveGraphIterator

    values: list[Any] = []
    for node in RecursiveGraphIterator(graph):
        node.metadata_props.clear()
        values.extend(node.outputs)
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                values.extend(attribute.value.inputs)
    for number, value in enumerate(values):
        if value not in graph.outputs:
            value.name = f"v{number}"
    for number, node in enumerate(RecursiveGraphIterator(graph)):
        node.name = f"n{number}"
