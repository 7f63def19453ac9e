"""A synthetic zoo for the tests: blocks are a smooth function of the prompt, plus noise."""

import itertools
from pathlib import Path

import pytest
import torch

from weightgen.text import load_text_encoder
from weightgen.training.data import WeightDataset
from zoo.layout import Slot, WeightLayout

MEDIA = ["charcoal", "watercolour", "sepia", "neon", "pencil", "pastel", "winter", "sunset", "comic"]
COLOURS = ["red", "blue", "green", "golden", "purple", "grey", "teal"]
STRENGTHS = ["slightly", "very", "extremely"]
WORDINGS = ["a {} picture", "make it {}", "turn this photo into {}, please"]


@pytest.fixture(scope="session")
def make_dataset(tmp_path_factory):
    """make_dataset(num_concepts, num_blocks, block_size) -> WeightDataset, deterministic."""
    base = tmp_path_factory.mktemp("base") / "generator.safetensors"
    base.write_bytes(b"stands for a base generator")

    def make(num_concepts: int = 24, num_blocks: int = 4, block_size: int = 32, noise: float = 0.3):
        generator = torch.Generator().manual_seed(0)
        looks = list(itertools.product(STRENGTHS, MEDIA, COLOURS))
        chosen = torch.randperm(len(looks), generator=generator)[:num_concepts].tolist()
        prompts = [tuple(w.format(" ".join(looks[i])) for w in WORDINGS) for i in chosen]
        pooled = load_text_encoder("minilm").encode([p[0] for p in prompts]).pooled
        pooled = (pooled - pooled.mean(0)) / pooled.std(0).mean()
        hidden = torch.tanh(1.5 * pooled @ torch.randn(384, 32, generator=generator) / 384**0.5)
        signal = hidden @ torch.randn(32, num_blocks * block_size, generator=generator) / 32**0.5
        blocks = signal + noise * torch.randn(signal.shape, generator=generator)
        blocks = blocks.view(num_concepts, num_blocks, block_size) * 0.05
        blocks = blocks + torch.randn(num_blocks, block_size, generator=generator) * 0.1
        slots = [Slot(f"l{i}.weight", (block_size,), f"l{i}") for i in range(num_blocks - 1)]
        slots.append(Slot("last.weight", (block_size - 5,), "last"))  # the last block ends in padding
        layout = WeightLayout(tuple(slots), block_size)
        return WeightDataset(
            concept_ids=tuple(f"concept-{i}" for i in chosen),
            prompts=tuple(prompts),
            attributes=tuple({} for _ in prompts),
            blocks=blocks * layout.mask,
            layout=layout,
            base_generator=Path(base),
            base_sha256="0" * 64,
            name="synthetic",
        )

    return make
