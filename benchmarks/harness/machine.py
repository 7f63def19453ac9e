"""What every benchmark shares: interleaved repetitions, the machine's physical rates, and where results go.

    times = interleave({"ours": ours, "plain": plain})       # {"ours": [seconds, ...], "plain": [...]}
    rows = [{"loop": name, "seconds": spread(values), "times_plain": ratio(times["plain"], values)} ...]
    write_result("loading", rows, limits={"copy_bytes_per_second": copy_rate()})
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from zoo.files import read_json, write_json
from zoo.training.train_gan import clock

RESULTS = Path(__file__).parents[1] / "results"
# by its path: `zoo.hub` loads the Hub's client as well, which a machine without a network may lack
EMBEDDED_ZOO, EMBEDDED_MODEL = (
    Path(__file__).parents[2] / package / "embedded" / "weightzoo-small" for package in ("zoo", "weightgen")
)
REPETITIONS = 5


def arguments_of(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser of the command line whose help is a module's docstring."""
    return argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)


def in_own_process(module: str, *arguments: str, **environment: str) -> Any:
    """Return the JSON that a benchmark prints last when it runs in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )
    return json.loads(done.stdout.splitlines()[-1])


def interleave(
    loops: Mapping[str, Callable[[], float]], repetitions: int = REPETITIONS
) -> dict[str, list[float]]:
    """Call every loop once in each repetition, in changing order; return what they return, by name."""
    names = list(loops)
    found: dict[str, list[float]] = {name: [] for name in loops}
    for repetition in range(repetitions):
        first = repetition % len(names)
        for name in names[first:] + names[:first]:
            found[name].append(loops[name]())
    return found


def seconds_of(work: Callable[[], Any], device: str = "cpu") -> float:
    """Return the seconds that one call takes, the device's share included."""
    started = clock(torch.device(device))
    work()
    return clock(torch.device(device)) - started


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median, least and largest of repeated measurements."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratio(above: Sequence[float], below: Sequence[float]) -> dict[str, float]:
    """Return the spread of the ratios within each repetition."""
    return spread([a / b for a, b in zip(above, below, strict=True)])


def matrix_rate(device: str = "cpu", dtype: torch.dtype = torch.float32, size: int = 0) -> float:
    """Return the operations per second of the best of some square matrix products, with torch's present threads."""
    size = size or (1536 if torch.device(device).type == "cpu" else 8192)
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    a @ b
    return 2 * size**3 / min(seconds_of(lambda: a @ b, device) for _ in range(REPETITIONS))


def operations_of(work: Callable[[], Any]) -> int:
    """Return the floating-point operations of one call: convolutions and products, those of attention included."""
    # torch counts neither a CPU's fused attention nor a fused encoder layer
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            work()
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return counter.get_total_flops()


def copy_rate(size: int = 256 * 2**20) -> float:
    """Return the bytes per second of one thread's memory copy, the best of some."""
    source, target = bytes(size), bytearray(size)

    def copy() -> None:
        target[:] = source

    copy()
    return size / min(seconds_of(copy) for _ in range(REPETITIONS))


def processor() -> str:
    """Return the name of the processor, and of the GPU where there is one."""
    info = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return (names[0] if names else platform.machine()) + gpu


def write_result(
    name: str, rows: list[dict[str, Any]], limits: Mapping[str, float] | None = None, printed: int = 0
) -> None:
    """Write `results/NAME.json` with the machine and the versions, and print a line a row.

    Args:
        limits: physical rates, measured in the same run.
        printed: rows at the front that an earlier call has printed; the file gets all.
    """
    machine = {
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "processor": processor(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "date": time.strftime("%Y-%m-%d"),
    }
    result = {"machine": machine, "rows": rows} | ({"limits": dict(limits)} if limits else {})
    write_json(RESULTS / f"{name}.json", result)
    for row in rows[printed:]:
        print("  ".join(f"{key} {_text(value)}" for key, value in row.items()), flush=True)


def read_rows(name: str) -> list[dict[str, Any]]:
    """Return the rows of `results/NAME.json`, none where it is not there."""
    path = RESULTS / f"{name}.json"
    return read_json(path)["rows"] if path.is_file() else []


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "{median:.4g} ({min:.4g} to {max:.4g})".format(**value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
