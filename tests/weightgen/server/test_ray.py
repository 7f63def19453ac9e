"""The same app on Ray Serve: after its replica is killed, requests wait for the next one or are told to come back."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import httpx2
import pytest

from tests.serving import free_port
from tests.weightgen.server.conftest import picture
from weightgen.server.run import APP, ray_serve

REPLICA = f"SERVE_REPLICA::{APP}#"
WITHIN = 150  # seconds, for the new replica on a machine that is not idle; alone it takes about ten


def adapter(url: str) -> httpx2.Response:
    return httpx2.post(f"{url}/v1/adapters", json={"prompt": "a charcoal drawing"}, timeout=WITHIN)


@pytest.mark.ray
@pytest.mark.timeout(280)
def test_a_killed_replica_is_replaced(settings) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    limits = replace(settings.limits, job_seconds=1)
    with ray_serve(replace(settings, limits=limits), "127.0.0.1", port):
        first = adapter(url)
        assert first.status_code == 200
        edited = httpx2.post(
            f"{url}/v1/images", data={"prompt": "sepia"}, files={"photo": picture()}, timeout=60
        )
        assert edited.status_code == 200 and edited.headers["content-type"] == "image/png"
        with visitors(url) as answers:
            kill_the_replica()
            ends = time.monotonic() + WITHIN
            while (again := adapter(url)).status_code != 200:
                assert time.monotonic() < ends, "no new replica"
                time.sleep(0.2)
            assert again.content == first.content
        assert {answer.status_code for answer in answers} <= {200, 503}
        for answer in answers:
            assert answer.status_code == 200 or (answer.headers["Retry-After"] and answer.json()["error"])


@contextmanager
def visitors(url: str, count: int = 2) -> Iterator[list[httpx2.Response]]:
    """Clients that go on asking while the context lasts; yields their answers."""
    answers: list[httpx2.Response] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            answers.append(adapter(url))

    with ThreadPoolExecutor(count) as pool:
        asking = [pool.submit(ask) for _ in range(count)]
        try:
            yield answers
        finally:
            over.set()
        for one in asking:
            one.result()  # a connection that was dropped is an error


def kill_the_replica() -> None:
    """Ends the process of the only replica at once."""
    import ray
    from ray.util import list_named_actors

    (replica,) = [a for a in list_named_actors(all_namespaces=True) if a["name"].startswith(REPLICA)]
    ray.kill(ray.get_actor(replica["name"], replica["namespace"]))
