"""The joint denoiser: every block of a network is one position of a transformer, so blocks can agree.

Blocks attend to each other and to the text's tokens (with `text_layers`, to what a small transformer has gathered
from them). Time and pooled text modulate every layer (adaLN-zero:
one shared projection, a learned offset per layer). Each block index has its own matrix between block and
position, used both ways: a place in one block and in another are different weights, nothing to share. A network that
reads pairs (`pair_features`) has one more such matrix for what they say of the edit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from weightgen.denoisers.layers import (
    Attention,
    BlockIndexEmbedding,
    FeatureDropout,
    TextConditioning,
    TextReader,
    TimeEmbedding,
    mlp,
)
from weightgen.denoisers.pairs import PairConditioning

if TYPE_CHECKING:
    from weightgen.pairs.description import Edits


class TransformerLayer(nn.Module):
    """Attention and MLP over [B, num_blocks, width], shifted, scaled and gated by `modulation` [B, 6, width].

    Every block attends to all blocks and to the text's tokens [B, L, width] (`mask` [B, L + num_blocks]).
    """

    def __init__(self, width: int, heads: int, mlp_ratio: float, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.attention = Attention(width, heads)
        self.mlp_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.mlp = mlp(width, mlp_ratio)
        self.dropout = FeatureDropout(dropout)
        self.offset = nn.Parameter(torch.zeros(6, width))

    def forward(self, x: Tensor, tokens: Tensor, mask: Tensor, modulation: Tensor) -> Tensor:
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = (modulation + self.offset)[:, :, None].unbind(1)
        normed = torch.addcmul(shift_a, self.attention_norm(x), 1 + scale_a)
        attended = self.attention(normed, torch.cat([tokens, normed], 1), mask)
        x = torch.addcmul(x, attended, self.dropout(gate_a))
        changed = self.mlp(torch.addcmul(shift_m, self.mlp_norm(x), 1 + scale_m))
        return torch.addcmul(x, changed, self.dropout(gate_m))


class TransformerNetwork(nn.Module):
    """Denoises all blocks of a network together; the module says how, `weightgen.denoisers` what is passed.

    Args:
        pooled_at_input: add the text's summary to every position. Networks from before this option were trained
            without, and `weightgen.model_folder` loads them so.
        text_layers: layers of the small transformer that reads the text; 0 shows its tokens as they are.
        text_queries: what that transformer gathers the text in.
        pair_features: features of the output layer that is solved on pairs; 0: the network reads text alone.
        pair_hidden: how many of these are ReLUs of the generated network.
        pair_shared, pair_shared_hidden: branches that all edits share, and the ReLUs of each.
    """

    independent_blocks = False

    def __init__(
        self,
        num_blocks: int,
        block_size: int = 256,
        text_width: int = 384,
        width: int = 160,
        num_layers: int = 4,
        num_heads: int = 5,
        mlp_ratio: float = 2.0,
        dropout: float = 0.1,
        pooled_at_input: bool = True,
        text_layers: int = 0,
        text_queries: int = 8,
        pair_features: int = 0,
        pair_hidden: int = 0,
        pair_shared: Sequence[str] = (),
        pair_shared_hidden: int = 0,
    ) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {
            "num_blocks": num_blocks, "block_size": block_size, "text_width": text_width, "width": width,
            "num_layers": num_layers, "num_heads": num_heads, "mlp_ratio": mlp_ratio, "dropout": dropout,
            "pooled_at_input": pooled_at_input, "text_layers": text_layers, "text_queries": text_queries,
            "pair_features": pair_features, "pair_hidden": pair_hidden,
            "pair_shared": list(pair_shared), "pair_shared_hidden": pair_shared_hidden,
        }  # fmt: skip
        self.pooled_at_input = pooled_at_input
        self.time = TimeEmbedding(width)
        self.text = TextConditioning(text_width, width)
        self.reader = TextReader(width, num_heads, text_layers, text_queries, dropout) if text_layers else None
        sizes = (num_blocks, block_size, width, pair_features, pair_hidden, pair_shared, pair_shared_hidden)
        self.pairs = PairConditioning(*sizes) if pair_features else None
        self.block_index = BlockIndexEmbedding(num_blocks, width)
        self.matrices = nn.Parameter(torch.randn(num_blocks, width, block_size) * 0.1 * width**-0.5)
        self.output_bias = nn.Parameter(torch.zeros(num_blocks, block_size))
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        nn.init.zeros_(self.modulation[1].weight)
        nn.init.zeros_(self.modulation[1].bias)
        self.layers = nn.ModuleList(TransformerLayer(width, num_heads, mlp_ratio, dropout) for _ in range(num_layers))
        self.norm = nn.LayerNorm(width)
        self.register_buffer("indices", torch.arange(num_blocks), persistent=False)

    def forward(
        self,
        noisy: Tensor,
        timesteps: Tensor,
        tokens: Tensor,
        mask: Tensor,
        pooled: Tensor,
        edits: Edits | None = None,
    ) -> Tensor:
        """Denoise [B, num_blocks, block_size]; the face of all denoisers (see `weightgen.denoisers`)."""
        tokens, mask, summary = self.text(tokens, mask, pooled)
        if self.reader is not None:
            tokens = self.reader(tokens, mask, summary)
            mask = mask.new_ones(tokens.shape[:2])
            summary = summary + tokens.mean(1)
        x = torch.bmm(noisy.transpose(0, 1), self.matrices.transpose(1, 2)).transpose(0, 1)
        if self.pairs is not None:
            of_blocks, of_all = self.pairs(edits)
            x, summary = x + of_blocks, summary + of_all
        modulation = self.modulation(self.time(timesteps) + summary).unflatten(-1, (6, -1))
        x = x + self.block_index(self.indices)
        if self.pooled_at_input:
            x = x + summary[:, None]
        mask = torch.cat([mask, mask.new_ones(x.shape[:2])], 1)
        for layer in self.layers:
            x = layer(x, tokens, mask, modulation)
        return torch.bmm(self.norm(x).transpose(0, 1), self.matrices).transpose(0, 1) + self.output_bias
