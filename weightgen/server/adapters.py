"""Adapters by id.

g-MODEL-RECIPE   generated: kept, or made (again) by its recipe, in one batch with what else is requested
c-CONCEPT        the zoo's own adapter of a concept
j-JOB            what a fine-tuning job has made
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from pathlib import Path

from weightgen.server.batching import Batcher
from weightgen.server.engine import Engine
from weightgen.server.finetuning.jobs import Jobs
from weightgen.server.limits import Limits
from weightgen.server.measures import Measures
from weightgen.server.problems import Problem
from weightgen.server.schemas import Recipe
from zoo.adapters.lora import Adapter


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
            return self.jobs.result(name)
        recipe = Recipe.from_id(adapter, self.engine.fingerprint)
        self.measures.cache.labels("hit" if recipe in self.batcher.results else "miss").inc()
        return await self.batcher.submit(recipe)

    def about(self, adapter: str) -> dict[str, str]:
        """Return what the file of an adapter says about itself."""
        kind, _, name = adapter.partition("-")
        if kind == "c":
            return {"prompt": self.engine.members.by_id[name].prompt, "concept_id": name}
        return {"prompt": Recipe.from_id(adapter, self.engine.fingerprint).prompt, "adapter_id": adapter}
