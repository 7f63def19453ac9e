"""Making training batches ahead: in a thread of this process, or in loader processes that share the slots.

    with closing(load(source, batch_size=32, seed=0, start_step=0, workers=2)) as stream:
        for batch in stream: ...

    for batch in prefetch(render_batches(), depth=2): ...

The batches are those of `source.feed`, whatever the number of workers: each loader process makes some of the
slots of every batch, and they are put together here. On a CPU one thread reads 40 times as many records as the small
transformer takes (`benchmarks/stream.py`); processes are for a GPU that takes more than one thread reads.
"""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TypeVar

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from weightgen.training.data import WeightBatch, WeightSource
from zoo.errors import WeightzooError
from zoo.memory import keep_freed_memory

T = TypeVar("T")


def prefetch(items: Iterable[T], depth: int = 2) -> Generator[T, None, None]:
    """Yield what `items` yields, made in a thread at most `depth` items ahead; closing the generator ends the thread.

    Order and content are those of the iterable, and what it raises is raised here. With two cores, rendering costs no
    time as long as it is faster than a training step: torch lets other threads run while it computes.
    """
    ready: queue.Queue[tuple[str, T | BaseException | None]] = queue.Queue(depth)
    stopped = threading.Event()

    def put(kind: str, value: T | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                return ready.put((kind, value), timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put("item", item)
                if stopped.is_set():
                    return
            put("end", None)
        except BaseException as error:  # handed over to the consumer
            put("error", error)

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "end":
                return
            if kind == "error":
                assert isinstance(value, BaseException)
                raise value
            yield value  # type: ignore[misc]
    finally:
        stopped.set()
        thread.join()


def load(
    source: WeightSource,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    slots: range | None = None,
    workers: int = 0,
    prepare: Callable[[WeightBatch], None] = lambda batch: None,
) -> Generator[WeightBatch]:
    """Yield the batches of `source.feed`, made a few ahead; closing the generator ends threads and processes.

    Args:
        slots: the rows of the whole batch that are wanted; all by default.
        workers: loader processes; 0 makes the batches in a thread.
        prepare: called with every batch in the thread that reads ahead.
    """
    slots = range(batch_size) if slots is None else slots
    if workers:
        rows: Iterable[WeightBatch] = _from_processes(source, batch_size, seed, start_step, slots, workers)
    else:
        rows = source.feed(batch_size, seed, start_step, slots)

    def prepared() -> Iterator[WeightBatch]:
        for batch in rows:
            prepare(batch)
            yield batch

    yield from prefetch(prepared())


def divide(slots: range, parts: int) -> list[range]:
    """Cut slots into contiguous parts, as equal as they can be; parts beyond the number of slots are left out."""
    count = min(parts, len(slots))
    ends = [slots.start + len(slots) * i // count for i in range(count + 1)]
    return [range(start, stop) for start, stop in zip(ends, ends[1:], strict=False)]


class _Slots(IterableDataset):
    """The rows of part i of every batch, in loader process i, or the error that ended them."""

    def __init__(
        self, source: WeightSource, batch_size: int, seed: int, start_step: int, parts: list[range]
    ) -> None:
        self.source, self.parts = source, parts
        self.arguments = (batch_size, seed, start_step)

    def __iter__(self) -> Iterator[WeightBatch | WeightzooError]:
        torch.set_num_threads(1)
        keep_freed_memory()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal tells every process; the one that trains decides
        try:
            yield from self.source.feed(*self.arguments, self.parts[get_worker_info().id])
        except WeightzooError as error:
            yield error


def _from_processes(
    source: WeightSource, batch_size: int, seed: int, start_step: int, slots: range, workers: int
) -> Generator[WeightBatch]:
    parts = divide(slots, workers)
    dataset = _Slots(source, batch_size, seed, start_step, parts)
    loader = DataLoader(dataset, None, num_workers=len(parts), multiprocessing_context="spawn")
    rows = iter(loader)  # takes an item of each process in turn
    while True:
        made = [next(rows) for _ in parts]
        for item in made:
            if isinstance(item, WeightzooError):
                raise item
        texts = [text for part in made for text in part.texts]
        yield WeightBatch(made[0].step, torch.cat([part.blocks for part in made]), texts)
