"""The pictures that the report opens with: what a few pairs make of a photograph, beside training for as long.

    stories = pair_stories(context)      # OUT/pictures/<concept>/{1-pairs, 4-pairs, 16-pairs, scratch}.png, made once

*Scratch* is trained from random weights on the most pairs, for the seconds that the network was generated in from
them. Reading files and editing the photograph do not count.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from weightgen.evaluation.cells import network_of
from weightgen.evaluation.context import EvaluationContext
from weightgen.evaluation.pair_methods import reader_of
from weightgen.finetuning.loop import FinetuneConfig, finetune_many
from weightgen.finetuning.measure import PairTensors
from weightgen.finetuning.starts import make_start
from weightgen.model_roles import PAIRED
from weightgen.pairs.closed_form import Pictures
from weightgen.report.pictures import Picture, photograph
from weightgen.report.tables import number, plural
from zoo.adapters.lora import save_base
from zoo.concepts import Concept
from zoo.files import read_json, write_json
from zoo.pictures.apply import apply_to_photo
from zoo.pictures.photo_file import open_image
from zoo.progress import track

PAIRS = (1, 4, 16)
EVERYDAY = "external"  # edits by other tools are nearest to what people bring


@dataclass(frozen=True)
class PairStory:
    """One concept: a photograph, its target, and what networks of more and more pairs make of it, scratch last."""

    concept: Concept
    source: Path
    target: Path
    edits: tuple[Picture, ...]


def pair_stories(context: EvaluationContext) -> list[PairStory]:
    """Edit a photograph of a few concepts from pairs alone; none where no model reads pairs."""
    if PAIRED not in context.config.models:
        return []
    grid = context.config.grid
    split = EVERYDAY if EVERYDAY in grid.splits else grid.splits[0]
    members = context.held_out.concepts(split, grid.concepts_per_split)
    chosen = [concept for concept in members if concept.id not in context.near_duplicates][: grid.picture_concepts]
    told = (story_of(context, concept) for concept in track(chosen, "rendering what pairs make", "concepts"))
    return [story for story in told if story is not None]


def story_of(context: EvaluationContext, concept: Concept) -> PairStory | None:
    """Return the story of one concept; None when there is no picture of it."""
    folder = context.out_dir / "pictures" / concept.id
    pair = photograph(context, concept, folder)
    there = context.held_out.count(concept.id, "train")
    counts = [count for count in PAIRS if count <= there]
    if pair is None or not counts:
        return None
    sources, targets = context.held_out.pairs(concept.id, "train", context.size, counts[-1])
    pictures = list(zip(sources, targets, strict=True))
    edits, seconds = [], 0.0
    for count in counts:
        making = partial(generated, context, pictures[:count])
        picture, seconds = edited(folder / f"{count}-pairs.png", making, plural(count, "pair"), *pair)
        edits.append(picture)
    making = partial(trained_from_scratch, context, sources, targets, seconds)
    picture, _ = edited(folder / "scratch.png", making, f"scratch, {plural(counts[-1], 'pair')}", *pair)
    return PairStory(concept, *pair, (*edits, picture))


def edited(
    path: Path, make: Callable[[], tuple[nn.Module, float]], name: str, source: Path, target: Path
) -> tuple[Picture, float]:
    """Return a photograph edited by the network that `make` gives, and the seconds that making it took; once."""
    about = path.with_suffix(".json")
    if not about.exists():
        network, seconds = make()
        weights = path.with_suffix(".safetensors")
        save_base(weights, network)
        apply_to_photo(weights, source, path)
        weights.unlink()
        write_json(about, {"seconds": round(seconds, 2), "l1": difference(path, target)})
    row = read_json(about)
    return Picture(path, f"{name}, {number(row['seconds'])} s: L1 {number(row['l1'])}"), row["seconds"]


def generated(context: EvaluationContext, pictures: Pictures) -> tuple[nn.Module, float]:
    """Return the network that is generated from pairs alone, and its seconds."""
    reader = reader_of(Path(context.config.models[PAIRED]))
    started = time.perf_counter()
    return reader.generate(pictures).generator, time.perf_counter() - started


def trained_from_scratch(
    context: EvaluationContext, sources: Tensor, targets: Tensor, seconds: float
) -> tuple[nn.Module, float]:
    """Return what pairs [N, 3, S, S] train from random weights in so many seconds."""
    pairs = sources[None], targets[None]
    config = FinetuneConfig(
        seconds=seconds,
        learning_rate=context.config.learning_rates.of("scratch", "full", len(sources)),
        feature_network=None,
        eval_every=1 << 30,  # at the beginning and the end
        seed=context.config.seed,
        device="cpu",
        keeps_state=False,
    )
    done = finetune_many(make_start("scratch", [[""]], context.origins), PairTensors(*pairs, *pairs), config)
    return network_of(done), seconds


def difference(edited: Path, target: Path) -> float:
    """Return the mean absolute difference of two pictures of one size, in [0, 1]."""
    first, second = (np.asarray(open_image(path).convert("RGB"), dtype=np.float32) for path in (edited, target))
    return round(float(np.abs(first - second).mean()) / 255, 6)
