"""In front of the replicas: what none of them answers is a 503 in the API's form, everything else passes as it is."""

import asyncio
import contextlib

import pytest
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from weightgen.server.problems import RETRY_SECONDS
from weightgen.server.proxy import LOST, NOBODY, Answered, middlewares


async def lost(scope, receive, send) -> None:
    """The replica has died: Ray's proxy ends without a word."""


async def nobody(scope, receive, send) -> None:
    """No replica comes."""
    await receive()
    await asyncio.sleep(30)


async def swallows(scope, receive, send) -> None:
    """No replica comes, and Ray's proxy takes being cancelled for a client that has left."""
    with contextlib.suppress(asyncio.CancelledError):
        await nobody(scope, receive, send)


def client(app: ASGIApp) -> TestClient:
    return TestClient(Answered(app, patience=0.2))


@pytest.mark.parametrize(
    "app",
    [lost, nobody, swallows, PlainTextResponse("unavailable", 503), PlainTextResponse("timed out", 408)],
    ids=["lost", "nobody", "swallows", "unavailable", "late"],
)
def test_no_answer_is_a_503_with_the_time_to_come_back(app) -> None:
    answer = client(app).post("/v1/adapters", json={}, headers={"X-Request-Id": "mine"})
    assert answer.status_code == 503 and answer.headers["Retry-After"] == str(RETRY_SECONDS)
    assert answer.json() == {"error": LOST if app is lost else NOBODY, "request_id": "mine"}


@pytest.mark.parametrize("status", [200, 429, 500, 503])
def test_answers_of_the_app_pass(status) -> None:
    answer = client(JSONResponse({"of": "the app"}, status)).get("/")
    assert answer.status_code == status and answer.json() == {"of": "the app"}
    assert "Retry-After" not in answer.headers


def test_a_stream_that_has_begun_may_take_its_time() -> None:
    async def events():
        yield b"first "
        await asyncio.sleep(0.5)
        yield b"last"

    assert client(StreamingResponse(events())).get("/").text == "first last"


def test_ray_takes_the_middleware() -> None:
    from ray.serve._private.http_util import validate_http_proxy_callback_return

    [found] = validate_http_proxy_callback_return(middlewares())
    assert found.cls is Answered
