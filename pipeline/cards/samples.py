"""A picture of what some networks of a zoo do, for its card: test photographs, and below them each network's output.

    picture, concept_ids = sample_picture("runs/small", manifest)      # WebP

Only the embedded photographs are ever shown; those of a team's own folder may not be anybody else's business.
"""

import io
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from pipeline.fleets.shared import photographs
from pipeline.run_folder.private_paths import read_config
from pipeline.sources import EMBEDDED, crops
from zoo.adapters.lora import load_base
from zoo.layout import WeightLayout
from zoo.manifest import ZooManifest
from zoo.records import WeightRecord
from zoo.shards import read_shard
from zoo.training.train_gan import run_generators

SAMPLES_FILE = "pictures/samples.webp"
QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)  # of own L1: which networks are shown
COLUMNS, SIDE, GAP = 6, 128, 4  # photographs, and pixels


def sample_picture(run_dir: Path, manifest: ZooManifest) -> tuple[bytes, list[str]] | None:
    """Return the picture and the concept ids of its rows; `None` without records or with own photographs."""
    config = read_config(run_dir)
    chosen = _chosen(run_dir, manifest)
    if not chosen or config.test_photos not in EMBEDDED:
        return None
    layout = WeightLayout.load(run_dir / "layout.json")
    generator = load_base(run_dir / "base" / "generator.safetensors")
    sources = crops(photographs(config, "test"), COLUMNS, config.image_size, config.seed + 1)
    blocks = torch.stack([torch.from_numpy(record.blocks.astype("float32")) for record in chosen])
    with torch.no_grad():
        after = run_generators(generator, layout.from_blocks(blocks), sources)
    return _grid([sources, *after.clamp(0, 1)]), [record.concept_id for record in chosen]


def _chosen(run_dir: Path, manifest: ZooManifest) -> list[WeightRecord]:
    """Return the records at `QUANTILES` of own L1."""
    ranked = sorted(
        (record.metrics["l1"], record.concept_id, entry.name)
        for entry in manifest.shards
        for record in read_shard(run_dir / entry.name)[0]
    )
    places = dict.fromkeys(ranked[int(q * len(ranked))] for q in QUANTILES) if ranked else {}
    return [
        next(record for record in read_shard(run_dir / shard)[0] if record.concept_id == name)
        for _, name, shard in places
    ]


def _grid(rows: list[Tensor]) -> bytes:
    """Return rows of images [N, 3, S, S] in [0, 1] as one WebP on white."""
    step = SIDE + GAP
    sheet = Image.new("RGB", (COLUMNS * step - GAP, len(rows) * step - GAP), "white")
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()
            tile = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            sheet.paste(tile, (x * step, y * step))
    data = io.BytesIO()
    sheet.save(data, "WEBP", quality=85, method=4)
    return data.getvalue()
