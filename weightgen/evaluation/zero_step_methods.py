"""The zero-step methods that an evaluation compares: what turns a held-out concept's words into weights at once.

    origins = Origins(zoo_dir, {"generated": dir, "polished": dir})
    blocks = start_blocks(origins, "kernel_ridge", concepts, prompts=1)      # [K, num_blocks, block_size]
    seconds = start_seconds(origins, "polished", concept)        # {"load", "text", "generate", "merge", "total"}

A method is a baseline (`weightgen.finetuning.baselines`) or a weight generator by its role. Its weights are measured
as they come (`weightgen.evaluation.zero_step`), and fine-tuning starts from them. Beside these stand closed forms on
example pairs (`weightgen.finetuning.closed_forms`), which read no words.

With several prompts the baselines average the text embeddings and the denoisers the predicted weights; the
words are the same for every method. `WITHOUT_WEIGHTS` have none here: see `weightgen.evaluation.cells`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from weightgen.evaluation.grid import FEW_STEPS, FROM_PAIRS, PAIR_METHODS
from weightgen.evaluation.held_out_pairs import shuffled, wordings
from weightgen.finetuning.baselines import BASELINES
from weightgen.finetuning.origins import Origins
from weightgen.finetuning.starts import RANDOM
from weightgen.generate import generate
from weightgen.model_folder import load_model_folder
from weightgen.model_roles import PAIRED
from weightgen.text import load_text_encoder
from zoo.adapters.lora import initial_adapter, load_base, merge
from zoo.concepts import Concept
from zoo.errors import WeightzooError
from zoo.files import read_json

T = TypeVar("T")
WITHOUT_WEIGHTS = ("copy", "own", *RANDOM, *PAIR_METHODS)


def check_models(origins: Origins) -> None:
    """Raise WeightzooError for a weight generator of another zoo; no weights are read."""
    for name, path in origins.models.items():
        info = read_json(path / "weightgen.json")
        wanted = (origins.zoo.layout.id, origins.zoo.manifest.base_sha256)
        if (info["layout_id"], info["base_sha256"]) != wanted:
            raise WeightzooError(
                f"{name} ({path}) was trained on another zoo than {origins.zoo_path}; give that zoo with --data, or "
                "train a model on this one"
            )


def recipe(origins: Origins, init: str) -> tuple[str, int] | None:
    """Return (model, denoising steps) of an init that comes from a weight generator; None if that is absent."""
    names = {
        "generated_few_steps": "generated",
        "shuffled": "polished" if "polished" in origins.models else "generated",
    }
    name = names.get(init, init)
    return (name, FEW_STEPS if init == "generated_few_steps" else 1) if name in origins.models else None


def is_available(origins: Origins, init: str) -> bool:
    """Return whether this init can be evaluated with the models at hand."""
    if init in FROM_PAIRS:
        return PAIRED in origins.models
    return init in (*WITHOUT_WEIGHTS, *BASELINES) or recipe(origins, init) is not None


def start_blocks(origins: Origins, init: str, concepts: Sequence[Concept], prompts: int = 1) -> Tensor:
    """Return the weights for concepts by `init`, [K, num_blocks, block_size] float32."""
    read = shuffled(concepts) if init == "shuffled" else concepts
    words = [wordings(concept, prompts) for concept in read]
    return origins.baseline(init)(words).float() if init in BASELINES else generated_blocks(origins, init, words)


def generated_blocks(origins: Origins, init: str, words: list[list[str]], networks: int = 1) -> Tensor:
    """Return weights from a denoiser; the wordings of a concept give one prediction each, which are averaged.

    Args:
        networks: of each concept, side by side.
    """
    found = recipe(origins, init)
    if found is None:
        raise WeightzooError(f"no weight generator for {init!r}; known: {', '.join(origins.models) or 'none'}")
    name, steps = found
    # one step starts from zeros, as everywhere: at the last timestep the prediction is the mean given the text
    noise = torch.Generator().manual_seed(origins.seed) if steps > 1 else None
    # held-out concepts are meant to be unfamiliar
    made = generate(origins.model(name), words, steps, generator=noise, num_networks=networks, warn=False)
    return made.blocks.float()


def start_seconds(origins: Origins, init: str, concept: Concept, repeats: int = 3) -> dict[str, float]:
    """Measure what a method costs before the first training step, for one concept, on fresh objects.

    Loading is the base generator, the text encoder and the model. Imports are not counted (every start needs torch),
    nor is fitting a baseline, which happens once per zoo. Generation and merging are medians.
    """
    words = [wordings(concept, 1)]
    load, base = clock(lambda: load_base(origins.zoo.base_path))
    if init in RANDOM:
        build = clock(lambda: base.config.build())[0]
        return {"load": 0.0, "text": 0.0, "generate": build, "merge": 0.0, "total": build}
    text = making = 0.0
    if init not in ("base", "mean"):
        load_text_encoder.cache_clear()
        seconds, encoder = clock(lambda: load_text_encoder(origins.encoder.name))
        encoder.encode(["a first text, to warm up"])
        load += seconds
        text = clock(lambda: encoder.encode(words[0]))[0]
    if found := recipe(origins, init):
        load += clock(lambda: load_model_folder(origins.models[found[0]]))[0]
    if found or init in BASELINES:
        start_blocks(origins, init, [concept])  # to warm up
        making = median_clock(lambda: start_blocks(origins, init, [concept]), repeats)
    adapter = initial_adapter(base)
    merging = median_clock(lambda: merge(base, adapter), repeats)
    parts = {"load": load, "text": text, "generate": making, "merge": merging}
    return {**parts, "total": sum(parts.values())}


def clock(action: Callable[[], T]) -> tuple[float, T]:
    """Return (seconds, result) of one call."""
    started = time.perf_counter()
    result = action()
    return time.perf_counter() - started, result


def median_clock(action: Callable[[], object], repeats: int) -> float:
    """Return the median seconds of several runs of `action`."""
    return statistics.median(clock(action)[0] for _ in range(repeats))
