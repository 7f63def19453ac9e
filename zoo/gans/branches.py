"""Small networks of a pixel's maps, whose ReLUs join the feature bank where its fixed features do not suffice.

    branch = Branch("local", hidden=64)
    features = branch(maps.flatten(1).T)             # [pixels, 64], of `zoo.gans.feature_bank` maps

A branch reads some of the maps only. What hangs on the colour alone, as a poster does, is learned from few photographs
by a branch that sees nothing else: whatever tells photographs apart is overfitted when there are sixteen of them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.errors import WeightzooError
from zoo.gans.feature_bank import CHANNELS, PARTS
from zoo.gans.layers import LINEAR, linear, weight_of

LOCAL = ("colour", "bands", "slopes", "extremes", "spread", "patch")
# the maps that branches of each name read
READS = {
    "colour": ("colour",),
    "local": LOCAL,
    "relative": (*LOCAL, "tones"),  # to the photograph's own tones
    "whole": tuple(PARTS),
}
GAINS = {"bands": 3.0, "slopes": 3.0, "extremes": 3.0, "spread": 4.0, "patch": 2.0}  # about unit size for all
BIAS = 0.3  # spread of the first biases


class Branch(nn.Module):
    """Two layers of ReLUs over the maps that READS names.

    Args:
        name: in READS.
        hidden: ReLUs of each layer.
        rank: of the adapters in both layers; 0 gives plain ones.

    Raises:
        WeightzooError: an unknown name.
    """

    def __init__(self, name: str, hidden: int, rank: int = 0) -> None:
        super().__init__()
        if name not in READS:
            raise WeightzooError(f"a generator with a branch {name!r}; this version knows {', '.join(READS)}")
        self.name = name
        columns: list[int] = []
        gains: list[float] = []
        start = 0
        for part, width in PARTS.items():
            if part in READS[name]:
                columns += range(start, start + width)
                gains += [GAINS.get(part, 1.0)] * width
            start += width
        self.reads_all = len(columns) == CHANNELS
        self.columns, self.gains = columns, gains
        self.first, self.second = linear(len(columns), hidden, rank), linear(hidden, hidden, rank)
        for layer in (self.first, self.second):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.normal_(layer.bias, 0, BIAS)

    def forward(self, rows: Tensor) -> Tensor:
        """Return the ReLUs of pixels, [..., hidden], from their maps [..., CHANNELS]."""
        if type(self.first) not in LINEAR:  # such as PEFT's, which has adapters beside its weight
            return self.relus(self.inputs(rows))
        return self.relus(rows, self.over_all_maps())

    def over_all_maps(self) -> Tensor:
        """Return the first layer's weight as one over all maps, [hidden, CHANNELS].

        To gather the maps that are read takes as long as all the rest of a branch, which pays for a training only.
        """
        weight, read = weight_of(self.first), READS[self.name]
        own = iter(weight.split([width for part, width in PARTS.items() if part in read], 1))
        spread = [
            next(own) * GAINS.get(part, 1.0) if part in read else weight.new_zeros(len(weight), width)
            for part, width in PARTS.items()
        ]
        return torch.cat(spread, 1)

    def inputs(self, rows: Tensor) -> Tensor:
        """Return what the first layer reads of maps [..., CHANNELS]."""
        own = rows if self.reads_all else rows[..., self.columns]
        return own * rows.new_tensor(self.gains)

    def relus(self, inputs: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the ReLUs, [..., hidden], from what the first layer reads.

        Args:
            weight: of the first layer, if not its own.
        """
        first = self.first(inputs) if weight is None else F.linear(inputs, weight, self.first.bias)
        return F.relu(self.second(F.relu(first)))
