"""Layers that the denoisers share: sinusoidal embeddings, text conditioning with null states, attention."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def sinusoidal(positions: Tensor, width: int, max_period: float = 10000.0) -> Tensor:
    """Return the sinusoidal embedding of positions (any shape), [..., width]."""
    half = width // 2
    frequencies = torch.exp(-math.log(max_period) * torch.arange(half, device=positions.device) / half)
    angles = positions[..., None].float() * frequencies
    return torch.cat([angles.cos(), angles.sin()], -1)


class TimeEmbedding(nn.Module):
    """Timesteps [B] -> [B, width]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, timesteps: Tensor) -> Tensor:
        first = self.layers[0]
        return self.layers(sinusoidal(timesteps, first.in_features).to(first.weight.dtype))


class BlockIndexEmbedding(nn.Module):
    """Block indices [n] -> [n, width]: a projected sinusoid plus a learned vector per index."""

    def __init__(self, num_blocks: int, width: int) -> None:
        super().__init__()
        self.projection = nn.Linear(width, width)
        self.learned = nn.Parameter(torch.randn(num_blocks, width) * 0.02)

    def forward(self, block_index: Tensor) -> Tensor:
        waves = sinusoidal(block_index, self.projection.in_features).to(self.learned.dtype)
        return self.projection(waves) + self.learned[block_index]


class TextConditioning(nn.Module):
    """Text states -> tokens [B, L', width], key mask [B, L'] and a pooled vector [B, width].

    A text whose mask is all False means "no prompt": learned null states take its place. Positions that are
    padding in the whole batch are cut off.
    """

    def __init__(self, text_width: int, width: int) -> None:
        super().__init__()
        self.tokens = nn.Sequential(
            nn.LayerNorm(text_width), nn.Linear(text_width, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.pooled = nn.Sequential(nn.Linear(text_width, width), nn.SiLU(), nn.Linear(width, width))
        self.scale = text_width**0.5  # pooled vectors have unit length; bring them to unit variance
        self.null_token = nn.Parameter(torch.randn(width) * 0.02)
        self.null_pooled = nn.Parameter(torch.randn(width) * 0.02)

    def forward(self, tokens: Tensor, mask: Tensor, pooled: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        length = max(int(mask.sum(1).max()), 1)
        tokens, mask = tokens[:, :length], mask[:, :length]
        empty = ~mask.any(1)
        first = F.pad(empty[:, None], (0, length - 1))
        states = torch.where(first[..., None], self.null_token, self.tokens(tokens))
        summary = torch.where(empty[:, None], self.null_pooled, self.pooled(pooled * self.scale))
        return states, mask | first, summary


class TextReader(nn.Module):
    """Reads a request before any weight is predicted: learned queries and the text's tokens attend to each other.

    Tokens [B, L, width] and mask [B, L] go in; what the queries have gathered, [B, queries, width], comes out. A
    request names several effects in a few words each, and which words belong together is for the text to settle.
    """

    def __init__(self, width: int, heads: int, num_layers: int, queries: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.queries = nn.Parameter(torch.randn(queries, width) * 0.02)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 2 * width, dropout, F.gelu, batch_first=True, norm_first=True)
            for _ in range(num_layers)
        )

    def forward(self, tokens: Tensor, mask: Tensor, summary: Tensor) -> Tensor:
        count = len(self.queries)
        x = torch.cat([self.queries + summary[:, None], tokens], 1)
        padding = F.pad(~mask, (count, 0))
        # one mask for each query of each head: torch checks a mask of keys with sympy, which takes long to load
        unread = padding[:, None].expand(-1, x.shape[1], -1).repeat_interleave(self.heads, 0)
        for layer in self.layers:
            x = layer(x, src_mask=unread)
        return x[:, :count]


class Attention(nn.Module):
    """Multi-head attention of x [B, N, width] over itself or over `context` [B, M, context width]."""

    def __init__(self, width: int, heads: int, context_width: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(context_width or width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Attend to `x` or `context`; `mask` [B, M] is True where the context may be read."""
        query = self._split(self.query(x))
        key, value = (self._split(t) for t in self.key_value(x if context is None else context).chunk(2, -1))
        attended = F.scaled_dot_product_attention(
            query, key, value, attn_mask=None if mask is None else mask[:, None, None, :]
        )
        return self.out(attended.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class FeatureDropout(nn.Module):
    """Dropout on a gate [B, 1, width]: a feature is dropped at every position of a sample, at no cost."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, gate: Tensor) -> Tensor:
        return F.dropout(gate, self.p, self.training)


def mlp(width: int, ratio: float) -> nn.Sequential:
    """Return two linear layers with a SiLU between them, `ratio` times as wide inside."""
    hidden = int(width * ratio)
    return nn.Sequential(nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, width))
