"""PatchGAN: the discriminator of pix2pix, which tells real from generated patches of (source, image) pairs.

Gives `PatchGanConfig` (`.build()` returns a `PatchGan`) and `pix2pix_70x70()`, the classic configuration of
2.769 M parameters. The default is small and has no normalisation: fleets run it under `torch.func.vmap`, so
it has no buffers, no in-place operations and no control flow that depends on data.

    discriminator = PatchGanConfig().build()
    logits = discriminator(source, image)          # [N, 1, h, w]
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo.errors import WeightzooError

NORMS = ("none", "batch", "instance")


@dataclass(frozen=True)
class PatchGanConfig:
    """Channels of the 4x4 convolutions in order; each halves the picture, the last one by `last_stride`."""

    channels: tuple[int, ...] = (8, 16, 32)
    norm: str = "none"
    last_stride: int = 2
    image_channels: int = 3

    def build(self) -> "PatchGan":
        return PatchGan(self)


def pix2pix_70x70() -> PatchGanConfig:
    """Return the classic discriminator whose logits each see 70x70 pixels."""
    return PatchGanConfig(channels=(64, 128, 256, 512), norm="batch", last_stride=1)


def norm_layer(name: str, channels: int) -> nn.Module:
    """Return a normalisation by name. `batch` uses the batch at hand at test time too, as pix2pix does.

    Raises:
        WeightzooError: for an unknown name.
    """
    if name == "none":
        return nn.Identity()
    if name == "batch":
        return nn.BatchNorm2d(channels, track_running_stats=False)
    if name == "instance":
        return nn.GroupNorm(channels, channels)
    raise WeightzooError(f"unknown norm {name!r}; choose one of {', '.join(NORMS)}")


def initialise(module: nn.Module) -> None:
    """Initialise a module as pix2pix does: convolutions N(0, 0.02), norm scales N(1, 0.02). For `nn.Module.apply`."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


class PatchGan(nn.Module):
    """Strided convolutions with LeakyReLU(0.2), then one logit per patch."""

    def __init__(self, config: PatchGanConfig):
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        previous = 2 * config.image_channels
        for index, channels in enumerate(config.channels):
            stride = config.last_stride if index == len(config.channels) - 1 else 2
            norm = "none" if index == 0 else config.norm
            layers.append(nn.Conv2d(previous, channels, 4, stride, 1, bias=norm != "batch"))
            layers += [norm_layer(norm, channels), nn.LeakyReLU(0.2)]
            previous = channels
        self.layers = nn.Sequential(*layers, nn.Conv2d(previous, 1, 4, 1, 1))
        if config.norm != "none":  # without a norm N(0, .02) would shrink the signal to nothing
            self.apply(initialise)

    def forward(self, source: Tensor, image: Tensor) -> Tensor:
        """Return logits [N, 1, h, w] for sources and images [N, 3, H, W] in [0, 1]."""
        return self.layers(torch.cat((source, image), dim=-3) * 2 - 1)
