"""The server as a process: `weightzoo serve`, and how it stops."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator

import httpx2
import pytest

from tests.serving import serving
from tests.weightgen.server.finetuning.test_jobs import pairs


@pytest.fixture
def process(toy, tmp_path) -> Iterator[tuple[subprocess.Popen, str]]:
    arguments = ("--model", toy / "model", "--data", toy / "zoo")
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with serving(*arguments, log=tmp_path / "log", environment=environment) as started:
        yield started


@pytest.mark.timeout(280)
def test_sigterm_lets_a_running_job_come_to_its_end(process, tmp_path) -> None:
    server, url = process
    job = httpx2.post(
        f"{url}/v1/finetune", data={"prompt": "dark", "seconds": 2}, files=pairs(3), timeout=60
    ).json()
    told = []
    with httpx2.stream("GET", f"{url}{job['events']}", timeout=240) as stream:
        for line in stream.iter_lines():
            if line.startswith("data:"):
                told.append(json.loads(line[5:])["event"])
                if told[-1] == "running":
                    server.send_signal(signal.SIGTERM)
    assert told[-1] == "done", told
    assert server.wait(60) == 0
    with pytest.raises(httpx2.HTTPError):
        httpx2.get(f"{url}/healthz", timeout=5)
    assert not list(tmp_path.glob("weightzoo-serve-*")), "the jobs' folder is removed"
    lines = [line for line in (tmp_path / "log").read_text().splitlines() if line.startswith("{")]
    assert any(json.loads(line)["route"] == "/v1/finetune" for line in lines)
