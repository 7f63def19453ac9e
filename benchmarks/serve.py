"""How many requests a server answers, how long they take, whether answers are crossed, and whether memory grows.

    python -m benchmarks.serve [--seconds 10] [--requests 10000] [--prompts 2000]

The server is a process of its own (plain uvicorn, the embedded model) and this one its client, on the loopback. Every
prompt's adapter is generated alone first, by a server that has nothing else to do; then each answer's hash must
be its own prompt's. Results go to benchmarks/results/serve.json.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import psutil

from benchmarks.harness.machine import arguments_of, write_result

CLIENTS = (1, 8, 64)
START_SECONDS = 600
REQUEST_SECONDS = 300


@contextmanager
def server() -> Iterator[tuple[str, psutil.Process]]:
    """Yield a fresh server's address and process, once it has read the zoo's prompts, as it does in the background."""
    from tests.serving import serving

    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with (
        tempfile.NamedTemporaryFile() as log,
        serving(log=Path(log.name), environment=environment) as (process, url),
    ):
        while httpx2.get(f"{url}/v1/nearest", params={"prompt": "a"}, timeout=START_SECONDS).status_code != 200:
            time.sleep(0.2)
        yield url, psutil.Process(process.pid)


def prompts(count: int) -> list[str]:
    """Return different prompts of different lengths."""
    media = ("a drawing", "a photograph", "an old print", "a painting with soft edges and pale colours")
    looks = ("in blue", "in the golden light of a late summer evening", "with fog", "from the seventies")
    every = itertools.product(range(1 + count // 16), media, looks)
    return [f"{medium} {look}, number {number}" for number, medium, look in every][:count]


async def load(
    url: str, clients: int, texts: Iterator[str], seconds: float, most: int
) -> tuple[list[float], list[tuple[str, str]], float]:
    """Send prompts with so many clients; return each answer's seconds, each (prompt, hash), and the total time."""
    spent: list[float] = []
    answers: list[tuple[str, str]] = []
    ends = time.perf_counter() + seconds

    async def client(session: httpx2.AsyncClient) -> None:
        while time.perf_counter() < ends and len(spent) < most:
            text, started = next(texts), time.perf_counter()
            answer = await session.post(f"{url}/v1/adapters", json={"prompt": text, "seed": 0})
            answer.raise_for_status()
            spent.append(time.perf_counter() - started)
            answers.append((text, hashlib.sha256(answer.content).hexdigest()))

    started = time.perf_counter()
    limits = httpx2.Limits(max_connections=clients)
    async with httpx2.AsyncClient(timeout=REQUEST_SECONDS, limits=limits, trust_env=False) as session:
        await asyncio.gather(*(client(session) for _ in range(clients)))
    return spent, answers, time.perf_counter() - started


def alone(url: str, texts: list[str]) -> dict[str, str]:
    """Return the hash of each prompt's adapter, requested one after the other."""
    _, answers, _ = asyncio.run(load(url, 1, iter(texts), float("inf"), len(texts)))
    return dict(answers)


def row(
    name: str, clients: int, spent: list[float], took: float, crossed: int, memory: list[int]
) -> dict[str, Any]:
    """Return one row of the result; memory in MiB, before and after."""
    return {
        "load": name,
        "clients": clients,
        "answers": len(spent),
        "per_second": round(len(spent) / took, 2),
        "p50_ms": round(1000 * float(np.percentile(spent, 50)), 1),
        "p99_ms": round(1000 * float(np.percentile(spent, 99)), 1),
        "crossed": crossed,
        "memory_before": memory[0],
        "memory_after": memory[1],
    }


def main(arguments: list[str] | None = None) -> None:
    """Send new prompts at 1, 8 and 64 clients (no cache can help), then many requests for a memory curve."""
    parser = arguments_of(__doc__)
    parser.add_argument("--seconds", type=float, default=10, help="at each number of clients")
    parser.add_argument("--requests", type=int, default=10_000, help="for the memory")
    parser.add_argument("--prompts", type=int, default=2000, help="different ones")
    options = parser.parse_args(arguments)
    texts = prompts(options.prompts)
    with server() as (url, _):
        expected = alone(url, texts)
    rows = []
    with server() as (url, process):
        fresh = iter(texts * (1 + options.requests // len(texts)))

        def measure(name: str, clients: int, seconds: float, most: int) -> None:
            before = process.memory_info().rss >> 20
            spent, answers, took = asyncio.run(load(url, clients, fresh, seconds, most))
            crossed = sum(expected[text] != found for text, found in answers)
            memory = [before, process.memory_info().rss >> 20]
            rows.append(row(name, clients, spent, took, crossed, memory))

        for clients in CLIENTS:
            measure("new prompts", clients, options.seconds, len(texts) // len(CLIENTS))
        fresh = itertools.cycle(texts)
        for _ in range(4):
            measure("many requests", 8, float("inf"), options.requests // 4)
    write_result("serve", rows)
    if any(entry["crossed"] for entry in rows):
        raise SystemExit("answers are crossed")


if __name__ == "__main__":
    main()
