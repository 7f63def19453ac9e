"""``weightzoo serve`` as a process of its own.

with serving("--model", model, "--data", zoo, log=tmp_path / "log") as (process, url): ...
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx2

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 240  # seconds until it answers: the tests may share the machine


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def serving(
    *arguments: object, log: Path, environment: Mapping[str, str] = os.environ
) -> Iterator[tuple[subprocess.Popen, str]]:
    """The process and its address, once it answers; what it says is in ``log``. It is ended as Ctrl-C would."""
    port = free_port()
    command = [sys.executable, "-m", "cli.main", "serve", "--port", str(port), *map(str, arguments)]
    with open(log, "w") as lines:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=lines, stderr=lines)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(process, url, log)
        yield process, url
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(process: subprocess.Popen, url: str, log: Path) -> None:
    """Returns as soon as the server is healthy."""
    ends = time.monotonic() + PATIENCE
    while not healthy(url):
        assert time.monotonic() < ends and process.poll() is None, log.read_text()
        time.sleep(0.1)


def healthy(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/healthz", timeout=10).status_code == 200
    except httpx2.HTTPError:
        return False
