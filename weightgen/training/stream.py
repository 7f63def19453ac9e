"""Records streamed from shards that need not fit in memory, on disk or on the Hub, as training batches.

    source, validation = open_source([open_named("user/zoo@v1")])      # loads a small zoo, streams a large one
    for batch in source.feed(batch_size=32, seed=0, start_step=1200):
        batch.blocks, batch.texts

**The order is a function of (seed, step).** Training batch number n takes the records at positions nB to nB + B - 1
of an endless sequence of epochs; each epoch has every record once. Within an epoch slot i of the batch (its i-th
row) reads a range of its own out of the shards, which come in a random order: neighbours in a batch come from
different shards, and every slot reads its shards from the beginning to the end, a window of records at a time in
random order. So

- the state of the stream is the number of the next step, and any step can be begun at;
- a worker that makes some of the slots reads the shards of these only, and what it makes does not depend on how
  the others are divided: the batches are the same for every number of nodes and loader workers;
- memory is bounded by `WINDOW` records, whatever the size of the dataset.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch

from weightgen.normalize import BlockStatistics
from weightgen.training.data import WeightBatch, WeightDataset, load_records, load_zoo, merge, wording
from zoo.errors import WeightzooError
from zoo.layout import WeightLayout
from zoo.manifest import ShardEntry
from zoo.records import WeightRecord
from zoo.run import Zoo
from zoo.words import plural

IN_MEMORY = 1 << 30  # bytes of weights as float32: up to here a zoo is loaded, and shuffled as a whole
VALIDATION_RECORDS = 512  # of a stream that are held in memory
WINDOW = 2048  # records of a whole batch's slots that are mixed at a time
FETCHES = 8  # files of the Hub fetched ahead at a time


def open_source(zoos: Sequence[Zoo], in_memory: int = IN_MEMORY) -> tuple[WeightSource, WeightDataset]:
    """Return the train records of zoos to learn from, and validation records of the first.

    What fits into `in_memory` bytes is loaded, from wherever it lies, and a larger zoo is streamed.

    Raises:
        WeightzooError: several zoos that are too large together, or zoos that do not belong together.
    """
    streams = [ShardStream.open(zoo) for zoo in zoos]
    size = sum(4 * len(data) * data.layout.num_blocks * data.layout.block_size for data in streams)
    if size <= in_memory:
        return merge([load_zoo(zoo) for zoo in zoos]), load_zoo(zoos[0], "validation")
    if len(zoos) > 1:
        raise WeightzooError(
            f"several zoos are merged in memory, and these are {size >> 30} GiB together; train on one of them"
        )
    train, validation = streams[0], ShardStream.open(zoos[0], "validation")
    if len(validation) == 0:
        train, validation = hold_out_shards(train)
    return train, load_records(zoos[0], validation.some(VALIDATION_RECORDS))


@dataclass(frozen=True)
class ShardStream:
    """The records of some shards of a zoo as a source of training batches; see the module.

    Attributes:
        zoo: where the shards lie; of the Hub they come through its client's cache as they are needed.
        window: records mixed at a time, over all slots of a batch.
    """

    zoo: Zoo
    shards: tuple[ShardEntry, ...]
    window: int = WINDOW

    @classmethod
    def open(cls, zoo: Zoo, split: str = "train", window: int = WINDOW) -> ShardStream:
        """Return the stream of a zoo's `split`; it is empty if the split is."""
        shards = (entry for entry in zoo.manifest.shards if entry.split == split and entry.records)
        return cls(zoo, tuple(shards), window)

    def __len__(self) -> int:
        return sum(entry.records for entry in self.shards)

    @property
    def layout(self) -> WeightLayout:
        return self.zoo.layout

    @property
    def base_generator(self) -> Path:
        return self.zoo.base_path

    @property
    def base_sha256(self) -> str:
        return self.zoo.manifest.base_sha256

    @property
    def name(self) -> str:
        return self.zoo.name

    @property
    def has_pseudo_labels(self) -> bool:
        return False

    @property
    def fingerprint(self) -> str:
        """Return 16 hexadecimal digits that name the shards by their content."""
        words = f"{self.layout.id} {self.base_sha256} {self.window} {[entry.sha256 for entry in self.shards]}"
        return hashlib.sha256(words.encode()).hexdigest()[:16]

    def statistics(self) -> BlockStatistics:
        """Return the statistics of the zoo's train records, as published with it."""
        return BlockStatistics.from_zoo(self.zoo.statistics(), self.layout)

    def some(self, count: int) -> Iterator[WeightRecord]:
        """Return up to `count` of the records, from shards taken at random."""
        rows = chain.from_iterable(self.zoo.shard(entry) for entry in self.order(0, 0))
        return islice(rows, count)

    def wordings(self, count: int) -> list[tuple[str, ...]]:
        """Return the prompt and the paraphrases of up to `count` concepts, at random."""
        return [(record.prompt, *record.paraphrases) for record in self.some(count)]

    def feed(
        self, batch_size: int, seed: int, start_step: int = 0, slots: range | None = None
    ) -> Generator[WeightBatch]:
        """Yield endless batches from `start_step` on.

        Args:
            batch_size: rows of the whole batch, over all workers.
            slots: the rows of the batch to make; all by default.

        Raises:
            WeightzooError: there is no record, or a shard cannot be read.
        """
        if len(self) == 0:
            raise WeightzooError("the training split is empty; build or download a zoo with training records")
        slots = range(batch_size) if slots is None else slots
        pool = ThreadPoolExecutor(FETCHES, "fetch")

        def fetch(entry: ShardEntry) -> None:
            pool.submit(self.zoo.file, entry.name)  # what fails here fails again when the shard is opened

        lanes = [self.lane(slot, batch_size, seed, start_step, fetch) for slot in slots]
        try:
            for slot in slots:
                column = next(columns(len(self), batch_size, slot, start_step))
                order = self.order(seed, column.epoch)
                fetch(order[shard_at(order, column.start + column.done)[0]])
            step = start_step
            while True:
                records = [next(lane) for lane in lanes]
                blocks = torch.from_numpy(np.stack([record.blocks for record in records])).float()
                counts = [1 + len(record.paraphrases) for record in records]
                chosen = wording(seed, step, batch_size)[slots.start : slots.stop]
                picks = (chosen * counts).astype(int)
                texts = [(r.prompt, *r.paraphrases)[i] for r, i in zip(records, picks, strict=True)]
                yield WeightBatch(step, blocks, texts)
                step += 1
        finally:
            for lane in lanes:
                lane.close()
            pool.shutdown(cancel_futures=True)

    def lane(
        self, slot: int, batch_size: int, seed: int, start_step: int, fetch: Callable[[ShardEntry], None]
    ) -> Generator[WeightRecord]:
        """Yield the endless records of one slot, from that of `start_step` on."""
        window = max(1, self.window // batch_size)
        for column in columns(len(self), batch_size, slot, start_step):
            order = self.order(seed, column.epoch)
            first = column.done // window * window
            with closing(self.read(order, column.start + first, column.start + column.count, fetch)) as rows:
                for begin in range(first, column.count, window):
                    mixed = list(islice(rows, min(window, column.count - begin)))
                    rng = np.random.default_rng([seed, 2, column.epoch, slot, begin])
                    for place in rng.permutation(len(mixed))[max(column.done - begin, 0) :]:
                        yield mixed[place]

    def order(self, seed: int, epoch: int) -> list[ShardEntry]:
        """Return the shards of an epoch, shuffled."""
        permutation = np.random.default_rng([seed, 0, epoch]).permutation(len(self.shards))
        return [self.shards[i] for i in permutation]

    def read(
        self, order: list[ShardEntry], start: int, stop: int, fetch: Callable[[ShardEntry], None]
    ) -> Generator[WeightRecord]:
        """Yield records number `start` to `stop` of `order`; the next shard is fetched while one is read."""
        index, skip = shard_at(order, start)
        left = stop - start
        while left > 0:
            entry = order[index]
            taken = min(entry.records - skip, left)
            if taken < left:
                fetch(order[index + 1])
            rows = counted(self.zoo.shard(entry), entry, skip + taken)
            with closing(rows):
                yield from islice(rows, skip, skip + taken)
            left, index, skip = left - taken, index + 1, 0


WeightSource = WeightDataset | ShardStream  # what training reads: records in memory, or streamed


@dataclass(frozen=True)
class Column:
    """What a slot reads in one epoch: records `start` to `start + count` of it, of which `done` are past."""

    epoch: int
    start: int
    count: int
    done: int


def columns(num_records: int, batch_size: int, slot: int, start_step: int) -> Iterator[Column]:
    """Yield the columns of one slot from that of `start_step` on; empty ones are left out."""
    slots = np.arange(batch_size)
    epoch, step = (start_step * batch_size + slot) // num_records, start_step
    while True:
        # slot i holds the positions p with p % batch_size == i; the epoch is those from begin to end
        first = -((slots - epoch * num_records) // batch_size)
        count = -((slots - (epoch + 1) * num_records) // batch_size) - first
        if count[slot]:
            yield Column(epoch, int(count[:slot].sum()), int(count[slot]), step - int(first[slot]))
        epoch, step = epoch + 1, int(first[slot] + count[slot])


def shard_at(order: list[ShardEntry], position: int) -> tuple[int, int]:
    """Return which shard of `order` holds the record at `position`, and at which place."""
    ends = np.cumsum([entry.records for entry in order])
    index = int(np.searchsorted(ends, position, "right"))
    return index, position - int(ends[index]) + order[index].records


def counted(rows: Iterator[WeightRecord], entry: ShardEntry, needed: int) -> Generator[WeightRecord]:
    """Yield a shard's records; raise `WeightzooError` when there are fewer than `needed`."""
    count = 0
    for row in rows:
        count += 1
        yield row
    if count < needed:
        raise WeightzooError(
            f"{entry.name} has {plural(count, 'record')}, its manifest says {entry.records}; verify the zoo"
        )


def hold_out_shards(data: ShardStream, fraction: float = 0.05) -> tuple[ShardStream, ShardStream]:
    """Return (train, validation) by a hash of the shards, for a zoo without a validation split of its own.

    Raises:
        WeightzooError: the stream has a single shard.
    """
    if len(data.shards) < 2:
        raise WeightzooError(f"{data.name} has a single shard and no validation split; it cannot be divided")
    ranked = sorted(data.shards, key=lambda entry: hashlib.sha256(entry.name.encode()).hexdigest())
    held: list[ShardEntry] = []
    while sum(entry.records for entry in held) < fraction * len(data) and len(ranked) > 1:
        held.append(ranked.pop(0))
    rest = tuple(entry for entry in data.shards if entry not in held)
    return replace(data, shards=rest), replace(data, shards=tuple(held))
