"""Bytes on disk to torch batches: our shards against plain `datasets`, `webdataset`, safetensors and a raw read.

    python -m benchmarks.loading [--megabytes 300] [--hub-megabytes 50] [--values 0 200000] [--repetitions 5]

Synthetic records: of the embedded zoo's layout (`--values 0`) and of the paper's size, 200,000 values. Every reader
is told in `readers.py`; all use one thread, run in turn in one process, and each figure is megabytes of float16 weights
per second.

- The limit is `read()` of the Parquet files into one buffer, warm about the measured rate of a copy in memory;
  `of_read` is the share of it that a reader reaches. Goal: 80 % warm. Batches of float32 are more than a read,
  though: on the way each value is written three times (as read, in its batch, as float32).
- `times_typed` is the ratio to plain `datasets` with typed columns. Goal: 10.
- `weightzoo parquet` is the stream of a zoo that is too large for memory; `loaded` reads the zoo into memory, as
  training does with less than a gibibyte, and takes one epoch from there. Both shuffle.
- Cold: the page cache has been told to drop the files (POSIX_FADV_DONTNEED); what lies below a virtual disk may
  still have them.
- Hub: the tests' Hub in a process of its own on the loopback. `weightzoo, first epoch` has an empty client cache, and
  what it fetches is checked against the manifest and kept; `of_read` is the share of a GET of the files.
"""

import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.harness.machine import (
    arguments_of,
    copy_rate,
    in_own_process,
    interleave,
    spread,
    write_result,
)
from benchmarks.harness.readers import HUB_REPO, LOCAL, hub_readers, write_data
from zoo.hub import find_zoo
from zoo.layout import Slot, WeightLayout
from zoo.memory import keep_freed_memory

TYPED = "datasets, typed columns"


def rate(read: Callable[[], int], before: Callable[[], object] = lambda: None) -> Callable[[], float]:
    """Return a loop for `interleave`: megabytes per second of `read`, after an unmeasured `before`."""

    def loop() -> float:
        before()
        started = time.perf_counter()
        delivered = read()
        return delivered / 1e6 / (time.perf_counter() - started)

    return loop


def drop_from_cache(files: Iterable[Path]) -> None:
    """Let the system forget the content of files."""
    for path in files:
        with open(path, "rb") as file:
            os.fsync(file.fileno())  # what is not written yet stays
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def local(folder: Path, repetitions: int) -> list[dict[str, Any]]:
    """Return every reader, cold and warm."""
    loops: dict[str, Callable[[], float]] = {"memory copy": lambda: copy_rate() / 1e6}
    for name, reader in LOCAL.items():
        read, files = partial(reader.read, folder), sorted(folder.glob(reader.files))
        loops[f"cold/{name}"] = rate(read, partial(drop_from_cache, files))
        loops[f"warm/{name}"] = rate(read)
        read()  # imports, and the files into the cache
    measured = interleave(loops, repetitions)
    copies = {"reader": "memory copy", "megabytes_per_second": spread(measured.pop("memory copy"))}
    return [copies, *ratios(measured, "read()")]


def hub(url: str, repetitions: int) -> list[dict[str, Any]]:
    """Return the readers of the Hub at `url`; this process was started with its address."""
    from huggingface_hub import constants

    def forget() -> None:
        shutil.rmtree(constants.HF_HUB_CACHE)

    readers = hub_readers(url)
    ours = readers.pop("weightzoo parquet")
    loops = {f"hub/{name}": rate(read) for name, read in readers.items()}
    loops["hub/weightzoo, first epoch"] = rate(ours, forget)
    loops["hub/weightzoo, again"] = rate(ours)  # whatever was forgotten was fetched again
    for read in (*readers.values(), ours):
        read()
    return ratios(interleave(loops, repetitions), "HTTP GET")


