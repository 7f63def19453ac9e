"""A zoo, models and pairs at toy size, made without training, for the tests of generation and fine-tuning."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from weightgen.denoisers import NETWORKS
from weightgen.model_folder import load_model_folder, save_model_folder, save_with_weights
from weightgen.normalize import BlockStatistics
from weightgen.objective import ObjectiveConfig, make_scheduler
from weightgen.ood import OOD_FILE, fit_ood_score
from weightgen.pairs.description import feature_root
from weightgen.text import load_text_encoder
from weightgen.training.data import load_zoo
from weightgen.training.paired import with_pairs
from zoo.adapters.lora import initial_adapter, load_base, save_base
from zoo.concepts import Concept, write_concepts
from zoo.files import sha256_file, write_json, write_text
from zoo.gans import gan_name
from zoo.gans.e2gan import E2ganConfig
from zoo.gans.patchgan import PatchGanConfig
from zoo.gans.solved import SolvedConfig
from zoo.layout import WeightLayout
from zoo.manifest import collect_manifest, write_manifest
from zoo.pictures.pairs import write_pairs
from zoo.records import WeightRecord, record_metadata
from zoo.shards import FORMATS, shard_name
from zoo.statistics import block_statistics, save_statistics
from zoo.tensors import save_discriminator

GAN = E2ganConfig(
    channels=(4, 4, 8, 8), lora_rank=2, attention_rank=1, heads=2, context_tokens=2, groups=2, image_size=16
)
SOLVED = SolvedConfig(3, 3, 3, 3, image_size=16, branches=("whole",), hidden=8, lora_rank=2)
COLOURS = ("red", "green", "blue", "grey", "warm", "cold", "dark", "pale")
DENOISERS = {
    "transformer": {"width": 16, "num_layers": 1, "num_heads": 2},
    "unet1d": {"width": 16, "channels": (8, 8, 8), "num_heads": 2, "patch_size": 4},
}


def make_zoo(path: Path, gan: E2ganConfig | SolvedConfig = GAN) -> Path:
    """A finished zoo of eight train and two validation concepts with random weights."""
    torch.manual_seed(0)
    generator = gan.build()
    save_base(path / "base" / "generator.safetensors", generator)
    save_discriminator(path / "base" / "discriminator.safetensors", PatchGanConfig(channels=(4, 8)).build())
    layout = WeightLayout.for_generator(generator, block_size=32)
    layout.save(path / "layout.json")
    start = layout.to_blocks({k: v[None] for k, v in initial_adapter(generator).items()})[0]
    splits = {"train": COLOURS, "validation": ("rosy", "navy")}
    write_json(path / "config.json", {"name": "toy"})
    write_text(path / "README.md", "# toy\n")
    concepts, records = [], {}
    for split, colours in splits.items():
        for colour in colours:
            texts = (f"make it {colour}", f"a {colour} look", f"paint it {colour}")
            concepts.append(Concept(colour, texts[0], texts[1:], split=split))
            noise = torch.randn(start.shape, generator=torch.Generator().manual_seed(len(concepts)))
            blocks = ((start + 0.05 * noise) * layout.mask).numpy().astype(np.float16)
            metrics = {"l1": 0.1, "l1_copy": 0.2, "psnr": 20.0, "kid": 0.0}
            record = WeightRecord(colour, texts[0], texts[1:], {}, split, 0, 1, 1, blocks, metrics)
            records.setdefault(split, []).append(record)
    write_concepts(path / "concepts.jsonl", concepts)
    base = sha256_file(path / "base" / "generator.safetensors")
    metadata = record_metadata(layout, base, "filters", "apache-2.0", gan_name(gan), "efficientnet-lite0")
    shards = FORMATS["parquet"]
    for split, members in records.items():
        shard = path / "weights" / shard_name(split, 0, 1, shards.SUFFIX)
        shards.write_shard(shard, members, layout, {**metadata, "weightzoo.split": split})
    save_statistics(path / "statistics.safetensors", block_statistics(iter(records["train"]), layout))
    write_manifest(path, collect_manifest(path))
    return path


def make_model(path: Path, zoo: Path, denoiser: str = "transformer", stage: str = "generated") -> Path:
    """A weight generator with random weights on a zoo of `make_zoo`."""
    data = load_zoo(zoo)
    torch.manual_seed(1)
    network = NETWORKS[denoiser](
        num_blocks=data.layout.num_blocks,
        block_size=data.layout.block_size,
        text_width=384,
        **DENOISERS[denoiser],
    )
    randomise(network)
    return save_model_folder(
        path,
        network,
        make_scheduler(ObjectiveConfig()),
        data.layout,
        BlockStatistics.from_blocks(data.blocks, data.layout.mask),
        data.base_generator,
        "minilm",
        {"stage": stage},
    )


def make_paired_model(path: Path, zoo: Path) -> Path:
    """A weight generator with random weights that reads pairs, on a zoo of solved networks."""
    model = load_model_folder(make_model(path.with_name(f"{path.name}-text"), zoo))
    base = load_base(model.base_generator_path)
    network = with_pairs(model.denoiser, base, ("colour", "whole"))
    randomise(network)
    network.pairs.root.copy_(feature_root(torch.rand(500, base.bank.num_features)))
    return save_with_weights(path, model, network, metadata=model.metadata | {"role": "paired", "stage": "paired"})


def add_ood_score(model: Path, zoo: Path) -> Path:
    """Gives a model of `make_model` the file of what it has learned, and returns its path."""
    texts, _ = load_zoo(zoo, "validation").evaluation_prompts()
    fit_ood_score(load_zoo(zoo).prompts, texts, load_text_encoder("minilm")).save(model / OOD_FILE)
    return model / OOD_FILE


def randomise(network: nn.Module) -> None:
    """Gives zero-initialised parameters values, so that the network's output depends on its input."""
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(std=0.1)


def make_pairs(path: Path, count: int = 6, size: int = 16, seed: int = 0) -> Path:
    """Pairs whose target is the darkened source."""
    sources = torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))
    write_pairs(path, [f"p{i}" for i in range(count)], sources, sources * 0.5)
    return path
