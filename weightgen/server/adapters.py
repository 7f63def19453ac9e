"""Adapters by id.

g-MODEL-RECIPE   generated: kept, or made (again) by its recipe, in one batch with what else is requested
c-CONCEPT        the zoo's own adapter of a concept
m-MODEL-PARTS    several of the others, added up with weights
j-JOB            the best network that a fine-tuning job has made so far
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from fractions import Fraction
from pathlib import Path
from typing import Any

from weightgen.server.batching import Batcher
from weightgen.server.engine import Engine
from weightgen.server.finetuning.jobs import Jobs
from weightgen.server.limits import Limits
from weightgen.server.measures import Measures
from weightgen.server.problems import Problem
from weightgen.server.schemas import Mixture, Part, Recipe
from zoo.adapters.lora import Adapter
from zoo.adapters.weighted_sum import account


class Adapters:
    """Where adapters come from; those that were generated last are kept.

    Args:
        executor: one thread, in which the weight generator runs.
    """

    def __init__(self, engine: Engine, jobs: Jobs, executor: Executor, limits: Limits, measures: Measures) -> None:
        self.engine, self.jobs, self.measures = engine, jobs, measures
        self.batcher: Batcher[Recipe, Adapter] = Batcher(
            engine.generate, Recipe.batch_key, executor, limits.batch, limits.adapters, measures.batches.observe
        )

    def id(self, recipe: Recipe) -> str:
        return recipe.id(self.engine.fingerprint)

    async def find(self, adapter: str) -> Adapter | Path:
        """Return what an id stands for: tensors, or the folder of a fine-tuned generator.

        Raises:
            Problem: 404, 409 or 410 when there is no such adapter, not yet, or no longer.
        """
        kind, _, name = adapter.partition("-")
        if kind == "c":
            if name not in self.engine.members.by_id:
                raise Problem(404, "the zoo has no such concept; see GET /v1/concepts")
            return await asyncio.to_thread(self.engine.concept, name)
        if kind == "j":
            return self.jobs.network(name)
        if kind == "m":
            return await self.mixed(Mixture.from_id(adapter, self.engine.fingerprint))
        recipe = Recipe.from_id(adapter, self.engine.fingerprint)
        self.measures.cache.labels("hit" if recipe in self.batcher.results else "miss").inc()
        return await self.batcher.submit(recipe)

    async def mixed(self, mixture: Mixture) -> Adapter:
        """Return the mixture of what its parts stand for.

        Raises:
            Problem: as `find`; 422 for a part that is no single adapter.
        """
        found: list[Any] = await asyncio.gather(*(self.find(self.part_id(part)) for part in mixture.parts))
        parts = [(adapter, weight_of(part)) for adapter, part in zip(found, mixture.parts, strict=True)]
        return await asyncio.to_thread(self.engine.mix, parts)

    def part_id(self, part: Part) -> str:
        """Return the id of a part of a mixture.

        Raises:
            Problem: 422 for a part that is a mixture, or a fine-tuned network.
        """
        if part.prompt is not None:
            return self.id(Recipe(prompt=part.prompt))
        named = str(part.adapter)
        if named.startswith("m-"):
            raise Problem(422, "a part is a mixture itself; give its parts instead")
        if named.startswith("j-"):
            raise Problem(422, "a job's result is mixed by `weightzoo mix`; fetch it by GET /v1/finetune/JOB/result")
        return named

    def about(self, adapter: str) -> dict[str, str]:
        """Return what the file of an adapter says about itself."""
        kind, _, name = adapter.partition("-")
        if kind == "c":
            return {"prompt": self.engine.members.by_id[name].prompt, "concept_id": name}
        if kind == "m":
            parts = Mixture.from_id(adapter, self.engine.fingerprint).parts
            names = [self.about(self.part_id(part))["prompt"] for part in parts]
            return {"prompt": account(names, [weight_of(part) for part in parts])["prompt"], "adapter_id": adapter}
        return {"prompt": Recipe.from_id(adapter, self.engine.fingerprint).prompt, "adapter_id": adapter}


def weight_of(part: Part) -> Fraction:
    """Return a weight as it is written: 0.1 is a tenth."""
    return Fraction(str(part.weight))
