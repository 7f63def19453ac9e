"""Errors of the API: an HTTP status and one line that says what is wrong and what to do.

{"error": "the photograph is not a readable image; give a JPEG, PNG, WebP or TIFF", "request_id": "..."}
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from zoo.errors import WeightzooError

RETRY_SECONDS = 5  # after which a busy server should have room; a new replica takes about ten


class Problem(HTTPException):
    """What a client can mend, or has to wait for.

    Args:
        retry_after: seconds, for 429 and 503.
    """

    def __init__(self, status: int, message: str, retry_after: float | None = None) -> None:
        headers = {} if retry_after is None else {"Retry-After": str(max(1, math.ceil(retry_after)))}
        super().__init__(status, message, headers)


def answer(scope: Scope, problem: HTTPException) -> JSONResponse:
    """Return the JSON of an error; the request's id is in the log too."""
    body = {"error": " ".join(str(problem.detail).split()), "request_id": scope.get("request_id", "")}
    return JSONResponse(body, problem.status_code, problem.headers)


def reworded(problems: Mapping[int, Problem], scope: Scope, receive: Receive, send: Send) -> Send:
    """Return `send` for a library around the app: its errors become problems, answers in JSON pass as they are."""
    replaced = False

    async def send_on(message: Message) -> None:
        nonlocal replaced
        if message["type"] == "http.response.start" and message["status"] in problems:
            kind = Headers(raw=message["headers"]).get("content-type", "")
            if replaced := not kind.startswith("application/json"):
                await answer(scope, problems[message["status"]])(scope, receive, send)
        if not replaced:
            await send(message)

    return send_on


def add_handlers(app: FastAPI) -> None:
    """Turn every error that the app raises on purpose into an `answer`; `Guard` answers the others."""

    @app.exception_handler(HTTPException)
    async def known(request: Request, error: HTTPException) -> JSONResponse:
        return answer(request.scope, error)

    @app.exception_handler(WeightzooError)
    async def ours(request: Request, error: WeightzooError) -> JSONResponse:
        return answer(request.scope, Problem(400, str(error)))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return answer(request.scope, Problem(422, describe(error)))


def describe(error: RequestValidationError) -> str:
    """Return the first thing that is wrong with a request, and where; what was sent is not repeated."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first.get("loc", ())[1:]) or "the request"
    return f"{where}: {str(first.get('msg', 'invalid')).removeprefix('Value error, ')}"
