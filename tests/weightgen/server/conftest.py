"""A server of toy models in this process, and a client for it."""

import asyncio
import io
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from tests.weightgen.tiny_world import add_ood_score, make_model, make_zoo
from weightgen.server.app import create_app
from weightgen.server.engine import Engine
from weightgen.server.limits import Limits, ServerSettings

SMALL = Limits(
    photo_bytes=200_000,
    photo_pixels=250_000,
    pairs_bytes=400_000,
    inside=16,
    request_seconds=30,
    adapters=8,
    pictures=4,
    jobs_waiting=1,
    job_seconds=20,
)


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """zoo/ and model/; read only."""
    folder = tmp_path_factory.mktemp("served")
    add_ood_score(make_model(folder / "model", make_zoo(folder / "zoo"), stage="polished"), folder / "zoo")
    return folder


@pytest.fixture(scope="session")
def engine(toy: Path) -> Engine:
    return Engine(toy / "model", toy / "zoo")


@pytest.fixture
def settings(toy: Path, tmp_path: Path) -> ServerSettings:
    return ServerSettings(toy / "model", toy / "zoo", tmp_path / "jobs", limits=SMALL)


def client_of(engine: Engine, settings: ServerSettings) -> TestClient:
    app = create_app(engine, settings)
    return TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False)


@pytest.fixture
def serve(engine: Engine, settings: ServerSettings) -> Iterator[Callable[..., TestClient]]:
    """serve(token=..., limits={...}) -> a client of a fresh app."""
    with ExitStack() as clients:

        def start(limits: dict[str, object] | None = None, **changes: object) -> TestClient:
            own = replace(settings, limits=replace(settings.limits, **(limits or {})), **changes)
            return clients.enter_context(client_of(engine, own))

        yield start


@pytest.fixture(scope="module")
def client(engine: Engine, toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """One app for all tests of a module."""
    state = tmp_path_factory.mktemp("jobs")
    with client_of(engine, ServerSettings(toy / "model", toy / "zoo", state, limits=SMALL)) as client:
        yield client


def picture(width: int = 40, height: int = 24, kind: str = "PNG", mode: str = "RGB", seed: int = 0) -> bytes:
    """A file of random pixels."""
    channels = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, *channels), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels, mode).save(buffer, kind)
    return buffer.getvalue()


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


class Slow:
    """Holds an engine's function until it is released; counts its calls."""

    def __init__(self, function: Callable[..., object]) -> None:
        self.function, self.go, self.calls = function, threading.Event(), 0

    def __call__(self, *arguments: object) -> object:
        self.calls += 1
        assert self.go.wait(20)
        return self.function(*arguments)


def post_as_a_server(
    client: TestClient, path: str, kind: bytes, receive: Callable[[], Awaitable[dict[str, object]]]
) -> int:
    """The status of a POST whose body comes from ``receive``, as a server calls the app."""
    sent: list[dict[str, object]] = []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": [(b"host", b"127.0.0.1"), (b"content-type", kind)], "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80), "scheme": "http", "http_version": "1.1", "root_path": "",
    }  # fmt: skip
    client.portal.call(client.app, scope, receive, send)
    return sent[0]["status"]


@contextmanager
def taken_turn(client: TestClient) -> Iterator[None]:
    """Another fine-tuning job is running, as long as this lasts; what waits is then forgotten."""
    jobs = client.app.state.services.jobs
    client.portal.call(jobs.turns.acquire)
    try:
        yield
    finally:
        for job in list(jobs.waiting):
            jobs.cancel(job)
        client.portal.call(release, jobs.turns)
        until(lambda: not jobs.tasks)


async def release(turns: asyncio.Semaphore) -> None:
    turns.release()


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Waits for something that happens in another thread."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.01)
