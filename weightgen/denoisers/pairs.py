"""Conditioning of a denoiser on what pairs say of an edit (`weightgen.pairs.description`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from zoo.gans.branches import Branch

if TYPE_CHECKING:
    from weightgen.pairs.description import Edits
    from zoo.gans.solved import Seen

FACTS = 3
BANK_RANGE, RELU_RANGE = (-16.0, 6.0), (-9.0, 6.0)  # of the logarithms of penalties
OF_FEATURES = ("log_penalty", "slope", "log_penalty_step", "slope_step")  # vectors with an entry for each feature
GAIN = 10.0  # of the learned penalties: their logarithms have to move further than weights do


class PairConditioning(nn.Module):
    """Edits -> something for each block [B, num_blocks, width] and for all of them [B, width], and penalties.

    Each block of the output reads the same block of the description, through a matrix of its own. Without pairs a
    learned null state takes the place of both.

    What is worth seeing in many edits need not be generated for each of them: branches that all edits share stand
    between the bank and the generated ReLUs.

    Args:
        features: of the output layer that is solved: those of the bank, of the shared branches, and generated ReLUs.
        hidden: how many of them are generated ReLUs, H.
        shared: names of the shared branches, of `zoo.gans.branches.READS`.
        shared_hidden: ReLUs of each of these.
    """

    def __init__(
        self,
        num_blocks: int,
        block_size: int,
        width: int,
        features: int,
        hidden: int,
        shared: Sequence[str] = (),
        shared_hidden: int = 0,
    ) -> None:
        super().__init__()
        self.matrices = nn.Parameter(torch.randn(num_blocks, block_size, width) * block_size**-0.5)
        self.facts = nn.Sequential(nn.Linear(FACTS, width), nn.SiLU(), nn.Linear(width, width))
        self.null = nn.Parameter(torch.randn(width) * 0.02)
        self.hidden = hidden
        self.shared = nn.ModuleList(Branch(name, shared_hidden) for name in shared)
        bank = features - hidden - len(shared) * shared_hidden
        self.register_buffer("root", torch.eye(bank))  # see `weightgen.pairs.description.Reading`
        self.register_buffer("log_penalty", torch.zeros(features))
        self.register_buffer("slope", torch.zeros(features))
        self.log_penalty_step = nn.Parameter(torch.zeros(features))
        self.slope_step = nn.Parameter(torch.zeros(features))
        self.doubt = nn.Linear(FACTS, 1)  # of the ReLUs, as the pairs say
        nn.init.zeros_(self.doubt.weight)
        nn.init.zeros_(self.doubt.bias)

    def forward(self, edits: Edits | None) -> tuple[Tensor | float, Tensor]:
        if edits is None:
            return 0.0, self.null
        return torch.bmm(edits.blocks.transpose(0, 1), self.matrices).transpose(0, 1), self.facts(edits.facts)

    def features(self, seen: Seen) -> Tensor:
        """Return what pixels show to all edits alike, [n, F]: the bank's features and the shared ReLUs."""
        return torch.cat([seen.features, *(branch(seen.maps) for branch in self.shared)], -1)

    def centre(self, layers: Tensor) -> Tensor:
        """Return generated output layers [E, bank + H, 3] with zeros for the shared ReLUs, [E, F + H, 3]."""
        bank, own = layers.tensor_split([layers.shape[1] - self.hidden], 1)
        between = len(self.log_penalty) - layers.shape[1]
        return torch.cat([bank, layers.new_zeros(len(layers), between, 3), own], 1)

    def log_penalties(self, facts: Tensor, pairs: int) -> tuple[Tensor, Tensor]:
        """Return the logarithms of the solve's penalties for a number of pairs.

        Args:
            facts: of each edit, [B, FACTS].

        Returns:
            Those of what all edits share, [F], and those of each edit's ReLUs, [B, H].
        """
        slope = self.slope + GAIN * self.slope_step
        both = self.log_penalty + GAIN * self.log_penalty_step + slope * math.log(pairs)
        bank, own = both.tensor_split([len(both) - self.hidden])
        return bank.clamp(*BANK_RANGE), (own + GAIN * self.doubt(facts)).clamp(*RELU_RANGE)

    def begin_with(self, log_penalty: Tensor, slope: Tensor) -> None:
        """Set the penalties before any training, [F] each."""
        self.log_penalty.copy_(log_penalty)
        self.slope.copy_(slope)
