"""Back-pressure: how many requests may be inside, how long each may take, and clients that went away.

async with admission.enter():
    pixels = await within(request, work.run(edit, ...), seconds=60)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from fastapi import Request

from weightgen.server.problems import Problem
from zoo.words import plural

T = TypeVar("T")
SMOOTHING = 0.1  # weight of the newest request in the mean time of an answer


class Admission:
    """Counts the requests that compute or wait to.

    Args:
        most: how many may be inside.
        on_change: told how many are inside.
    """

    def __init__(self, most: int, on_change: Callable[[int], None] = lambda inside: None) -> None:
        self.most, self.on_change = most, on_change
        self.inside = 0
        self.mean_seconds = 1.0  # that a request is inside; after about as long there is room again
        self.closed = False

    @asynccontextmanager
    async def enter(self) -> AsyncIterator[None]:
        """Yield one request.

        Raises:
            Problem: 503 with the seconds after which there should be room.
        """
        if self.closed:
            raise Problem(503, "the server is shutting down; try again in a moment", 5)
        if self.inside >= self.most:
            problem = f"the server is busy with {plural(self.inside, 'request')}; try again later"
            raise Problem(503, problem, retry_after=self.mean_seconds)
        started = time.monotonic()
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)
            self.mean_seconds += SMOOTHING * (time.monotonic() - started - self.mean_seconds)

    def _count(self, change: int) -> None:
        self.inside += change
        self.on_change(self.inside)


async def in_pool(pool: Executor, function: Callable[..., T], *arguments: Any) -> T:
    """`function(*arguments)` in a thread of the pool; when cancelled before it starts, it never does."""
    return await asyncio.get_running_loop().run_in_executor(pool, function, *arguments)


async def within(request: Request, work: Awaitable[T], seconds: float) -> T:
    """Return the result of `work`, unless it takes too long or nobody waits for it any more.

    Raises:
        Problem: 504 after `seconds`, 499 when the client has gone away.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if gone.done():
            raise Problem(499, "the client has closed the connection")
        raise Problem(504, f"this took more than {seconds:g} s; give a smaller photograph or fewer steps")
    finally:
        gone.cancel()
        task.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
