"""Ways from weights on disk to float32 batches in memory, ours and others', for `benchmarks.loading`.

    write_data(folder, layout, megabytes=300)          # the same weights for every reader
    for name, reader in LOCAL.items():
        delivered = reader.read(folder)                # bytes of float16 weights that it has read

The other libraries are used as their documentation shows first. All but `read()` end in torch batches of
`BATCH_SIZE` records; ours shuffle them, check every checksum and bring the prompts along.
"""

import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import safetensors.torch
import torch

from benchmarks.harness.synthetic import random_blocks, synthetic_metadata, synthetic_record
from weightgen.training.data import load_zoo
from weightgen.training.stream import ShardStream
from zoo.files import sha256_file, write_bytes
from zoo.hub import find_zoo
from zoo.hub.remote import open_hub_zoo
from zoo.layout import WeightLayout
from zoo.manifest import ShardEntry, load_manifest, write_manifest
from zoo.run import Zoo, open_zoo
from zoo.shards import FORMATS, shard_name
from zoo.statistics import STATISTICS_FILE, block_statistics, save_statistics

BATCH_SIZE, RECORDS_PER_SHARD = 32, 16  # a shard is a fleet
TYPED_SHARE = 8  # typed columns are slow to read: one shard in so many
HUB_REPO = "user/loading"
BASE = "base/generator.safetensors"


def write_data(folder: Path, layout: WeightLayout, megabytes: float) -> None:
    """Write random records in every format of ours, and the same weights as safetensors and as typed columns."""
    import datasets

    datasets.disable_progress_bars()
    zoo = find_zoo("weightzoo-small")
    embedded, base = load_manifest(zoo), (zoo / BASE).read_bytes()
    metadata, blocks = synthetic_metadata(layout), random_blocks(RECORDS_PER_SHARD, layout)
    count = max(1, round(megabytes * 10**6 / blocks.nbytes))
    entries: dict[str, list[ShardEntry]] = {name: [] for name in FORMATS}
    for index in range(count):
        blocks = np.roll(blocks, 1, 2)
        records = [synthetic_record(index * RECORDS_PER_SHARD + i, own) for i, own in enumerate(blocks)]
        for name, shards in FORMATS.items():
            path = folder / name / "weights" / shard_name("train", index, count, shards.SUFFIX)
            shards.write_shard(path, records, layout, metadata)
            size, digest = path.stat().st_size, sha256_file(path)
            entries[name].append(ShardEntry(f"weights/{path.name}", "train", digest, size, len(records)))
        plain = folder / "safetensors" / f"{index:05d}.safetensors"
        plain.parent.mkdir(exist_ok=True)
        safetensors.numpy.save_file({"blocks": blocks}, plain)
        if index % TYPED_SHARE == 0:
            columns = {"prompt": [record.prompt for record in records], "blocks": list(blocks)}
            typed = folder / "typed" / f"{index:05d}.parquet"
            typed.parent.mkdir(exist_ok=True)
            datasets.Dataset.from_dict(columns).to_parquet(str(typed))
    statistics = block_statistics(records, layout)  # of the last shard: they only have to be there
    for name, own in entries.items():
        layout.save(folder / name / "layout.json")
        write_bytes(folder / name / BASE, base)
        save_statistics(folder / name / STATISTICS_FILE, statistics)
        paths = {file: folder / name / file for file in ("layout.json", BASE, STATISTICS_FILE)}
        files = {file: sha256_file(path) for file, path in paths.items()}
        sizes = {file: path.stat().st_size for file, path in paths.items()}
        manifest = replace(embedded, layout_id=layout.id, shards=tuple(own), files=files, sizes=sizes)
        write_manifest(folder / name, manifest)


@dataclass(frozen=True)
class Reader:
    """`read` takes the folder of :func:`write_data` and reads all files that `files` matches."""

    files: str
    read: Callable[[Path], int]


def raw(folder: Path) -> int:
    """Read every byte of a zoo's shards into one buffer; return how many there were."""
    buffer, total = bytearray(1 << 20), 0
    for path in sorted(folder.glob("parquet/weights/*")):
        with open(path, "rb", buffering=0) as file:
            while count := file.readinto(buffer):
                total += count
    return total


def safetensors_files(folder: Path) -> int:
    """Read a folder of safetensors files; return the bytes of weights."""
    shards = (safetensors.torch.load_file(path)["blocks"] for path in sorted(folder.glob("safetensors/*")))
    return drain(batch.float() for blocks in shards for batch in blocks.split(BATCH_SIZE))


