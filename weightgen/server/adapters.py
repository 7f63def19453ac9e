"""Adapters by id.

g-MODEL-RECIPE   generated: in the cache, or made (again) by its recipe, in one batch with what else is asked for
c-CONCEPT        the zoo's own adapter of a concept
j-JOB            what a fine-tuning job has made
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from weightgen.server.batching import Batcher
from weightgen.server.engine import Engine
from weightgen.server.finetuning.jobs import Jobs
from weightgen.server.measures import Measures
from weightgen.server.problems import Problem
from weightgen.server.schemas import Recipe
from zoo.adapters.lora import Adapter


@dataclass(eq=False)
class Coming:
    """An adapter that is being made, and how many requests wait for it."""

    task: asyncio.Task[Adapter]
    waiters: int = 0


class Adapters:
    """The cache of adapters and where they come from.

    Args:
        executor: one thread, in which the weight generator runs.
        most: adapters that are kept; the one that was not used for longest goes first.
    """

    def __init__(
        self, engine: Engine, jobs: Jobs, executor: Executor, most: int, batch: int, measures: Measures
    ) -> None:
        self.engine, self.jobs, self.most, self.measures = engine, jobs, most, measures
        self.batcher: Batcher[Recipe, Adapter] = Batcher(
            engine.generate, Recipe.batch_key, executor, batch, lambda size: measures.batches.observe(size)
        )
        self.cache: OrderedDict[Recipe, Adapter] = OrderedDict()
        self.coming: dict[Recipe, Coming] = {}

    def id(self, recipe: Recipe) -> str:
        return recipe.id(self.engine.fingerprint)

    async def get(self, recipe: Recipe) -> Adapter:
        """Return a generated adapter; the same recipe asked for twice at once is generated once.

        When the last request for it goes away it is not generated, unless it already is in a batch: then it is kept.
        """
        self.measures.cache.labels("hit" if recipe in self.cache else "miss").inc()
        if recipe in self.cache:
            self.cache.move_to_end(recipe)
            return self.cache[recipe]
        coming = self.coming.get(recipe)
        if coming is None:
            coming = self.coming[recipe] = Coming(asyncio.create_task(self._make(recipe)))
            coming.task.add_done_callback(lambda _: self._forget(recipe, coming))
        coming.waiters += 1
        try:
            return await asyncio.shield(coming.task)  # one of several clients may go away
        finally:
            coming.waiters -= 1
            if not coming.waiters and recipe not in self.batcher.running:
                coming.task.cancel()
                self._forget(recipe, coming)  # who asks from now on does not wait for this one

    def _forget(self, recipe: Recipe, coming: Coming) -> None:
        if self.coming.get(recipe) is coming:
            del self.coming[recipe]

    async def _make(self, recipe: Recipe) -> Adapter:
        adapter = await self.batcher.submit(recipe)
        self.cache[recipe] = adapter
        while len(self.cache) > self.most:
            self.cache.popitem(last=False)
        return adapter

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
        return await self.get(Recipe.from_id(adapter, self.engine.fingerprint))

    def about(self, adapter: str) -> dict[str, str]:
        """Return what the file of an adapter says about itself."""
        kind, _, name = adapter.partition("-")
        if kind == "c":
            return {"prompt": self.engine.members.by_id[name].prompt, "concept_id": name}
        return {"prompt": Recipe.from_id(adapter, self.engine.fingerprint).prompt, "adapter_id": adapter}
