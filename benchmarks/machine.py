"""What a result was measured on, and where results go."""

import os
import platform
import statistics
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from zoo.files import write_json

RESULTS = Path(__file__).parent / "results"


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and largest of repeated measurements."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


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
