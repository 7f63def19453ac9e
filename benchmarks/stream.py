"""Streaming: memory on a small and a large dataset, and the loader's speed against the denoiser's consumption.

    python -m benchmarks.stream [--megabytes 1000 8000] [--seconds 10]

Synthetic records with the embedded zoo's layout are written into a temporary folder. Each measurement is a process of
its own: one reads a number of batches that is more than the small dataset has (memory is its largest resident
set), one trains the preset's denoiser for some seconds on batches of the embedded zoo, of the same size. Goal: the
memory of both sizes within 100 MB, the loader 10 times as fast as the denoiser.
"""

import json
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness.machine import arguments_of, in_own_process, write_result
from benchmarks.harness.synthetic import random_blocks, synthetic_metadata, synthetic_record
from pipeline.executors.process import peak_memory
from weightgen.training.stream import ShardStream
from zoo.hub import find_zoo
from zoo.manifest import ShardEntry, ZooManifest, load_manifest
from zoo.run import Zoo, open_zoo
from zoo.shards import FORMATS, shard_name

BATCH_SIZE = 32
RECORDS_PER_SHARD, DISTINCT = 64, 64


def write_synthetic(folder: Path, megabytes: int) -> None:
    """Write shards of random records in the layout of the embedded zoo, and return the list of them.

    Beyond the first `DISTINCT` shards they are further names of the same files: as many bytes to read, on a small disk.
    """
    layout, shards = open_zoo(find_zoo("weightzoo-small")).layout, FORMATS["parquet"]
    metadata, noise = synthetic_metadata(layout), random_blocks(RECORDS_PER_SHARD, layout)
    count = -(-megabytes * 10**6 // (noise.nbytes))
    entries = []
    for index in range(count):
        path = folder / "weights" / shard_name("train", index, count)
        if index < DISTINCT:
            first = index * RECORDS_PER_SHARD
            records = [synthetic_record(first + i, own) for i, own in enumerate(np.roll(noise, index, 2))]
            shards.write_shard(path, records, layout, metadata)
        else:
            path.hardlink_to(folder / "weights" / shard_name("train", index % DISTINCT, count))
        entries.append([f"weights/{path.name}", path.stat().st_size, RECORDS_PER_SHARD])
    (folder / "shards.json").write_text(json.dumps(entries))


def synthetic(folder: Path) -> ShardStream:
    """Return the records that :func:`write_synthetic` wrote."""
    embedded = open_zoo(find_zoo("weightzoo-small"))
    rows = json.loads((folder / "shards.json").read_text())
    entries = tuple(ShardEntry(name, "train", "", size, records) for name, size, records in rows)
    manifest: ZooManifest = replace(load_manifest(embedded.path), shards=entries)
    return ShardStream.open(Zoo(folder, embedded.layout, manifest))


def read(folder: Path, batches: int) -> dict[str, Any]:
    """Read so many batches; return the memory in megabytes, and records a second."""
    data = synthetic(folder)
    before = peak_memory()
    started, busy = time.perf_counter(), time.process_time()
    with closing(data.feed(BATCH_SIZE, 0)) as feed:
        for _ in range(batches):
            next(feed)
    seconds, used = time.perf_counter() - started, time.process_time() - busy
    after = peak_memory()
    return {
        "records": len(data),
        "read": batches * BATCH_SIZE,
        "megabytes_at_start": round(before / 2**20),
        "megabytes": round(after / 2**20),
        "records_per_second": round(batches * BATCH_SIZE / seconds),
        "records_per_processor_second": round(batches * BATCH_SIZE / used),
    }


def consume(denoiser: str, seconds: float) -> dict[str, Any]:
    """Train the small preset's denoiser on the embedded zoo; return the records a second that its steps consume."""
    from weightgen.training.config import small
    from weightgen.training.data import load_zoo
    from weightgen.training.weights import prepare

    torch.set_num_threads(1)
    zoo = find_zoo("weightzoo-small")
    data = load_zoo(zoo)
    config = replace(small(denoiser), batch_size=BATCH_SIZE, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        run = prepare(config, data, load_zoo(zoo, "validation"), Path(folder))
        feed = data.feed(BATCH_SIZE, 0)
        batches = [next(feed) for _ in range(4)]
        for batch in batches:  # texts into the cache, first step slow
            run.train_step(batch)
        started, busy, steps = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - started < seconds:
            run.train_step(batches[steps % 4])
            steps += 1
        wall, used = time.perf_counter() - started, time.process_time() - busy
    return {
        "denoiser": denoiser,
        "records_per_second": round(steps * BATCH_SIZE / wall),
        "records_per_processor_second": round(steps * BATCH_SIZE / used),
    }


def main(arguments: list[str] | None = None) -> None:
    """Run every measurement and write the result."""
    parser = arguments_of(__doc__)
    parser.add_argument("--megabytes", type=int, nargs="+", default=[1000, 8000])
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each denoiser trains")
    parser.add_argument(
        "--read", nargs=2, metavar=("FOLDER", "BATCHES"), help="one measurement, as main starts it"
    )
    parser.add_argument("--consume", metavar="DENOISER", help="one measurement, as main starts it")
    options = parser.parse_args(arguments)
    if options.read:
        print(json.dumps(read(Path(options.read[0]), int(options.read[1]))))
        return
    if options.consume:
        print(json.dumps(consume(options.consume, options.seconds)))
        return

    def measure(*more: str) -> dict[str, Any]:
        return in_own_process("benchmarks.stream", "--seconds", str(options.seconds), *more)

    rows: list[dict[str, Any]] = []
    record = open_zoo(find_zoo("weightzoo-small")).layout.mask.numel() * 2
    batches = int(1.2 * min(options.megabytes) * 10**6 / record / BATCH_SIZE)
    for megabytes in options.megabytes:
        with tempfile.TemporaryDirectory(prefix="weightzoo-stream-") as folder:
            write_synthetic(Path(folder), megabytes)
            rows.append({"dataset_megabytes": megabytes} | measure("--read", folder, str(batches)))
    rows += [measure("--consume", denoiser) for denoiser in ("transformer", "unet1d")]
    write_result("stream", rows)


if __name__ == "__main__":
    main()
