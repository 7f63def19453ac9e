"""The per-block denoiser: the paper's 1-D UNet, every block of a network denoised on its own.

Three resolutions of 1-D residual block + transformer (self-attention and cross-attention to the text's tokens; the
deepest pair without attention), one middle transformer, skips. The sinusoidal block index is added to the timestep
embedding and, with it and the pooled text, enters every residual block. A convolution cannot tell positions apart, so
every block index has learned position maps: one added after the stem, one that reads the output features out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from weightgen.denoisers.layers import Attention, BlockIndexEmbedding, TextConditioning, TimeEmbedding, mlp


class ResBlock1D(nn.Module):
    """Two convolutions over [N, channels, length] with the embedding [N, width] scaled and shifted in between."""

    def __init__(self, in_channels: int, out_channels: int, width: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(8, in_channels)
        self.conv1 = nn.Conv1d(in_channels, out_channels, 3, padding=1)
        self.embedding = nn.Linear(width, 2 * out_channels)
        self.norm2 = nn.GroupNorm(8, out_channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv1d(out_channels, out_channels, 3, padding=1)
        self.skip = nn.Conv1d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        hidden = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.embedding(F.silu(embedding))[..., None].chunk(2, 1)
        hidden = torch.addcmul(shift, self.norm2(hidden), 1 + scale)
        return self.skip(x) + self.conv2(self.dropout(F.silu(hidden)))


class Transformer1D(nn.Module):
    """Self-attention within a block, cross-attention to the text's tokens, MLP, over [N, channels, length]."""

    def __init__(self, channels: int, heads: int, text_width: int) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(channels) for _ in range(3))
        self.self_attention = Attention(channels, heads)
        self.cross_attention = Attention(channels, heads, text_width)
        self.mlp = mlp(channels, 2)

    def forward(self, x: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """`tokens` [B, L, text width]: N = B * blocks, the blocks of one network are neighbours and share a text."""
        h = x.transpose(1, 2)
        h = h + self.self_attention(self.norm1(h))
        queries = self.norm2(h).reshape(len(tokens), -1, h.shape[-1])  # all blocks of a network read one text
        h = h + self.cross_attention(queries, tokens, mask).reshape(h.shape)
        h = h + self.mlp(self.norm3(h))
        return h.transpose(1, 2)


class UNet1DNetwork(nn.Module):
    """See the module and `weightgen.denoisers`."""

    independent_blocks = True

    def __init__(
        self,
        num_blocks: int,
        block_size: int = 256,
        text_width: int = 384,
        width: int = 128,
        channels: tuple[int, int, int] = (64, 96, 128),
        num_heads: int = 4,
        patch_size: int = 8,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.settings: dict[str, Any] = dict(
            num_blocks=num_blocks, block_size=block_size, text_width=text_width, width=width,
            channels=list(channels), num_heads=num_heads, patch_size=patch_size, dropout=dropout,
        )  # fmt: skip
        c1, c2, c3 = channels
        length = block_size // patch_size
        self.time = TimeEmbedding(width)
        self.text = TextConditioning(text_width, width)
        self.block_index = BlockIndexEmbedding(num_blocks, width)
        self.stem = nn.Conv1d(1, c1, patch_size, stride=patch_size)
        self.input_map = nn.Parameter(torch.randn(num_blocks, c1, length) * 0.2)
        self.down1 = ResBlock1D(c1, c1, width, dropout)
        self.down1_text = Transformer1D(c1, num_heads, width)
        self.to2 = nn.Conv1d(c1, c2, 3, stride=2, padding=1)
        self.down2 = ResBlock1D(c2, c2, width, dropout)
        self.down2_text = Transformer1D(c2, num_heads, width)
        self.to3 = nn.Conv1d(c2, c3, 3, stride=2, padding=1)
        self.down3 = ResBlock1D(c3, c3, width, dropout)
        self.middle = Transformer1D(c3, num_heads, width)
        self.up3 = ResBlock1D(2 * c3, c3, width, dropout)
        self.from3 = nn.Conv1d(c3, c2, 3, padding=1)
        self.up2 = ResBlock1D(2 * c2, c2, width, dropout)
        self.up2_text = Transformer1D(c2, num_heads, width)
        self.from2 = nn.Conv1d(c2, c1, 3, padding=1)
        self.up1 = ResBlock1D(2 * c1, c1, width, dropout)
        self.up1_text = Transformer1D(c1, num_heads, width)
        self.norm = nn.GroupNorm(8, c1)
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
        """Denoises [B, n, block_size]: all blocks (n = num_blocks), or those that `block_index` [n] names."""
        batch, count, size = noisy.shape
        if block_index is None:
            block_index = torch.arange(count, device=noisy.device)
        tokens, mask, summary = self.text(tokens, mask, pooled)
        embedding = (self.time(timesteps) + summary)[:, None] + self.block_index(block_index)
        e = embedding.flatten(0, 1)
        x = self.stem(noisy.reshape(batch * count, 1, size))
        x = (x.unflatten(0, (batch, count)) + self.input_map[block_index]).flatten(0, 1)

        skip1 = x = self.down1_text(self.down1(x, e), tokens, mask)
        skip2 = x = self.down2_text(self.down2(self.to2(x), e), tokens, mask)
        skip3 = x = self.down3(self.to3(x), e)
        x = self.middle(x, tokens, mask)
        x = self.up3(torch.cat([x, skip3], 1), e)
        x = self.from3(F.interpolate(x, scale_factor=2.0))
        x = self.up2_text(self.up2(torch.cat([x, skip2], 1), e), tokens, mask)
        x = self.from2(F.interpolate(x, scale_factor=2.0))
        x = self.up1_text(self.up1(torch.cat([x, skip1], 1), e), tokens, mask)

        x = self.norm(x).unflatten(0, (batch, count))
        out = torch.einsum("bncl,nlcp->bnlp", x, self.output_map[block_index])
        return out.flatten(2) + self.output_bias[block_index]
