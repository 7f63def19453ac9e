"""A generator whose output layer is linear in a bank of features of the photograph, and is solved on pairs.

    generator = SolvedConfig(image_size=512).build()
    edited = generator(photographs)          # whole photographs [N, 3, H, W] in [0, 1], any size

`zoo.closed_form` solves the layer on pairs. The generator carries the prior that it was solved with, so it can be
solved again, and the scale that its pairs had: widths are in pixels of a photograph with that short side. Branches,
small trained networks of the same pixels, may stand beside the bank.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.closed_form import Prior
from zoo.gans.branches import Branch
from zoo.gans.feature_bank import CONTEXT_SIDE, RIM, Context, FeatureBank, FeatureBankConfig, Place

STRIP_PIXELS = 1 << 16  # pixels whose features are held at a time
PENALTY = 3e-3  # of every feature, before penalties are learned


@dataclass(frozen=True)
class SolvedConfig(FeatureBankConfig):
    """Sizes of the feature bank, and the scale.

    Args:
        image_size: short side of the photographs that the layer was solved on, pixels.
        branches: names in `zoo.gans.branches.READS`.
        hidden: ReLUs of each layer of a branch.
    """

    image_size: int = 256
    branches: tuple[str, ...] = ()
    hidden: int = 64

    def build(self) -> SolvedGenerator:
        """Return a generator that copies its source, with a random bank and equal penalties."""
        return SolvedGenerator(self)


class SolvedGenerator(nn.Module):
    """See the module's docstring."""

    whole_photograph = True  # `forward` takes photographs of any size, and needs all of each

    def __init__(self, config: SolvedConfig) -> None:
        super().__init__()
        self.config = config
        self.bank = FeatureBank(config)
        self.branches = nn.ModuleList([Branch(name, config.hidden) for name in config.branches])
        features = self.bank.num_features
        # the first three features are the colour
        self.output = nn.Parameter(torch.eye(features + config.hidden * len(self.branches), 3))
        self.register_buffer("mean", torch.eye(features, 3))
        self.register_buffer("log_penalty", torch.full((features,), PENALTY).log())
        self.register_buffer("slope", torch.full((features,), -0.5))

    @property
    def prior(self) -> Prior:
        """Return what the bank's output layers are pulled to."""
        return Prior(*(cast(Tensor, getattr(self, name)) for name in Prior._fields))

    def forward(self, photographs: Tensor) -> Tensor:
        """Return whole photographs [N, 3, H, W] in [0, 1] edited, not clamped."""
        return torch.stack([self.edit(photograph) for photograph in photographs])

    def edit(self, photograph: Tensor) -> Tensor:
        """Return one photograph [3, H, W] edited strip by strip, which changes nothing."""
        context, padded = self.whole(photograph)
        height, width = photograph.shape[-2:]
        rows = max(1, STRIP_PIXELS // width)
        strips = []
        for top in range(0, height, rows):
            bottom = min(top + rows, height)
            strip = padded[:, top : bottom + 2 * RIM]
            strips.append(self.render(strip, context, Place(top, 0, height, width)))
        return torch.cat(strips, 1)

    def render(self, padded: Tensor, context: Context, place: Place) -> Tensor:
        """Return a crop edited, [3, h, w], from the crop with `RIM` pixels of its surroundings."""
        maps = self.bank.maps(padded, context, place)
        parts = self.parts(maps.flatten(1).T)
        # a product for each part, added up: to join the parts would cost as much as all of their products
        shares = self.output.split([part.shape[1] for part in parts])
        edited = torch.stack([part @ share for part, share in zip(parts, shares, strict=True)]).sum(0)
        return edited.T.unflatten(1, maps.shape[1:]) / 2 + 0.5

    def parts(self, rows: Tensor) -> list[Tensor]:
        """Return the bank's features of pixels, then those of each branch, from maps [N, CHANNELS]."""
        return [self.bank.expand(rows), *(branch(rows) for branch in self.branches)]

    def maps_of(self, photograph: Tensor, chosen: Tensor) -> Tensor:
        """Return the bank's maps at some pixels of a photograph [3, H, W], [len(chosen), channels].

        Args:
            chosen: places in the flattened picture.
        """
        context, padded = self.whole(photograph)
        height, width = photograph.shape[-2:]
        return self.bank.maps(padded, context, Place(0, 0, height, width)).flatten(1)[:, chosen].T.contiguous()

    def whole(self, photograph: Tensor) -> tuple[Context, Tensor]:
        """Return what belongs to the whole photograph, and the photograph with its border pixels continued."""
        padded = F.pad(photograph[None], (RIM,) * 4, mode="replicate")[0]
        return self.bank.context(reduced(photograph)), padded


def reduced(photograph: Tensor) -> Tensor:
    """Return a photograph [3, H, W] with a short side of `CONTEXT_SIDE`."""
    height, width = photograph.shape[-2:]
    factor = CONTEXT_SIDE / min(height, width)
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    small = F.interpolate(photograph[None], size, mode="bicubic", antialias=True, align_corners=False)
    return small[0].clamp(0, 1)
