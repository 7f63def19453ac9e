"""One attempt at a task, and when to try again: what the local and the Ray executor have in common.

Infrastructure failures (a worker or node lost, out of memory, a storage hiccup) are tried up to `MAX_ATTEMPTS`
times with growing pauses. What the task's function raises otherwise would come again: it is tried once and told
apart as `Outcome.application`.
"""

import errno
import heapq
import itertools
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from zoo.errors import WeightzooError

Task = Any
MAX_ATTEMPTS = 4
BACKOFF_SECONDS = 0.5
LASTING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOENT, errno.EACCES, errno.EROFS)
# torch's names for an accelerator that is out of memory or gone; importing torch here would cost a second
ACCELERATOR_ERRORS = ("OutOfMemoryError", "AcceleratorError")
ACCELERATOR_TEXTS = (  # of torch's RuntimeErrors and AssertionErrors that have no name of their own
    "CUDA error",
    "cuDNN error",
    "No CUDA GPUs are available",
    "Unexpected error from cudaGetDeviceCount",
    "Found no NVIDIA driver",
    "Torch not compiled with CUDA enabled",
)
MEMORY_TEXT = "can't allocate memory"  # the RuntimeError of torch's allocator on a CPU


@dataclass(frozen=True)
class Outcome:
    """What became of one task: a result, or an error with what the worker printed about it.

    Attributes:
        application: the function itself raised the error, so that another attempt would end the same; false for
            lost machines, for storage, and for what a person has to mend (`WeightzooError`).
    """

    task: Task
    result: Any = None
    error: str | None = None
    details: str = ""
    attempts: int = 1
    application: bool = False


@dataclass(frozen=True)
class Reply:
    """What a worker says of one attempt.

    Attributes:
        retry: trying again may help.
        replace: not in this process: its accelerator answers nothing but errors from now on.
    """

    result: Any = None
    error: str | None = None
    details: str = ""
    retry: bool = False
    application: bool = False
    replace: bool = False


class Backlog:
    """Tasks that wait for a worker: fresh ones are drawn when there is room, failed ones come back after a pause."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._fresh = iter(tasks)
        self._again: list[tuple[float, int, Task, int]] = []
        self._order = itertools.count()

    def take(self) -> tuple[Task, int] | None:
        """Return (task, number of the attempt), or `None` when nothing is ready now."""
        if self._again and self._again[0][0] <= time.monotonic():
            _, _, task, attempt = heapq.heappop(self._again)
            return task, attempt
        for task in self._fresh:
            return task, 1
        return None

    def pause(self) -> float | None:
        """Return seconds until a failed task is ready again; `None` when none waits."""
        return max(0.0, self._again[0][0] - time.monotonic()) if self._again else None

    def settle(self, task: Task, attempt: int, reply: Reply) -> Outcome | None:
        """Return the outcome of an attempt, or `None` when the task waits for another one."""
        if reply.retry and attempt < MAX_ATTEMPTS:
            ready = time.monotonic() + BACKOFF_SECONDS * 2 ** (attempt - 1)
            heapq.heappush(self._again, (ready, next(self._order), task, attempt + 1))
            return None
        return Outcome(task, reply.result, reply.error, reply.details, attempt, reply.application)


def run_task(fn: Callable[[Task], Any], task: Task) -> Reply:
    """Run `fn` and say what happened. Runs inside a worker."""
    try:
        return Reply(result=fn(task))
    except WeightzooError as error:
        cause = error.__cause__
        return Reply(error=str(error), retry=_may_pass(cause), replace=_is_accelerator(cause))
    except Exception as error:
        line = f"{type(error).__name__}: {first_line(error)}"
        own = not is_machines_fault(error)
        return Reply(None, line, traceback.format_exc(), _may_pass(error), own, _is_accelerator(error))


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def is_machines_fault(error: BaseException | None) -> bool:
    """Return whether memory, storage or an accelerator raised the error, and not the task."""
    return isinstance(error, OSError) or _is_out_of_memory(error) or _is_accelerator(error)


def _may_pass(error: BaseException | None) -> bool:
    """Return whether another attempt may succeed: not after a full disk or a missing file."""
    if isinstance(error, OSError):
        return error.errno not in LASTING
    return is_machines_fault(error)


def _is_out_of_memory(error: BaseException | None) -> bool:
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and MEMORY_TEXT in str(error))


def _is_accelerator(error: BaseException | None) -> bool:
    if type(error).__name__ in ACCELERATOR_ERRORS:
        return True
    return isinstance(error, RuntimeError | AssertionError) and any(text in str(error) for text in ACCELERATOR_TEXTS)
