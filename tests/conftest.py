"""Settings that every test shares: one thread, no network, no usage statistics, and a Hub of their own.

The Hub's clients read their settings when they are imported, so the address of the test server has to be known
before: its socket is bound here and listens only where a test asks for the fixture ``hub``. Everything else is
offline, and even a client that is not reaches nothing but this machine.
"""

import atexit
import gc
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest_plugins = ["tests.browser"]
gc.disable()  # until all modules are loaded: to look for garbage among their million objects again and again takes long
_HUB_SOCKET = socket.socket()
_HUB_SOCKET.bind(("127.0.0.1", 0))
atexit.register(_HUB_SOCKET.close)
_HF_HOME = tempfile.mkdtemp(prefix="weightzoo-tests-hf-")
atexit.register(shutil.rmtree, _HF_HOME, ignore_errors=True)

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_ENDPOINT"] = "http://{}:{}".format(*_HUB_SOCKET.getsockname())
os.environ["HF_HOME"] = _HF_HOME
os.environ["HF_HUB_DISABLE_XET"] = "1"
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def pytest_collection_finish() -> None:
    """What is loaded stays: the garbage of the tests is looked for among their own objects."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def denormals() -> None:
    """Training, which tests do in this process, flushes them; hypothesis refuses to work like that."""
    if torch := sys.modules.get("torch"):
        torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def hub_server() -> Iterator[object]:
    """The test Hub, once per session."""
    from tests.hub_server import HubServer

    with HubServer(_HUB_SOCKET) as server:
        yield server


@pytest.fixture
def hub(hub_server, tmp_path, monkeypatch):
    """An empty Hub, reached by every client of this process; logged in as ``user``, with an empty cache."""
    from huggingface_hub import constants

    hub_server.reset()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf-cache"))
    monkeypatch.setenv("HF_TOKEN", "hf_user")
    return hub_server


@pytest.fixture
def hub_environment(tmp_path) -> dict[str, str]:
    """What another process needs to reach the test Hub as ``user``, with a cache of its own."""
    return os.environ | {"HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": "hf_user"}


# what aborts the end of an interpreter in which `datasets` has streamed Parquet: Arrow's threads (apache/arrow 45214)
END = "\nimport os, sys\nsys.stdout.flush()\nos._exit(0)\n"


@pytest.fixture
def plain_reader(tmp_path, hub_environment) -> Callable[..., Any]:
    """Run a program that knows nothing of weightzoo against the test Hub; returns the JSON that it prints."""

    def read(program: str, *arguments: object) -> Any:
        done = subprocess.run(
            [sys.executable, "-c", program + END, *map(str, arguments)],
            cwd=tmp_path,
            env=hub_environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return read


@pytest.fixture
def hears_ctrl_c() -> Iterator[None]:
    """A process that was started in the background ignores SIGINT; the test must not depend on that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
