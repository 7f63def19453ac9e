"""Random text states of MiniLM's shape: for benchmarks of networks that read them, where the encoder is not needed.

encoder = RandomText()
states = encoder.encode(["a charcoal drawing"])     # the same for the same prompt
"""

import zlib

import torch
from torch import Tensor
from torch.nn import functional as F

from weightgen.text import MAX_LENGTH, MiniLMEncoder, TextEncoder


class RandomText(TextEncoder):
    """An encoder without weights: as many tokens as words and two more, as MiniLM makes of short ones."""

    name = "random"
    width = MiniLMEncoder.width

    def _encode(self, prompts: list[str]) -> tuple[Tensor, Tensor, Tensor]:
        lengths = torch.tensor([min(len(prompt.split()) + 2, MAX_LENGTH) for prompt in prompts])
        mask = torch.arange(int(lengths.max())) < lengths[:, None]
        tokens = torch.zeros(*mask.shape, self.width)
        for row, prompt, length in zip(tokens, prompts, lengths.tolist(), strict=True):
            draw = torch.Generator().manual_seed(zlib.crc32(prompt.encode()))
            row[:length] = torch.randn(length, self.width, generator=draw)
        return tokens, mask, F.normalize(tokens.sum(1), dim=-1)
