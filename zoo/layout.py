"""WeightLayout: the named tensors of an adapter <-> equal-sized blocks, as exact inverses.

A block never mixes layers: the tensors of a layer are concatenated in a fixed order, padded once with zeros at the
layer's end and cut into blocks of `block_size` values. Block 256 is the paper's choice (table 4: 128 and 512 are
worse). A layout is saved as JSON; its `id` is a hash of that JSON and stands in every shard.

    layout = WeightLayout.for_generator(generator)
    blocks = layout.to_blocks(adapters)        # {name: [K, ...]} -> [K, num_blocks, block_size]
    adapters = layout.from_blocks(blocks)
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.adapters.lora import adapter_names
from zoo.errors import WeightzooError
from zoo.files import read_json, write_json

# of a layout that is read: what a stranger's may ask of memory, checked before anything of that size is allocated
MAX_RECORD_BYTES = 1 << 30  # of one adapter as float16
MAX_JSON_BYTES = 16 << 20
MAX_BLOCK_SIZE = 1 << 20
MAX_BLOCKS = 1 << 22  # each has an entry in `block_layers`


def group_by_layer(name: str, names: Collection[str]) -> str:
    """Group by layer: `down1.lora_B` joins `down1.bias`, norms and bare biases join the block around them."""
    layer = name.rpartition(".")[0]
    own_factor = f"{layer}.lora_B" in names
    return layer if own_factor or "." not in layer else layer.rpartition(".")[0]


def group_by_stage(name: str, names: Collection[str]) -> str:
    """Group by top-level module: a convolution, a residual block, the transformer."""
    return name.partition(".")[0]


GROUPINGS: dict[str, Callable[[str, Collection[str]], str]] = {"layer": group_by_layer, "stage": group_by_stage}


@dataclass(frozen=True)
class Slot:
    """One tensor of an adapter: its name, shape and the layer (group) that it belongs to."""

    name: str
    shape: tuple[int, ...]
    layer: str

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class WeightLayout:
    """Where each value of an adapter stands among its blocks. Slots of one layer are neighbours."""

    slots: tuple[Slot, ...]
    block_size: int = 256
    grouping: str = "layer"

    @classmethod
    def for_generator(cls, generator: nn.Module, block_size: int = 256, grouping: str = "layer") -> WeightLayout:
        """Return the layout of a generator's adapter; `grouping` is a key of `GROUPINGS`."""
        if grouping not in GROUPINGS:
            raise WeightzooError(f"unknown grouping {grouping!r}; known: {', '.join(GROUPINGS)}")
        tensors = dict(generator.named_parameters())
        names = adapter_names(generator)
        slots = [Slot(n, tuple(tensors[n].shape), GROUPINGS[grouping](n, names)) for n in names]
        order = {layer: i for i, layer in enumerate(dict.fromkeys(slot.layer for slot in slots))}
        return cls(tuple(sorted(slots, key=lambda slot: order[slot.layer])), block_size, grouping)

    @cached_property
    def layers(self) -> dict[str, tuple[Slot, ...]]:
        """The slots of each layer, in order."""
        layers: dict[str, list[Slot]] = {}
        for slot in self.slots:
            layers.setdefault(slot.layer, []).append(slot)
        return {layer: tuple(slots) for layer, slots in layers.items()}

    @cached_property
    def block_counts(self) -> dict[str, int]:
        """The number of blocks that each layer fills."""
        return {layer: -(-sum(s.size for s in slots) // self.block_size) for layer, slots in self.layers.items()}

    @cached_property
    def block_layers(self) -> list[str]:
        """The layer of each block, `num_blocks` names."""
        return [layer for layer, count in self.block_counts.items() for _ in range(count)]

    @cached_property
    def num_blocks(self) -> int:
        return sum(self.block_counts.values())

    @property
    def num_values(self) -> int:
        """The number of values without padding."""
        return sum(slot.size for slot in self.slots)

    @cached_property
    def mask(self) -> Tensor:
        """True where a value is real and False where it is padding, [num_blocks, block_size]."""
        ones = {slot.name: torch.ones(1, *slot.shape, dtype=torch.bool) for slot in self.slots}
        return self.to_blocks(ones)[0]

    def to_blocks(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Turn {name: [K, *shape]} into blocks [K, num_blocks, block_size].

        Raises:
            WeightzooError: a tensor is missing, unknown or of another shape.
        """
        check_names(set(tensors), {slot.name for slot in self.slots})
        rows = []
        for slots in self.layers.values():
            for slot in slots:
                if tuple(tensors[slot.name].shape[1:]) != slot.shape:
                    got = tuple(tensors[slot.name].shape[1:])
                    raise WeightzooError(f"{slot.name} has shape {got}, the layout says {slot.shape}")
            row = torch.cat([tensors[slot.name].flatten(1) for slot in slots], 1)
            row = nn.functional.pad(row, (0, -row.shape[1] % self.block_size))
            rows.append(row.unflatten(1, (-1, self.block_size)))
        return torch.cat(rows, 1)

    def from_blocks(self, blocks: Tensor) -> dict[str, Tensor]:
        """Turn blocks [K, num_blocks, block_size] into {name: [K, *shape]}; padding is dropped."""
        if tuple(blocks.shape[1:]) != (self.num_blocks, self.block_size):
            expected = (self.num_blocks, self.block_size)
            raise WeightzooError(f"blocks have shape {tuple(blocks.shape[1:])}, the layout says {expected}")
        tensors: dict[str, Tensor] = {}
        start = 0
        for layer, slots in self.layers.items():
            count = self.block_counts[layer]
            row = blocks[:, start : start + count].flatten(1)
            used = sum(slot.size for slot in slots)
            parts = row[:, :used].split([slot.size for slot in slots], 1)
            tensors |= {slot.name: part.unflatten(1, slot.shape) for slot, part in zip(slots, parts, strict=True)}
            start += count
        return tensors

    @cached_property
    def id(self) -> str:
        """The 16 hexadecimal digits that name this layout."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "slots": [{**asdict(slot), "shape": list(slot.shape)} for slot in self.slots]}

    @classmethod
    def from_json(cls, data: Any) -> WeightLayout:
        """Return the layout that `to_json` described; the values may be a stranger's.

        Raises:
            WeightzooError: not a layout, or one that no record has.
        """
        if problem := _problem(data):
            raise WeightzooError(f"not a weight layout ({problem}); fetch or build it again")
        slots = tuple(Slot(slot["name"], tuple(slot["shape"]), slot["layer"]) for slot in data["slots"])
        return cls(slots, data["block_size"], data["grouping"])

    def save(self, path: str | Path) -> None:
        write_json(path, self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> WeightLayout:
        """Read what `save` wrote; see `from_json`."""
        data = read_json(path, MAX_JSON_BYTES)
        try:
            return cls.from_json(data)
        except WeightzooError as error:
            raise WeightzooError(f"{path}: {error}") from None


def _problem(data: Any) -> str:
    """Say what keeps JSON values from being a layout; empty if nothing does."""
    if not isinstance(data, dict) or not isinstance(data.get("slots"), list) or not data["slots"]:
        return "slots are missing"
    block_size: Any = data.get("block_size")
    totals: dict[str, int] = {}
    if not _is_count(block_size, MAX_BLOCK_SIZE) or not isinstance(data.get("grouping"), str):
        return "block_size or grouping is none"
    for slot in data["slots"]:
        if not isinstance(slot, dict) or not isinstance(slot.get("shape"), list):
            return "a slot has no shape"
        if not isinstance(slot.get("name"), str) or not isinstance(slot.get("layer"), str):
            return "a slot has no name"
        if len(slot["shape"]) > 8 or not all(_is_count(side, MAX_RECORD_BYTES) for side in slot["shape"]):
            return f"slot {slot['name']!r:.100} has an impossible shape"
        totals[slot["layer"]] = totals.get(slot["layer"], 0) + math.prod(slot["shape"])
    if len({slot["name"] for slot in data["slots"]}) < len(data["slots"]):
        return "two slots have one name"
    num_blocks = sum(-(-total // block_size) for total in totals.values())  # a layer is padded to whole blocks
    if num_blocks > MAX_BLOCKS or num_blocks * block_size * 2 > MAX_RECORD_BYTES:
        return f"its records are larger than {MAX_RECORD_BYTES >> 30} GiB or {MAX_BLOCKS} blocks"
    return ""


def _is_count(value: Any, largest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= largest


def check_names(given: set[str], expected: set[str]) -> None:
    """Raise WeightzooError that names the first missing and unknown tensors."""
    if given != expected:
        missing, unknown = sorted(expected - given)[:3], sorted(given - expected)[:3]
        raise WeightzooError(f"tensors do not fit the layout: missing {missing}, unknown {unknown}")
