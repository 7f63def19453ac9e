"""What a result was measured on, and where results go."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from zoo.files import write_json

RESULTS = Path(__file__).parent / "results"


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and largest of repeated measurements."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def interleave(loops: Mapping[str, Callable[[], float]], repetitions: int = 5) -> dict[str, list[float]]:
    """What every loop returns (seconds or a rate), run in turn; the order is rotated with every repetition."""
    measured: dict[str, list[float]] = {name: [] for name in loops}
    names = list(loops)
    for _ in range(repetitions):
        for name in names:
            measured[name].append(loops[name]())
        names = names[1:] + names[:1]
    return measured


def copy_rate() -> float:
    """Bytes per second that one thread copies from memory to memory."""
    source = np.ones(1 << 26, np.uint8)
    target = np.empty_like(source)
    started = time.perf_counter()
    for _ in range(4):
        np.copyto(target, source)
    return 4 * len(source) / (time.perf_counter() - started)


def write_result(name: str, rows: list[dict[str, Any]]) -> None:
    """Write ``results/NAME.json`` with the machine and the versions, and print a line a row."""
    machine = {
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "processor": platform.machine(),
        "python": platform.python_version(),
        "torch": version("torch"),
    }
    write_json(RESULTS / f"{name}.json", {"machine": machine, "rows": rows})
    for row in rows:
        print("  ".join(f"{key} {_text(value)}" for key, value in row.items()))


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "{median:.4g} ({min:.4g} to {max:.4g})".format(**value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