def ratios(measured: dict[str, list[float]], limit: str) -> list[dict[str, Any]]:
    """Return a row of every "WHERE/READER": its rate, and its ratios to the limit and to typed columns."""
    rows = []
    for name, rates in measured.items():
        where, _, reader = name.partition("/")
        row = {"from": where, "reader": reader, "megabytes_per_second": spread(rates)}
        for key, other in (("of_read", limit), ("times_typed", TYPED)):
            row[key] = spread([a / b for a, b in zip(rates, measured[f"{where}/{other}"], strict=True)])
        rows.append(row)
    return rows


def layout_of(values: int) -> WeightLayout:
    """Return the embedded zoo's layout for 0, else one of so many values."""
    if not values:
        return WeightLayout.load(find_zoo("weightzoo-small") / "layout.json")
    return WeightLayout((Slot("weights", (values,), "weights"),))


def measure(*arguments: str, **environment: str) -> list[dict[str, Any]]:
    """Return the rows that a process of its own prints: one thread, and the Hub of `environment`."""
    quiet = {"OMP_NUM_THREADS": "1", "HF_HUB_DISABLE_XET": "1"}
    return in_own_process("benchmarks.loading", *arguments, **quiet | environment)


def measure_hub(folder: Path, repetitions: int) -> list[dict[str, Any]]:
    """Serve the Parquet zoo and the typed columns of `folder` while another process reads them."""
    from tests.hub_server import LFS, Blob, HubServer, Repo

    files = {path.relative_to(folder / "parquet"): path for path in folder.glob("parquet/**/*.*")}
    files |= {path.relative_to(folder): path for path in folder.glob("typed/*")}
    blobs = {str(name): Blob(path.read_bytes(), path.suffix in LFS) for name, path in files.items()}
    repo = Repo(HUB_REPO, private=False)
    repo.commit("shards", blobs)
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with HubServer(bound) as server:
            server.repos["dataset", HUB_REPO] = repo
            environment = {"HF_ENDPOINT": server.url, "HF_HOME": f"{folder}/home", "HF_HUB_OFFLINE": "0"}
            return measure(
                "--hub", server.url, "--repetitions", str(repetitions), **environment, HF_TOKEN="hf_user"
            )


def main(arguments: list[str] | None = None) -> None:
    """Measure every record size on the disk, the first also through the Hub, and write the result."""
    parser = arguments_of(__doc__)
    parser.add_argument("--megabytes", type=float, default=300, help="of weights, for each record size")
    parser.add_argument("--hub-megabytes", type=float, default=50)
    parser.add_argument("--values", type=int, nargs="+", default=[0, 200_000], help="of a record")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--local", metavar="FOLDER", help="one measurement, as main starts it")
    parser.add_argument("--hub", metavar="URL", help="one measurement, as main starts it")
    options = parser.parse_args(arguments)
    if options.local or options.hub:
        import pyarrow

        pyarrow.set_cpu_count(1)
        keep_freed_memory()  # for all readers, as training sets it
        measured = (
            hub(options.hub, options.repetitions)
            if options.hub
            else local(Path(options.local), options.repetitions)
        )
        print(json.dumps(measured))
        return
    rows: list[dict[str, Any]] = []
    for values in options.values:
        layout = layout_of(values)
        size = {"record_kilobytes": layout.num_blocks * layout.block_size * 2 / 1000}
        with tempfile.TemporaryDirectory(prefix="weightzoo-loading-") as folder:
            write_data(Path(folder), layout, options.megabytes)
            found = measure("--local", folder, "--repetitions", str(options.repetitions))
        rows += [size | row for row in found]
    layout = layout_of(options.values[0])
    with tempfile.TemporaryDirectory(prefix="weightzoo-loading-") as folder:
        write_data(Path(folder), layout, options.hub_megabytes)
        size = {"record_kilobytes": layout.num_blocks * layout.block_size * 2 / 1000}
        rows += [size | row for row in measure_hub(Path(folder), options.repetitions)]
    write_result("loading", rows)


if __name__ == "__main__":
    main()
