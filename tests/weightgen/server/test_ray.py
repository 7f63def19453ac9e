"""The same app on Ray Serve: it answers, and goes on answering after its replica is killed."""

import socket
import time
from dataclasses import replace

import httpx2
import pytest

from tests.weightgen.server.conftest import picture
from weightgen.serve import APP, ray_serve

# Ray Serve takes from one to five minutes to replace a replica on two busy cores: by hand, `-m "ray and slow"`
pytestmark = [pytest.mark.ray, pytest.mark.slow]
REPLICA = f"SERVE_REPLICA::{APP}#"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def adapter(url: str) -> bytes | None:
    """The answer's bytes, or None while there is no replica."""
    try:
        answer = httpx2.post(f"{url}/v1/adapters", json={"prompt": "a charcoal drawing"}, timeout=30)
    except httpx2.HTTPError:
        return None
    return answer.content if answer.status_code == 200 else None


@pytest.mark.timeout(280)
def test_a_killed_replica_is_replaced(settings, monkeypatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    limits = replace(settings.limits, job_seconds=1)
    with ray_serve(replace(settings, limits=limits), "127.0.0.1", port):
        first = adapter(url)
        assert first is not None
        edited = httpx2.post(
            f"{url}/v1/images", data={"prompt": "sepia"}, files={"photo": picture()}, timeout=60
        )
        assert edited.status_code == 200 and edited.headers["content-type"] == "image/png"
        kill_the_replica()
        ends = time.monotonic() + 120
        while (again := adapter(url)) is None:
            assert time.monotonic() < ends, "no new replica"
            time.sleep(0.2)
        assert again == first


def kill_the_replica() -> None:
    """Ends the process of the only replica at once."""
    import ray
    from ray.util import list_named_actors

    (replica,) = [a for a in list_named_actors(all_namespaces=True) if a["name"].startswith(REPLICA)]
    ray.kill(ray.get_actor(replica["name"], replica["namespace"]))
