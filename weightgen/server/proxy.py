"""In the proxy of Ray Serve, in front of the replicas: what no replica answers becomes a clear 503.

    RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=weightgen.server.proxy:middlewares

A replica may die with a request in it, and until there is a new one the proxy lets requests wait. Ray answers the
first with an empty 500 or plain text, and the others never if there is no new replica. Its own `request_timeout_s`
would also end uploads and streams of events that take their time.
"""

from __future__ import annotations

import asyncio
import contextlib

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from weightgen.server.limits import Limits
from weightgen.server.problems import RETRY_SECONDS, Problem, answer, reworded

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
        scope["request_id"] = Headers(scope=scope).get("x-request-id", "")
        lost, nobody = (Problem(503, text, RETRY_SECONDS) for text in (LOST, NOBODY))
        now, started = asyncio.get_running_loop().time, False

        async def receive_on() -> Message:
            message = await receive()
            if not started:
                patience.reschedule(now() + self.patience)
            return message

        async def send_on(message: Message) -> None:
            nonlocal started
            started = True
            patience.reschedule(None)
            await send(message)

        own_words = reworded({408: nobody, 503: nobody}, scope, receive, send_on)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.patience) as patience:
                await self.app(scope, receive_on, own_words)
        if not started:  # Ray swallows the cancellation and ends without a word
            await answer(scope, nobody if patience.expired() else lost)(scope, receive, send)
