"""Dynamic batching: what arrives while a batch is computed makes up the next one.

    batcher = Batcher(run, Recipe.batch_key, executor, most=64)
    result = await batcher.submit(item)

A lone request does not wait for others, and under load batches grow by themselves.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Executor
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """Runs items in batches, one batch at a time.

    Args:
        run: items of one key -> as many results, in order; called in `executor`.
        key: only items of the same key go together.
        most: items of a batch.
        on_batch: told the size of every batch.
    """

    def __init__(
        self,
        run: Callable[[list[Item]], list[Result]],
        key: Callable[[Item], Hashable],
        executor: Executor,
        most: int = 64,
        on_batch: Callable[[int], None] = lambda size: None,
    ) -> None:
        self.run, self.key, self.executor, self.most, self.on_batch = run, key, executor, most, on_batch
        self.waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self.running: list[Item] = []  # the batch that is being computed
        self.worker: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Result:
        """Return the item's result; raises what `run` raised for it."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.waiting.append((item, future))
        if self.worker is None or self.worker.done():
            self.worker = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        await asyncio.sleep(0)  # what was asked for in the same moment goes together
        while batch := self._take():
            self.on_batch(len(batch))
            self.running = [item for item, _ in batch]
            await self._compute(batch)
            self.running = []

    async def _compute(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        """Settle the futures of a batch; where it fails each item is tried alone, so that one fails no other."""
        items = [item for item, _ in batch]
        try:
            results = await asyncio.get_running_loop().run_in_executor(self.executor, self.run, items)
        except Exception as error:
            if len(batch) > 1:
                for entry in batch:
                    await self._compute([entry])
            elif not batch[0][1].done():
                batch[0][1].set_exception(error)
            return
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)

    def _take(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        """Return the oldest waiting item and those of its key; items whose client is gone are dropped."""
        alive = [entry for entry in self.waiting if not entry[1].done()]
        chosen = [entry for entry in alive if self.key(entry[0]) == self.key(alive[0][0])][: self.most]
        taken = {id(entry) for entry in chosen}
        self.waiting = deque(entry for entry in alive if id(entry) not in taken)
        return chosen
