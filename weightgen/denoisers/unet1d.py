"""The per-block denoiser: the paper's 1-D UNet, every block of a network denoised on its own.

Three resolutions of 1-D residual block + transformer (self-attention and cross-attention to the text's
tokens; the deepest pair without attention), one middle transformer, skips. The sinusoidal block index is
added to the timestep embedding and, with it and the pooled text, enters every residual block. A convolution
cannot tell positions apart, so every block index has learned position maps: one is added after the stem, one
reads the output out of the features.

Signals are [N, length, channels] throughout: convolutions of width 3 are matrix products over three
neighbours, several times faster on a CPU than Conv1d on such short signals.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from weightgen.denoisers.layers import Attention, BlockIndexEmbedding, TextConditioning, TimeEmbedding, mlp


class Convolution(nn.Module):
    """A 1-D convolution of width 3 over [N, length, in] -> [N, length / stride, out]."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.linear = nn.Linear(3 * in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x, (0, 0, 1, 1))
        neighbours = [padded[:, i : i + x.shape[1] : self.stride] for i in range(3)]
        return self.linear(torch.cat(neighbours, -1))


class ResBlock1D(nn.Module):
    """Two convolutions, the embedding [N, width] scales and shifts in between."""

    def __init__(self, in_channels: int, out_channels: int, width: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(in_channels)
        self.conv1 = Convolution(in_channels, out_channels)
        self.embedding = nn.Linear(width, 2 * out_channels)
        self.norm2 = nn.LayerNorm(out_channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = Convolution(out_channels, out_channels)
        self.skip = nn.Linear(in_channels, out_channels) if in_channels != out_channels else nn.Identity()
        nn.init.zeros_(self.conv2.linear.weight)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        hidden = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.embedding(embedding)[:, None].chunk(2, -1)
        scale = self.dropout(1 + scale)  # drops a feature along the whole block
        hidden = torch.addcmul(shift, self.norm2(hidden), scale)
        return self.skip(x) + self.conv2(F.silu(hidden))


class Transformer1D(nn.Module):
    """Self-attention within a block, cross-attention to the text's tokens, MLP."""

    def __init__(self, channels: int, heads: int, text_width: int) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(channels) for _ in range(3))
        self.self_attention = Attention(channels, heads)
        self.cross_attention = Attention(channels, heads, text_width)
        self.mlp = mlp(channels, 2)

    def forward(self, x: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """Attend within blocks and to `tokens` [B, L, text width]; N = B * blocks, a network's blocks side by side."""
        x = x + self.self_attention(self.norm1(x))
        queries = self.norm2(x).reshape(len(tokens), -1, x.shape[-1])  # the blocks of a network share a text
        x = x + self.cross_attention(queries, tokens, mask).reshape(x.shape)
        return x + self.mlp(self.norm3(x))


class UNet1DNetwork(nn.Module):
    """The UNet that the module describes, with the face that `weightgen.denoisers` describes."""

    independent_blocks = True

    def __init__(
        self,
        num_blocks: int,
        block_size: int = 256,
        text_width: int = 384,
        width: int = 128,
        channels: Sequence[int] = (48, 64, 96),
        num_heads: int = 4,
        patch_size: int = 8,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {
            "num_blocks": num_blocks, "block_size": block_size, "text_width": text_width, "width": width,
            "channels": list(channels), "num_heads": num_heads, "patch_size": patch_size, "dropout": dropout,
        }  # fmt: skip
        c1, c2, c3 = channels
        length = block_size // patch_size
        self.time = TimeEmbedding(width)
        self.text = TextConditioning(text_width, width)
        self.block_index = BlockIndexEmbedding(num_blocks, width)
        self.stem = nn.Linear(patch_size, c1)
        self.input_map = nn.Parameter(torch.randn(num_blocks, length, c1) * 0.2)
        self.down1 = ResBlock1D(c1, c1, width, dropout)
        self.down1_text = Transformer1D(c1, num_heads, width)
        self.to2 = Convolution(c1, c2, stride=2)
        self.down2 = ResBlock1D(c2, c2, width, dropout)
        self.down2_text = Transformer1D(c2, num_heads, width)
        self.to3 = Convolution(c2, c3, stride=2)
        self.down3 = ResBlock1D(c3, c3, width, dropout)
        self.middle = Transformer1D(c3, num_heads, width)
        self.up3 = ResBlock1D(2 * c3, c3, width, dropout)
        self.from3 = nn.Linear(c3, c2)
        self.up2 = ResBlock1D(2 * c2, c2, width, dropout)
        self.up2_text = Transformer1D(c2, num_heads, width)
        self.from2 = nn.Linear(c2, c1)
        self.up1 = ResBlock1D(2 * c1, c1, width, dropout)
        self.up1_text = Transformer1D(c1, num_heads, width)
        self.norm = nn.LayerNorm(c1)
        self.output_map = nn.Parameter(torch.zeros(num_blocks, length, c1, patch_size))
        self.output_bias = nn.Parameter(torch.zeros(num_blocks, block_size))

    def forward(
        self,
        noisy: Tensor,
        timesteps: Tensor,
        tokens: Tensor,
        mask: Tensor,
        pooled: Tensor,
        block_index: Tensor | None = None,
    ) -> Tensor:
        """Denoise [B, n, block_size]: all blocks (n = num_blocks), or those that `block_index` [n] names."""
        batch, count, size = noisy.shape
        if block_index is None:
            block_index = torch.arange(count, device=noisy.device)
        tokens, mask, summary = self.text(tokens, mask, pooled)
        e = F.silu((self.time(timesteps) + summary)[:, None] + self.block_index(block_index)).flatten(0, 1)
        patches = noisy.unflatten(-1, (-1, self.stem.in_features))
        x = (self.stem(patches) + self.input_map[block_index]).flatten(0, 1)

        skip1 = x = self.down1_text(self.down1(x, e), tokens, mask)
        skip2 = x = self.down2_text(self.down2(self.to2(x), e), tokens, mask)
        skip3 = x = self.down3(self.to3(x), e)
        x = self.middle(x, tokens, mask)
        x = self.up3(torch.cat([x, skip3], -1), e)
        x = self.from3(x).repeat_interleave(2, 1)
        x = self.up2_text(self.up2(torch.cat([x, skip2], -1), e), tokens, mask)
        x = self.from2(x).repeat_interleave(2, 1)
        x = self.up1_text(self.up1(torch.cat([x, skip1], -1), e), tokens, mask)

        features = self.norm(x).reshape(batch, -1, x.shape[-1]).transpose(0, 1)
        out = torch.bmm(features, self.output_map[block_index].flatten(0, 1))  # [n * length, B, patch size]
        return out.transpose(0, 1).reshape(batch, count, size) + self.output_bias[block_index]
