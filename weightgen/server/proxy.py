"""In the proxy of Ray Serve, in front of the replicas: what no replica answers becomes a clear 503.

    RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=weightgen.server.proxy:middlewares

A replica may die with a request in it, and until there is a new one the proxy lets requests wait. Ray answers the
first with an empty 500 or plain text, and the others never if there is no new replica.
"""

from __future__ import annotations

import asyncio
import time

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from weightgen.server.guard import answer_with
from weightgen.server.limits import Limits
from weightgen.server.problems import Problem

RETRY_AFTER = 5  # seconds; a new replica takes about ten
PATIENCE = Limits.request_seconds + 15  # an app that has a request answers it within `request_seconds`
LOST = "the process that worked on this has ended, and a new one is starting; try again in a moment"
NOBODY = "no process answers at the moment; try again in a moment"


def middlewares() -> list[Middleware]:
    """Return what Ray Serve puts around its proxy."""
    return [Middleware(Answered)]


class Answered:
    """ASGI middleware: every HTTP request gets an answer in the API's own form.

    Args:
        patience: seconds from the last part of a request to the beginning of its answer; then 503.
    """

    def __init__(self, app: ASGIApp, patience: float = PATIENCE) -> None:
        self.app, self.patience = app, patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        started, replaced, heard = asyncio.Event(), False, time.monotonic()

        async def receive_on() -> Message:
            nonlocal heard
            message = await receive()
            heard = time.monotonic()
            return message

        async def send_on(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start":
                started.set()
                replaced = of_the_proxy(message)
                if replaced:
                    await self.refuse(NOBODY, scope, receive, send)
            if not replaced:
                await send(message)

        task = asyncio.ensure_future(self.app(scope, receive_on, send_on))
        begun = asyncio.ensure_future(started.wait())
        try:
            while not (task.done() or begun.done()):
                if (left := heard + self.patience - time.monotonic()) <= 0:
                    return await self.refuse(NOBODY, scope, receive, send)
                await asyncio.wait({task, begun}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            await task
            if not started.is_set():
                await self.refuse(LOST, scope, receive, send)
        finally:
            begun.cancel()
            task.cancel()

    async def refuse(self, message: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 503 with the request's id, which the proxy has given it."""
        scope["request_id"] = Headers(scope=scope).get("x-request-id", "")
        await answer_with(Problem(503, message, RETRY_AFTER), scope, receive, send)


def of_the_proxy(start: Message) -> bool:
    """Return whether Ray itself answers: its errors are plain text, those of the app JSON."""
    kind = Headers(raw=start["headers"]).get("content-type", "")
    return start["status"] in (408, 503) and not kind.startswith("application/json")
