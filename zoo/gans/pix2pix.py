"""The classic pix2pix generator: a U-Net of strided and transposed 4x4 convolutions.

Gives `Pix2pixConfig`; `.build()` returns a `Pix2pixGenerator` from images in [0, 1] to images in [0, 1]. The
number of halvings follows the image size (256: 8 and 54.414 M parameters, as in the reference implementation;
64: 6), so the innermost features are 1x1. Transposed convolutions take no PEFT adapter: this GAN is trained
in full, as the row `pix2pix_unet` of the evaluation.

    generator = Pix2pixConfig(image_size=64).build()
    edited = generator(images)                     # [N, 3, H, W], H and W multiples of image_size
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo.errors import WeightzooError
from zoo.gans.patchgan import initialise, norm_layer


@dataclass(frozen=True)
class Pix2pixConfig:
    """Filters of the outermost layer (doubled three times inwards); dropout in the middle while training."""

    image_size: int = 256
    filters: int = 64
    norm: str = "batch"
    dropout: float = 0.5
    image_channels: int = 3

    @property
    def depth(self) -> int:
        """Number of halvings, image_size = 2 ** depth."""
        depth = self.image_size.bit_length() - 1
        if not 32 <= self.image_size <= 1 << 16 or self.image_size != 2**depth:
            raise WeightzooError(f"pix2pix needs an image size of 32, 64, 128, ... pixels, not {self.image_size}")
        return depth

    def build(self) -> "Pix2pixGenerator":
        return Pix2pixGenerator(self)


class Pix2pixGenerator(nn.Module):
    """Skip connections join each `downs[i]` with the `ups` layer of the same resolution."""

    def __init__(self, config: Pix2pixConfig):
        super().__init__()
        self.config = config
        depth, innermost = config.depth, config.depth - 1
        widths = [config.filters * min(2**level, 8) for level in range(depth)]
        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        for level, width in enumerate(widths):
            before = widths[level - 1] if level else config.image_channels
            norm = "none" if level in (0, innermost) else config.norm
            down = nn.Conv2d(before, width, 4, 2, 1, bias=config.norm != "batch")
            activation = nn.LeakyReLU(0.2) if level else nn.Identity()
            self.downs.append(nn.Sequential(activation, down, norm_layer(norm, width)))
        for level in reversed(range(depth)):
            width = widths[level] * (1 if level == innermost else 2)  # the skip doubles it
            after = widths[level - 1] if level else config.image_channels
            norm = config.norm if level else "none"
            up = nn.ConvTranspose2d(width, after, 4, 2, 1, bias=norm != "batch")
            has_dropout = 4 <= level < innermost
            dropout = nn.Dropout(config.dropout) if has_dropout else nn.Identity()
            self.ups.append(nn.Sequential(nn.ReLU(), up, norm_layer(norm, after), dropout))
        self.apply(initialise)

    def forward(self, images: Tensor) -> Tensor:
        """Edit images [N, 3, H, W] in [0, 1]; the result has the same shape and range.

        Raises:
            WeightzooError: when H or W is not a multiple of the config's image_size.
        """
        size = self.config.image_size
        if images.shape[-1] % size or images.shape[-2] % size:
            raise WeightzooError(
                f"pix2pix at image_size {size} needs height and width in multiples of {size}, "
                f"not {images.shape[-2]}x{images.shape[-1]}; resize the image"
            )
        features, skips = images * 2 - 1, []
        for down in self.downs:
            features = down(features)
            skips.append(features)
        features = skips.pop()
        for index, up in enumerate(self.ups):
            features = up(torch.cat((features, skips.pop()), dim=-3) if index else features)
        return torch.tanh(features) * 0.5 + 0.5
