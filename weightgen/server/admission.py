"""Back-pressure: how many requests may be inside, how long each may take, and clients that went away.

    answer = await admission.run(request, work)

uvicorn's `limit_concurrency` cannot do this: it counts health checks, the page and streams of events too, and refuses
in plain text without Retry-After (`tests/weightgen/server/test_load.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Any, TypeVar

from fastapi import Request

from weightgen.server.problems import RETRY_SECONDS, Problem
from zoo.words import plural

T = TypeVar("T")


class Admission:
    """Counts the requests that compute or wait to.

    Args:
        most: how many may be inside.
        seconds: how long each may take.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self.most, self.seconds = most, seconds
        self.inside = 0
        self.closed = False

    async def run(self, request: Request, work: Callable[[], Awaitable[T]]) -> T:
        """Return the result of `work`, unless it takes too long or nobody waits for it any more.

        Raises:
            Problem: 503 when there is no room, 504 when it takes too long, 499 when the client has gone away.
        """
        if self.closed:
            raise Problem(503, "the server is shutting down; try again in a moment", RETRY_SECONDS)
        if self.inside >= self.most:
            busy = f"the server is busy with {plural(self.inside, 'request')}; try again later"
            raise Problem(503, busy, RETRY_SECONDS)
        self.inside += 1
        task = asyncio.ensure_future(work())
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait({task, gone}, timeout=self.seconds, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            if gone.done():
                raise Problem(499, "the client has closed the connection")
            late = f"this took more than {self.seconds:g} s; give a smaller photograph or fewer steps"
            raise Problem(504, late)
        finally:
            self.inside -= 1
            gone.cancel()
            task.cancel()


async def in_pool(pool: Executor, function: Callable[..., T], *arguments: Any) -> T:
    """Run `function(*arguments)` in a thread of the pool; when cancelled before it starts, it never does."""
    return await asyncio.get_running_loop().run_in_executor(pool, function, *arguments)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
