"""The data card of a zoo: README.md with a YAML header that `datasets` and the Hub read.

:func:`data_card` fills `data_cards/zoo.md` from the manifest, the records and the frozen config; no figure
in it is typed by hand. :func:`card_files` adds a picture of what some of the networks do.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.build_config import BuildConfig
from pipeline.cards.samples import SAMPLES_FILE, sample_picture
from pipeline.cards.tables import Table, record_features, table_yaml
from pipeline.fleets.shared import PHOTOGRAPHS_FILE
from pipeline.run_folder.private_paths import read_config
from pipeline.sources import attribution
from zoo.concepts import Concept, read_concepts
from zoo.files import PathLike, read_json
from zoo.layout import WeightLayout
from zoo.manifest import ZooManifest, load_manifest, read_rejected
from zoo.records import METRICS, WeightRecord
from zoo.shards import read_shard
from zoo.words import plural

TEMPLATES = Path(__file__).resolve().parents[2] / "data_cards"
MAX_LISTED = 500  # concepts in the card; all of them are in concepts.jsonl
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
METRIC_NAMES = {"l1": "L1", "l1_copy": "L1 of copy", "psnr": "PSNR (dB)", "kid": "KID"}


def card_files(run_dir: PathLike, repo: str) -> dict[str, bytes]:
    """Return what is published beside the files of the manifest: the card, and its picture where there is one."""
    run_dir = Path(run_dir)
    manifest = load_manifest(run_dir)
    sample = sample_picture(run_dir, manifest)
    if sample is None:
        return {"README.md": data_card(run_dir, manifest, repo).encode()}
    picture, names = sample
    rows = "\n".join(f"{i}. `{name}`" for i, name in enumerate(names, 1))
    shown = (
        "First row: test photographs. Below, what networks of this dataset make of them, from a good one to a poor "
        f"one by their L1:\n\n![photographs before and after]({SAMPLES_FILE})\n\n{rows}"
    )
    return {"README.md": data_card(run_dir, manifest, repo, pictures=shown).encode(), SAMPLES_FILE: picture}


def data_card(
    run_dir: Path, manifest: ZooManifest, repo: str | None = None, notes: str = "", pictures: str = ""
) -> str:
    """Return the card of a finished run folder.

    Args:
        manifest: its manifest (collected, not yet written).
        repo: the Hub repository that the examples name; default: the zoo's name.
        notes: more about the quality, such as own L1 against training from scratch; ends its section.
        pictures: Markdown that shows some; ends the section of what is inside.
    """
    config = read_config(run_dir)
    layout = WeightLayout.load(run_dir / "layout.json")
    concepts = read_concepts(run_dir / "concepts.jsonl")
    records = [_light(record) for entry in manifest.shards for record in read_shard(run_dir / entry.name)[0]]
    rejected = read_rejected(run_dir)
    fields = {
        "manifest": manifest,
        "config": config,
        "layout": layout,
        "pretty_name": json.dumps(manifest.name, ensure_ascii=False),
        "licence_id": licence_id(manifest.licence),
        "size_category": next((name for limit, name in SIZES if manifest.counts["ok"] < limit), "n>1M"),
        "ok": manifest.counts["ok"],
        "gate_limit": f"{config.gate_factor * config.median_l1:.4f}",
        "torch_version": torch.__version__.split("+")[0],
        "repo": repo or manifest.name,
        "notes": notes,
        "pictures": pictures,
        "tables": table_yaml([_table(manifest, layout)]),
        "example": _example(manifest, layout, repo or manifest.name),
        "split_table": _split_table(manifest),
        "examples": "; ".join(f'"{_one_line(concept.prompt)}"' for concept in concepts[:6]),
        "concept_list": _concept_list(concepts),
        "quality_table": _quality_table(records),
        "histogram": _histogram([record.metrics["l1"] for record in records]),
        "retried": sum(record.attempt > 1 for record in records),
        "rejected_table": _rejected_table(concepts, rejected),
        "reasons": _reasons(rejected),
        **_photographs(read_json(run_dir / PHOTOGRAPHS_FILE), config),
    }
    text = (TEMPLATES / "zoo.md").read_text(encoding="utf-8").format(**fields)
    return text.replace("\n\n\n", "\n\n")  # where a field is empty


def licence_id(licence: str) -> str:
    """Return a licence's identifier in the Hub's list; `other` for a licence that is given in words."""
    return licence.lower() if re.fullmatch(r"[\w.-]+", licence) else "other"


def _light(record: WeightRecord) -> WeightRecord:
    """Return the record without its weights, so that a card of a large zoo fits in memory."""
    values = {**vars(record), "blocks": record.blocks[:0].copy()}
    return WeightRecord(**values)


def _splits(manifest: ZooManifest) -> list[str]:
    return list(dict.fromkeys(entry.split for entry in manifest.shards))


def _table(manifest: ZooManifest, layout: WeightLayout) -> Table:
    """Return the records as a reader of `datasets` sees them."""
    from datasets import SplitInfo

    suffix = Path(manifest.shards[0].name).suffix
    files = {split: f"weights/{split}-*{suffix}" for split in _splits(manifest)}
    sizes = [SplitInfo(split, size, records) for split, records, _, size in _split_sizes(manifest)]
    return Table("weights", files, record_features(layout, _is_parquet(manifest)), sizes)


def _is_parquet(manifest: ZooManifest) -> bool:
    return manifest.shards[0].name.endswith(".parquet")


def _example(manifest: ZooManifest, layout: WeightLayout, repo: str) -> str:
    """Return code that reads the blocks without weightzoo."""
    shape = f"{layout.num_blocks}, {layout.block_size}"
    parquet = _is_parquet(manifest)
    split = _splits(manifest)[0]
    decode = (
        f'np.frombuffer(row["blocks"], "<f2").reshape({shape})  # float16'
        if parquet
        else f'safetensors.numpy.load(row["safetensors"])["blocks"]  # float16 [{shape}]'
    )
    return (
        f"import {'numpy as np' if parquet else 'safetensors.numpy'}\nfrom datasets import load_dataset\n\n"
        f'for row in load_dataset("{repo}", "weights", split="{split}", streaming=True):\n    blocks = {decode}'
    )


def _one_line(text: str) -> str:
    """Return the text of a concept as it may stand in Markdown."""
    return " ".join(text.replace("`", "'").replace("|", "/").split())


def _concept_list(concepts: Sequence[Concept]) -> str:
    lines = [f"- `{concept.id}` ({concept.split}): {_one_line(concept.prompt)}" for concept in concepts[:MAX_LISTED]]
    more = len(concepts) - MAX_LISTED
    return "\n".join(lines + ([f"- and {more} more in `concepts.jsonl`"] if more > 0 else []))


def _split_sizes(manifest: ZooManifest) -> Iterator[tuple[str, int, int, int]]:
    """Yield each split with its records, shards and bytes."""
    for split in _splits(manifest):
        entries = [entry for entry in manifest.shards if entry.split == split]
        yield split, sum(entry.records for entry in entries), len(entries), sum(entry.bytes for entry in entries)


def _split_table(manifest: ZooManifest) -> str:
    return "\n".join(
        f"| {split} | {records} | {shards} | {size / 1e6:.2f} |"
        for split, records, shards, size in _split_sizes(manifest)
    )


def _quality_table(records: Sequence[WeightRecord]) -> str:
    lines = []
    for key in METRICS if records else ():
        values = np.quantile([record.metrics[key] for record in records], (0.1, 0.5, 0.9))
        lines.append(f"| {METRIC_NAMES[key]} | " + " | ".join(f"{value:.4g}" for value in values) + " |")
    return "\n".join(lines)


def _histogram(values: Sequence[float], bins: int = 10, width: int = 40) -> str:
    """Return a histogram in text, one line a bin."""
    if not values:
        return "(no record)"
    counts, edges = np.histogram(values, bins=bins)
    largest = counts.max()
    return "\n".join(
        f"{low:.3f} - {high:.3f} {count:6d} {'#' * round(width * count / largest)}".rstrip()
        for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True)
    )


def _rejected_table(concepts: Sequence[Concept], rejected: Sequence[dict[str, Any]]) -> str:
    """Return concepts by strength and fate; those whose strength is no number come last, in one row."""
    status = {row["concept_id"]: row["status"] for row in rejected}
    table: dict[float, Counter[str]] = {}
    for concept in concepts:
        table.setdefault(_strength(concept), Counter())[status.get(concept.id, "ok")] += 1
    return "\n".join(
        f"| {f'{strength:g}' if strength < math.inf else 'other'} | {row.total()} | {row['ok']} "
        f"| {row['rejected']} | {row['failed']} |"
        for strength, row in sorted(table.items())
    )


def _strength(concept: Concept) -> float:
    """Return the strength of a concept; infinity where a team means something else by that name."""
    try:
        strength = float(concept.attributes.get("strength", 1.0))
    except (TypeError, ValueError):
        return math.inf
    return strength if math.isfinite(strength) else math.inf


def _reasons(rejected: Sequence[dict[str, Any]]) -> str:
    """Return up to ten rejected concepts with their reasons."""
    lines = [f"- `{row['concept_id']}` ({row['status']}): {row['reason']}" for row in rejected[:10]]
    more = [f"- and {len(rejected) - 10} more in `rejected/`"] if len(rejected) > 10 else []
    return "\n".join(lines + more) or "Nothing was rejected."


def _photographs(hashes: dict[str, dict[str, Any]], config: BuildConfig) -> dict[str, str]:
    """Return what the card says of the photographs that were hashed; those of a team's own folder by name only."""
    if own := hashes.get("pairs"):
        files, concepts = plural(sum(map(len, own.values())), "file"), plural(len(own), "concept")
        about = f"the makers' own pairs: {files} of {concepts}, by name in `{PHOTOGRAPHS_FILE}`"
        return {"photographs": f"  - {about}", "trained_on": "its makers' own pairs"}
    known = {row["file"]: row for row in attribution()}
    lines = []
    for part, where in (("train", config.train_photos), ("test", config.test_photos)):
        for name in hashes[part]:
            row = known.get(f"{where}/{name}")
            about = f"{row['title']}, {row['author']}, {row['licence']}" if row else name
            lines.append(f"  - {part}: {about}")
    count = len({*hashes["train"].items(), *hashes["test"].items()})
    return {"photographs": "\n".join(lines), "trained_on": plural(count, "photograph")}
