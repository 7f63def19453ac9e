"""The E2GAN generator: a convolutional encoder and decoder around one transformer block, with LoRA inside.

Topology after E2GAN (Gong et al., ECCV 2024): downsampling convolutions, two residual blocks, a further
downsampling (`ds`), one transformer block (self-attention, cross-attention to learned tokens), upsampling (`us`),
one residual block, upsampling to the image. Residual blocks carry no LoRA.

Two choices of ours serve photographs of any size. Upsampling is convolution + bilinear resize with additive skips,
and everything that is not local (norm statistics, attention, position) lives in `global_context`, which may run on
a small copy of the photo, while `render` is plain local convolution and may run strip by strip:
`forward(x) == render(x, global_context(x))`.

    generator = E2ganConfig().build()
    edited = generator(images)            # [N, 3, H, W] in [0, 1]
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.gans.layers import Pointwise, conv2d, leaky_clamp, linear


@dataclass(frozen=True)
class E2ganConfig:
    """Sizes of an E2GAN generator.

    Args:
        channels: widths at full, half, quarter and eighth resolution.
        lora_rank: rank of the adapters on the convolutions outside the residual blocks; 0 builds a plain generator.
        attention_rank: rank of the adapters inside the transformer block. With ranks one below a power of two, B and
            the bias of a layer together fill whole blocks of 256 values.
        train_output: whether the output convolution is part of the adapter, as a whole.
        heads, context_tokens, mlp_ratio: shape of the transformer block.
        groups: channels per group of the group norms is `channels[2] // groups`.
        image_size: the side of the squares that the generator is trained on, pixels.
    """

    channels: tuple[int, int, int, int] = (16, 32, 48, 64)
    lora_rank: int = 15
    attention_rank: int = 3
    train_output: bool = True
    head_width: int = 24
    heads: int = 4
    context_tokens: int = 8
    mlp_ratio: int = 2
    groups: int = 8
    image_size: int = 64

    def build(self) -> E2ganGenerator:
        return E2ganGenerator(self)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with group norm inside the branch only: the trunk keeps absolute colour."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, width)
        self.conv1 = conv2d(width, width, 3)
        self.norm2 = nn.GroupNorm(groups, width)
        self.conv2 = conv2d(width, width, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.relu(self.norm1(x)))
        return x + self.conv2(F.relu(self.norm2(h)))


class Attention(nn.Module):
    """Multi-head attention of `x` [N, T, D] over `memory` [N, S, D] (or [S, D], shared by the batch)."""

    def __init__(self, width: int, heads: int, rank: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.project = (linear(width, width, rank) for _ in range(4))

    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(-3, -2)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        query, key, value = (
            self.split(self.query(x)),
            self.split(self.key(memory)),
            self.split(self.value(memory)),
        )
        scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
        return self.project((scores.softmax(-1) @ value).transpose(-3, -2).flatten(-2))


class TransformerBlock(nn.Module):
    """Self-attention over positions, cross-attention to learned tokens, MLP; pre-norm."""

    def __init__(self, width: int, config: E2ganConfig) -> None:
        super().__init__()
        rank = config.attention_rank
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.self_attention = Attention(width, config.heads, rank)
        self.cross_attention = Attention(width, config.heads, rank)
        self.expand = linear(width, width * config.mlp_ratio, rank)
        self.contract = linear(width * config.mlp_ratio, width, rank)
        # filled in place: what zoo.tensors.ShapesOnly can leave out
        self.tokens = nn.Parameter(torch.empty(config.context_tokens, width).normal_())
        self.position = nn.Parameter(torch.empty(width, 5).normal_().mul_(0.1))

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        h = x.flatten(-2).transpose(-2, -1) + coordinates(height, width, x) @ self.position.T
        normed = self.norm1(h)
        h = h + self.self_attention(normed, normed)
        h = h + self.cross_attention(self.norm2(h), self.tokens)
        h = h + self.contract(F.relu(self.expand(self.norm3(h))))
        return h.transpose(-2, -1).unflatten(-1, (height, width))


def coordinates(height: int, width: int, like: Tensor) -> Tensor:
    """Return features (x, y, x^2, y^2, x y) of the positions in a grid that spans [-1, 1]^2, [height * width, 5]."""
    y = (torch.arange(height, dtype=like.dtype, device=like.device) + 0.5) / height * 2 - 1
    x = (torch.arange(width, dtype=like.dtype, device=like.device) + 0.5) / width * 2 - 1
    y, x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([x, y, x * x, y * y, x * y], -1).flatten(0, 1)


def resize_to(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Return feature maps at `size` by bilinear interpolation."""
    return x if x.shape[-2:] == size else F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class E2ganGenerator(nn.Module):
    """The generator that the module describes; it has `lora_*` tensors only where the config gives a rank above 0."""

    def __init__(self, config: E2ganConfig) -> None:
        super().__init__()
        self.config = config
        c0, c1, c2, c3 = config.channels
        rank = config.lora_rank
        self.stem = conv2d(3, c0, 3, rank=rank)
        self.down1 = conv2d(c0, c1, 3, stride=2, rank=rank)
        self.down2 = conv2d(c1, c2, 3, stride=2, rank=rank)
        self.res1, self.res2 = ResidualBlock(c2, config.groups), ResidualBlock(c2, config.groups)
        self.ds = conv2d(c2, c3, 3, stride=2, rank=rank)
        self.transformer = TransformerBlock(c3, config)
        self.us = conv2d(c3, c2, 3, rank=rank)
        self.res3 = ResidualBlock(c2, config.groups)
        self.up1 = conv2d(c2, c1, 3, rank=rank)
        self.up2 = conv2d(c1, c0, 3, rank=rank)
        self.refine = Pointwise(c0 + 3, config.head_width)
        self.output = Pointwise(config.head_width + 3, 3)
        start_near_identity(self.output)

    def forward(self, images: Tensor, context: Tensor | None = None) -> Tensor:
        """Edit images [N, 3, H, W]; `context` is `global_context` of the same photos at any resolution."""
        full, half = self._encode(images)
        return self._decode(images, full, half, self._trunk(half) if context is None else context)

    def global_context(self, images: Tensor) -> Tensor:
        """Return features [N, channels[1], ~H/4, ~W/4] of everything that depends on the photograph as a whole."""
        return self._trunk(self._encode(images)[1])

    def render(self, images: Tensor, context: Tensor, margin: int = 0) -> Tensor:
        """Edit images with a given context; a pixel depends on the context and on its 11x11 neighbourhood only.

        Args:
            margin: so many pixels (an even number) repeat the frame's edge outside it and are cut off again: what
                the network learned to do at an edge is too wide for a picture larger than those it learned from.
        """
        height, width = images.shape[-2:]
        images = F.pad(images, [margin] * 4, "replicate")
        full, half = self._encode(images)
        context = resize_to(context, ((height + 1) // 2, (width + 1) // 2))
        context = F.pad(context, [margin // 2] * 4, "replicate")
        edited = self._decode(images, full, half, context)
        return edited[..., margin : margin + height, margin : margin + width]

    def _encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        full = self.stem(images * 2 - 1)
        return full, self.down1(F.relu(full))

    def _trunk(self, half: Tensor) -> Tensor:
        quarter = self.res2(self.res1(self.down2(F.relu(half))))
        eighth = self.transformer(self.ds(F.relu(quarter)))
        h = quarter + resize_to(self.us(F.relu(eighth)), quarter.shape[-2:])
        return self.up1(F.relu(self.res3(h)))

    def _decode(self, images: Tensor, full: Tensor, half: Tensor, context: Tensor) -> Tensor:
        scaled = images * 2 - 1
        half = F.relu(half + resize_to(context, half.shape[-2:]))
        full = F.relu(full + resize_to(self.up2(half), full.shape[-2:]))
        full = F.relu(self.refine(torch.cat([full, scaled], 1)))
        return leaky_clamp(self.output(torch.cat([full, scaled], 1)) * 0.5 + 0.5)


def start_near_identity(output: nn.Module) -> None:
    """Let the output convolution start as a copy of the source, which is its last three inputs."""
    with torch.no_grad():
        output.weight.mul_(0.1)
        output.weight[:, -3:] = 0.0
        for colour in range(3):
            output.weight[colour, colour - 3] = 1.0
