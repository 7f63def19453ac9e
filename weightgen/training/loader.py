"""Making training batches ahead: in a thread of this process, or in loader processes that share the slots.

    with closing(load(source, batch_size=32, seed=0, start_step=0, workers=2)) as stream:
        for batch in stream: ...

    for batch in prefetch(render_batches(), depth=2): ...

The batches are those of `source.feed`, whatever the number of workers: each loader process makes some of the
slots of every batch, and they are put together here. On a CPU one thread reads 40 times as many records as the small
transformer takes (`benchmarks/stream.py`); processes are for a GPU that takes more than one thread reads.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from weightgen.training.data import WeightBatch
from weightgen.training.stream import WeightSource
from zoo.errors import WeightzooError
from zoo.memory import keep_freed_memory

T = TypeVar("T")
END: Any = object()  # comes after the last item


def prefetch(
    items: Iterable[T], prepare: Callable[[T], None] = lambda item: None, depth: int = 2
) -> Generator[T, None, None]:
    """Yield what `items` yields, made in a thread at most `depth` items ahead; closing the generator ends the thread.

    Order and content are those of the iterable, and what it raises is raised here. With two cores, rendering costs no
    time as long as it is faster than a training step: torch lets other threads run while it computes.

    Args:
        prepare: called with every item in the thread.
    """
    iterator = iter(items)

    def make() -> T:
        item: T = next(iterator, END)
        if item is not END:
            prepare(item)
        return item

    thread = ThreadPoolExecutor(1, "prefetch")
    ahead = deque(thread.submit(make) for _ in range(depth))
    try:
        while (item := ahead.popleft().result()) is not END:
            ahead.append(thread.submit(make))
            yield item
    finally:
        thread.shutdown(cancel_futures=True)


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

    yield from prefetch(rows, prepare)


def divide(slots: range, parts: int) -> list[range]:
    """Cut slots into contiguous parts, as equal as they can be; parts beyond the number of slots are left out."""
    count = min(parts, len(slots))
    ends = [slots.start + len(slots) * i // count for i in range(count + 1)]
    return [range(start, stop) for start, stop in zip(ends, ends[1:], strict=False)]


class _Slots(IterableDataset):
    """The rows of part i of every batch, in loader process i, or the error that ended them."""

    def __init__(self, source: WeightSource, batch_size: int, seed: int, start_step: int, parts: list[range]) -> None:
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
