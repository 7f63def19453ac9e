"""The zero-step methods that an evaluation compares: what turns a held-out concept's words into weights at once.

    methods = ZeroStepMethods(zoo_dir, {"generated": dir, "polished": dir})
    blocks = methods.blocks("kernel_ridge", concepts, prompts=1)      # [K, num_blocks, block_size]
    seconds = methods.seconds("polished", concept)        # {"load", "text", "generate", "merge", "total"}

A method is a baseline (`weightgen.finetuning.baselines`) or a weight generator by its role. Its weights are measured
as they come (`weightgen.evaluation.zero_step`), and fine-tuning starts from them.

With several prompts the baselines average the text embeddings and the denoisers the predicted weights; the
words are the same for every method. `copy`, `scratch` and `own` have no weights here: see `weightgen.evaluation.cells`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from weightgen.evaluation.grid import FEW_STEPS
from weightgen.evaluation.held_out_pairs import shuffled, wordings
from weightgen.finetuning import baselines
from weightgen.finetuning.baselines import BASELINES, Fitted, adapter_blocks
from weightgen.finetuning.starts import RANDOM
from weightgen.generate import generate
from weightgen.model_folder import ModelFolder, load_model_folder, text_encoder_of
from weightgen.normalize import BlockStatistics
from weightgen.text import TextEncoder, load_text_encoder
from weightgen.training.data import WeightDataset, load_zoo
from zoo.adapters.lora import initial_adapter, load_base, merge
from zoo.concepts import Concept
from zoo.errors import WeightzooError
from zoo.files import PathLike, read_json
from zoo.run import Zoo, open_zoo

T = TypeVar("T")


class ZeroStepMethods:
    """All methods that turn words into weights, each loaded once and when it is needed."""

    def __init__(self, zoo_dir: PathLike, models: Mapping[str, PathLike], seed: int = 0) -> None:
        self.zoo: Zoo = open_zoo(zoo_dir)
        self.models = {name: Path(path) for name, path in models.items()}
        self.seed = seed
        for name, path in self.models.items():
            info = read_json(path / "weightgen.json")
            if (
                info["layout_id"] != self.zoo.layout.id
                or info["base_sha256"] != self.zoo.manifest.base_sha256
            ):
                raise WeightzooError(
                    f"{name} ({path}) was trained on another zoo than {zoo_dir}; give that zoo"
                )

    @cached_property
    def base(self) -> nn.Module:
        return load_base(self.zoo.base_path)

    @cached_property
    def base_blocks(self) -> Tensor:
        return adapter_blocks(self.zoo.layout, initial_adapter(self.base))

    @cached_property
    def train(self) -> WeightDataset:
        return load_zoo(self.zoo.path, "train")

    @cached_property
    def block_statistics(self) -> BlockStatistics:
        """The statistics of the zoo's train records."""
        return BlockStatistics.from_blocks(self.train.blocks, self.zoo.layout.mask)

    @cached_property
    def validation(self) -> WeightDataset:
        return load_zoo(self.zoo.path, "validation")

    @cached_property
    def encoder(self) -> TextEncoder:
        return load_text_encoder(text_encoder_of(self.models))

    @cache  # noqa: B019 - one object lives as long as the evaluation
    def baseline(self, name: str) -> Fitted:
        """Fit a baseline on the zoo, its hyperparameters chosen on the validation split."""
        return baselines.fit(name, self.train, self.encoder, self.validation, self.base_blocks)

    @cache  # noqa: B019
    def model(self, name: str) -> ModelFolder:
        """Open the weight generator of that name."""
        return load_model_folder(self.models[name])

    def recipe(self, init: str) -> tuple[str, int] | None:
        """Return (model, denoising steps) of an init that comes from a weight generator; None if that is absent."""
        names = {
            "generated_few_steps": "generated",
            "shuffled": "polished" if "polished" in self.models else "generated",
        }
        name = names.get(init, init)
        return (name, FEW_STEPS if init == "generated_few_steps" else 1) if name in self.models else None

    def available(self, init: str) -> bool:
        """Return whether this init can be evaluated with the models at hand."""
        return init in ("copy", "scratch", "own", "pix2pix_unet", *BASELINES) or self.recipe(init) is not None

    def blocks(self, init: str, concepts: Sequence[Concept], prompts: int = 1) -> Tensor:
        """Return the weights for concepts by `init`, [K, num_blocks, block_size] float32."""
        read = shuffled(concepts) if init == "shuffled" else concepts
        words = [wordings(concept, prompts) for concept in read]
        if init in BASELINES:
            return self.baseline(init)(words).float()
        return self.generate(init, words)

    def generate(self, init: str, words: list[list[str]]) -> Tensor:
        """Return weights from a denoiser; the wordings of a concept give one prediction each, which are averaged."""
        recipe = self.recipe(init)
        if recipe is None:
            raise WeightzooError(
                f"no weight generator for {init!r}; known: {', '.join(self.models) or 'none'}"
            )
        name, steps = recipe
        # one step starts from zeros, as everywhere: at the last timestep the prediction is the mean given the text
        noise = torch.Generator().manual_seed(self.seed) if steps > 1 else None
        # held-out concepts are meant to be unfamiliar
        made = generate(self.model(name), words, num_inference_steps=steps, generator=noise, warn=False)
        return made.blocks.float()

    def samples(self, concepts: Sequence[Concept], networks: int) -> Tensor:
        """Sample several networks per concept by `generated` in few steps: [K, networks, num_blocks, block_size]."""
        words = [wordings(concept, 1) for concept in concepts]
        noise = torch.Generator().manual_seed(self.seed)
        output = generate(self.model("generated"), words, FEW_STEPS, generator=noise, num_networks=networks, warn=False)
        return output.blocks.float().unflatten(0, (len(concepts), networks))

    def seconds(self, init: str, concept: Concept, repeats: int = 3) -> dict[str, float]:
        """Measure what a method costs before the first training step, for one concept, on fresh objects.

        Loading is the base generator, the text encoder and the model. Imports are not counted (every start
        needs torch), nor is fitting a baseline, which happens once per zoo. Generation and merging are
        medians.
        """
        words = [wordings(concept, 1)]
        load, base = clock(lambda: load_base(self.zoo.base_path))
        if init in RANDOM:
            build = clock(lambda: base.config.build())[0]
            return {"load": 0.0, "text": 0.0, "generate": build, "merge": 0.0, "total": build}
        text = making = 0.0
        if init not in ("base", "mean"):
            load_text_encoder.cache_clear()
            seconds, encoder = clock(lambda: load_text_encoder(self.encoder.name))
            encoder.encode(["a first text, to warm up"])
            load += seconds
            text = clock(lambda: encoder.encode(words[0]))[0]
        if init in BASELINES:
            self.blocks(init, [concept])
            making = median_clock(lambda: self.blocks(init, [concept]), repeats)
        elif (recipe := self.recipe(init)) is not None:
            folder = self.models[recipe[0]]
            load += clock(lambda: load_model_folder(folder))[0]
            self.generate(init, words)
            making = median_clock(lambda: self.generate(init, words), repeats)
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
