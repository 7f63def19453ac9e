"""Around every request: an id, one line of JSON in the log, the token, and bodies that do not come.

{"event": "request", "method": "POST", "request_id": "4f0c1a9b", "route": "/v1/images", "seconds": 0.2, "status": 200}

Prompts and photographs are not logged. The page itself needs no token: it asks the visitor for it.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import re
import secrets
import sys
import time
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from weightgen.server.limits import Limits, ServerSettings
from weightgen.server.measures import Measures
from weightgen.server.problems import Problem, answer, reworded

log = logging.getLogger("weightzoo.serve")
GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
OPEN = ("/", "/healthz", "/favicon.ico")  # and everything below /static/
# what Starlette's middlewares answer in words of their own
PLAIN = {
    400: Problem(400, "this server does not answer to that name; start it with --allow-host NAME"),
    413: Problem(413, "the request is too large; GET /v1/model says what the limits are"),
}
FOREIGN = Problem(403, "pages of other sites may not use this server")
NO_TOKEN = Problem(401, "this server needs its token; send it as Authorization: Bearer TOKEN")
NO_TOKEN.headers = {"WWW-Authenticate": "Bearer"}
LATE = "the request did not arrive in time; send it again"
DEFECT = Problem(500, "the server failed at this; its log says why, under this request's id")
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'",
}


class Guard:
    """ASGI middleware around the whole app; what the app fails on unexpectedly is answered and counted here."""

    def __init__(self, app: ASGIApp, settings: ServerSettings, measures: Measures) -> None:
        self.app, self.settings, self.measures = app, settings, measures
        self.token = None if settings.token is None else _digest(settings.token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        scope["request_id"] = given if GIVEN_ID.fullmatch(given) else secrets.token_hex(8)
        status, started = 0, time.perf_counter()

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = MutableHeaders(scope=message)
                own["X-Request-Id"] = scope["request_id"]
                for name, value in HEADERS.items():
                    own.setdefault(name, value)
            await send(message)

        app = self.app
        if refusal := self._refuse(scope, headers):
            app = answer(scope, refusal)
        try:
            arriving = _impatient(receive, self.settings.limits)
            await app(scope, arriving, reworded(PLAIN, scope, receive, send_on))
        except Exception as error:
            log.error("unexpected", exc_info=error, extra={"fields": {"request_id": scope["request_id"]}})
            if status:  # an answer has begun
                raise
            await answer(scope, DEFECT)(scope, receive, send_on)
        finally:
            self._record(scope, status, time.perf_counter() - started)

    def _refuse(self, scope: Scope, headers: Headers) -> Problem | None:
        path = scope["path"]
        if headers.get("sec-fetch-site") == "cross-site" and scope["method"] != "GET":
            return FOREIGN
        if self.token is None or path in OPEN or path.startswith("/static/"):
            return None
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(_digest(token.strip()), self.token):
            return None
        return NO_TOKEN

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        method = scope["method"] if scope["method"] in METHODS else "other"
        self.measures.requests.labels(route, method, str(status)).inc()
        self.measures.seconds.labels(route).observe(seconds)
        fields = {"request_id": scope["request_id"], "method": method, "route": route, "status": status}
        client = (scope.get("client") or ("",))[0]
        log.info("request", extra={"fields": fields | {"seconds": round(seconds, 4), "client": client}})


def _impatient(receive: Receive, limits: Limits) -> Receive:
    """Refuse a body that does not come in time; waiting for the client's leave has no end."""
    now, complete = asyncio.get_running_loop().time, False
    ends = now() + limits.upload_seconds

    async def receive_on() -> Message:
        nonlocal complete
        try:
            async with asyncio.timeout_at(None if complete else min(ends, now() + limits.body_seconds)):
                message = await receive()
        except TimeoutError:
            raise Problem(408, LATE) from None
        complete = complete or not message.get("more_body", False)
        return message

    return receive_on


def _digest(text: str) -> bytes:
    """Return digests of equal length for `compare_digest`, whatever was sent."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


class JsonLines(logging.Formatter):
    """One JSON object a record."""

    def format(self, record: logging.LogRecord) -> str:
        when, level = self.formatTime(record, "%Y-%m-%dT%H:%M:%S"), record.levelname.lower()
        row: dict[str, Any] = {"time": when, "level": level, "event": record.getMessage()}
        if record.exc_info:
            row["error"] = self.formatException(record.exc_info)
        return json.dumps(row | getattr(record, "fields", {}), sort_keys=True, ensure_ascii=False)


def log_to_stderr() -> None:
    """Set up the server's log, one JSON object a line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)