def stream_of(format_name: str) -> Callable[[Path], int]:
    """Return a reader of the shards of one format through our own stream."""
    return lambda folder: epoch(open_zoo(folder / format_name))


def epoch(zoo: Zoo) -> int:
    """Make an epoch's batches of a streamed zoo; return the bytes of weights."""
    data = ShardStream.open(zoo)
    with closing(data.feed(BATCH_SIZE, seed=0)) as batches:
        return drain(batch.blocks for batch in islice(batches, len(data) // BATCH_SIZE))


def in_memory(folder: Path) -> int:
    """Load a zoo as training loads a small one, and make an epoch's batches of it; return the bytes of weights."""
    data = load_zoo(open_zoo(folder / "parquet"))
    with closing(data.feed(BATCH_SIZE, seed=0)) as batches:
        return drain(batch.blocks for batch in islice(batches, len(data) // BATCH_SIZE))


def plain_webdataset(folder: Path) -> int:
    """Read shards with `webdataset` as its documentation shows first; return the bytes of weights."""
    import webdataset

    def weights() -> Iterator[torch.Tensor]:
        paths = [str(path) for path in sorted(folder.glob("webdataset/weights/*"))]
        for sample in webdataset.WebDataset(paths, shardshuffle=False):
            yield safetensors.torch.load(sample["safetensors"])["blocks"]

    return drain(torch.stack(rows).float() for rows in chunks(weights()))


def plain_datasets(files: Iterable[object]) -> int:
    """Read the fixed-size binary column as it stands in a zoo; return the bytes of weights."""
    rows = parquet_dataset(files).iter(BATCH_SIZE)
    columns = (np.stack([np.frombuffer(row, "<f2") for row in batch["blocks"]]) for batch in rows)
    return drain(torch.from_numpy(column).float() for column in columns)


def typed_datasets(files: Iterable[object]) -> int:
    """Read weights that are lists of numbers, as `datasets` writes an array; return their bytes."""
    return drain(
        batch["blocks"].float() for batch in parquet_dataset(files).with_format("torch").iter(BATCH_SIZE)
    )


def parquet_dataset(files: Iterable[object]) -> Any:
    """Return Parquet files as a dataset whose rows `datasets` streams."""
    import datasets

    names = [str(file) for file in files]
    return datasets.load_dataset("parquet", data_files=names, split="train", streaming=True)


LOCAL = {
    "read()": Reader("parquet/weights/*", raw),
    "weightzoo parquet": Reader("parquet/weights/*", stream_of("parquet")),
    "weightzoo parquet, loaded": Reader("parquet/weights/*", in_memory),
    "weightzoo webdataset": Reader("webdataset/weights/*", stream_of("webdataset")),
    "safetensors files": Reader("safetensors/*", safetensors_files),
    "plain webdataset": Reader("webdataset/weights/*", plain_webdataset),
    "datasets, binary column": Reader(
        "parquet/weights/*", lambda folder: plain_datasets(sorted(folder.glob("parquet/weights/*")))
    ),
    "datasets, typed columns": Reader(
        "typed/*", lambda folder: typed_datasets(sorted(folder.glob("typed/*")))
    ),
}


def hub_readers(url: str) -> dict[str, Callable[[], int]]:
    """Return readers of the repository `HUB_REPO` at `url`, which has the Parquet zoo and the typed columns."""
    zoo = open_hub_zoo(HUB_REPO)
    names = [entry.name for entry in zoo.manifest.shards]
    place = f"hf://datasets/{HUB_REPO}"

    def get() -> int:
        total = 0
        for name in names:
            with urllib.request.urlopen(f"{url}/datasets/{HUB_REPO}/resolve/main/{name}") as answer:
                total += len(answer.read())
        return total

    return {
        "HTTP GET": get,
        "weightzoo parquet": lambda: epoch(open_hub_zoo(HUB_REPO)),
        "datasets, binary column": lambda: plain_datasets(f"{place}/{name}" for name in names),
        "datasets, typed columns": lambda: typed_datasets([f"{place}/typed/*.parquet"]),
    }


def chunks(items: Iterable[Any]) -> Iterator[list[Any]]:
    """Yield lists of `BATCH_SIZE` items."""
    items = iter(items)
    while chunk := list(islice(items, BATCH_SIZE)):
        yield chunk


def drain(batches: Iterable[torch.Tensor]) -> int:
    """Return the bytes of float16 weights in batches of float32."""
    total = 0
    for batch in batches:
        assert batch.dtype == torch.float32
        total += 2 * batch.numel()
    return total
