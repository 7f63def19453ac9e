"""Making the next batches in a thread while the current one is being used.

    for batch in prefetch(render_batches(), depth=2):
        ...

Order and content are those of the iterable; what it raises is raised here. With two cores, rendering costs no
time as long as it is faster than a training step (torch lets other threads run while it computes).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

T = TypeVar("T")


def prefetch(items: Iterable[T], depth: int = 2) -> Generator[T, None, None]:
    """Yields what `items` yields, at most `depth` items ahead; closing the generator ends the thread."""
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
