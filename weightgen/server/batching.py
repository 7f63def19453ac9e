"""Dynamic batching: what arrives while a batch is computed makes up the next one.

    batcher = Batcher(run, Recipe.batch_key, executor, most=64)
    result = await batcher.submit(item)

A lone request does not wait for others, and under load batches grow by themselves. Equal items are computed once; an
item that nobody waits for any more is computed only if its batch has begun. `ray.serve.batch` has none of this, and
plain uvicorn serves without Ray.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

Item = TypeVar("Item", bound=Hashable)
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """Runs items in batches, one batch at a time.

    Args:
        run: items of one key -> as many results, in order; called in `executor`.
        key: only items of the same key go together.
        most: items of a batch.
        kept: results that are kept; the one that was not used for longest goes first.
        on_batch: told the size of every batch.
    """

    def __init__(
        self,
        run: Callable[[list[Item]], list[Result]],
        key: Callable[[Item], Hashable],
        executor: Executor,
        most: int = 64,
        kept: int = 0,
        on_batch: Callable[[int], None] = lambda size: None,
    ) -> None:
        self.run, self.key, self.executor = run, key, executor
        self.most, self.kept, self.on_batch = most, kept, on_batch
        self.waiting: dict[Item, list[asyncio.Future[Result]]] = {}  # those of the running batch too
        self.results: OrderedDict[Item, Result] = OrderedDict()
        self.worker: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Result:
        """Return the item's result; raises what `run` raised for it."""
        if item in self.results:
            self.results.move_to_end(item)
            return self.results[item]
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.waiting.setdefault(item, []).append(future)
        if self.worker is None or self.worker.done():
            self.worker = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        await asyncio.sleep(0)  # what is requested in the same moment goes together
        while batch := self._take():
            self.on_batch(len(batch))
            for item, result in zip(batch, await self._compute(batch), strict=True):
                self._settle(item, result)

    def _take(self) -> list[Item]:
        """Return the oldest waiting item and those of its key; items whose clients are gone are dropped."""
        for item in [item for item, futures in self.waiting.items() if all(f.done() for f in futures)]:
            del self.waiting[item]
        keys = {item: self.key(item) for item in self.waiting}
        return [item for item in keys if keys[item] == next(iter(keys.values()))][: self.most]

    async def _compute(self, batch: list[Item]) -> Sequence[Result | Exception]:
        """Return the results of a batch; where it fails each item is tried alone, so that one fails no other."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self.executor, self.run, batch)
        except Exception as error:
            if len(batch) == 1:
                return [error]
            return [result for item in batch for result in await self._compute([item])]

    def _settle(self, item: Item, result: Result | Exception) -> None:
        """Hand a result to all who wait for it, and keep it."""
        for future in self.waiting.pop(item):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
        if not isinstance(result, Exception):
            self.results[item] = result
            while len(self.results) > self.kept:
                self.results.popitem(last=False)
