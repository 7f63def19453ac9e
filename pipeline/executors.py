"""Running independent tasks: on local worker processes or on a Ray cluster, behind one signature.

    for outcome in run_local(tasks, train_one_fleet, workers=2):
        print(outcome.task, outcome.error or outcome.result)

``run(tasks, fn, workers, max_in_flight)`` yields one :class:`Outcome` per task as they finish. ``fn`` is a
function at module level, tasks and results are small. Infrastructure failures (a worker killed, out of
memory, a storage hiccup) are tried up to ``MAX_ATTEMPTS`` times; what ``fn`` raises otherwise is not: it
comes back as ``Outcome.error``. Every worker computes with one thread.
Ctrl-C stops the workers at once; what they had finished
is on disk.
"""

import errno
import logging
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from zoo.errors import WeightzooError

Task = Any
MAX_ATTEMPTS = 4
BACKOFF_SECONDS = 0.5
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    # large batches are allocated and freed at every step: keep them from going back to the system each time
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
}


@dataclass(frozen=True)
class Outcome:
    """What became of one task: a result, or an error with what the worker printed about it."""

    task: Task
    result: Any = None
    error: str | None = None
    details: str = ""
    attempts: int = 1


def run_local(
    tasks: Iterable[Task], fn: Callable[[Task], Any], workers: int = 2, max_in_flight: int | None = None
) -> Iterator[Outcome]:
    """Run ``fn`` on every task in ``workers`` one-thread processes; yield outcomes as they finish."""
    del max_in_flight  # a local worker holds one task
    pending = deque((task, 1) for task in tasks)
    running: dict[_Worker, tuple[Task, int]] = {}
    idle: list[_Worker] = []
    try:
        while pending or running:
            while pending and len(running) < workers:
                worker = idle.pop() if idle else _start_worker(fn)
                running[worker] = pending.popleft()
                worker.send(running[worker][0])
            for worker in _ready(running):
                task, attempt = running.pop(worker)
                reply = worker.reply()
                if reply is None:
                    reply = _Reply(retry=True, error="its worker process died")
                else:
                    idle.append(worker)
                if reply.retry and attempt < MAX_ATTEMPTS:
                    time.sleep(BACKOFF_SECONDS * 2 ** (attempt - 1))
                    pending.appendleft((task, attempt + 1))
                else:
                    yield Outcome(task, reply.result, reply.error, reply.details, attempt)
    finally:
        for worker in (*idle, *running):
            worker.stop()


def run_ray(
    tasks: Iterable[Task],
    fn: Callable[[Task], Any],
    workers: int = 2,
    max_in_flight: int | None = None,
    address: str = "local",
    gpus_per_task: float = 0.0,
) -> Iterator[Outcome]:
    """Run ``fn`` on every task as Ray tasks of one CPU (and a share of a GPU); yield outcomes as they finish.

    Args:
        workers: CPUs of the cluster that ``address="local"`` starts; on an existing cluster only the default
            of ``max_in_flight`` (twice as many) follows from it.
        address: ``local``, ``auto`` or ``ray://host:port``; always named: a stale address file does no harm.
    """
    try:
        import ray
    except ImportError:
        raise WeightzooError("the Ray executor needs Ray; pip install 'weightzoo[build]'") from None

    started = not ray.is_initialized()
    if started:
        _start_ray(address, workers)

    @ray.remote(num_cpus=1, num_gpus=gpus_per_task, max_retries=MAX_ATTEMPTS - 1)
    def run_one(task: Task) -> _Reply:
        return _run_task(fn, task)

    pending = deque((task, 1) for task in tasks)
    running: dict[Any, tuple[Task, int]] = {}
    limit = max_in_flight or 2 * workers
    try:
        while pending or running:
            while pending and len(running) < limit:
                task, attempt = pending.popleft()
                running[run_one.remote(task)] = (task, attempt)
            done, _ = ray.wait(list(running), num_returns=1)
            for reference in done:
                task, attempt = running.pop(reference)
                try:
                    reply = ray.get(reference)
                except ray.exceptions.RayError as error:  # Ray has used up its own retries
                    reply = _Reply(error=f"the cluster lost it: {_first_line(error)}")
                if reply.retry and attempt < MAX_ATTEMPTS:
                    time.sleep(BACKOFF_SECONDS * 2 ** (attempt - 1))
                    pending.appendleft((task, attempt + 1))
                else:
                    yield Outcome(task, reply.result, reply.error, reply.details, attempt)
    finally:
        for reference in running:
            ray.cancel(reference, force=True)
        if started:
            ray.shutdown()


EXECUTORS: dict[str, Callable[..., Iterator[Outcome]]] = {"local": run_local, "ray": run_ray}


@dataclass(frozen=True)
class _Reply:
    result: Any = None
    error: str | None = None
    details: str = ""
    retry: bool = False


class _Worker:
    """One local process that runs one task at a time."""

    def __init__(self, fn: Callable[[Task], Any]) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, fn), daemon=True)
        with _environment(WORKER_ENVIRONMENT):
            self.process.start()
        theirs.close()

    def send(self, task: Task) -> None:
        try:
            self.connection.send(task)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it died while idle: its closed pipe says so to whoever waits for it

    def reply(self) -> _Reply | None:
        """Return the answer, or ``None`` when the process died."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self.stop()
            return None

    def stop(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.join()


def _start_worker(fn: Callable[[Task], Any]) -> _Worker:
    return _Worker(fn)


def _ready(running: Iterable[_Worker]) -> list[_Worker]:
    """Wait until at least one worker has answered or died."""
    by_connection: dict[Any, _Worker] = {worker.connection: worker for worker in running}
    return [by_connection[connection] for connection in wait(list(by_connection))]


def _serve(connection: Connection, fn: Callable[[Task], Any]) -> None:
    """The life of a local worker: tasks in, replies out, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C and stops us
    while True:
        try:
            task = connection.recv()
            connection.send(_run_task(fn, task))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return  # the parent is gone


def _run_task(fn: Callable[[Task], Any], task: Task) -> _Reply:
    """Run ``fn`` and say what happened, and whether trying again may help."""
    try:
        return _Reply(result=fn(task))
    except WeightzooError as error:
        return _Reply(error=str(error), retry=_is_infrastructure(error.__cause__))
    except Exception as error:
        line = f"{type(error).__name__}: {_first_line(error)}"
        return _Reply(error=line, details=traceback.format_exc(), retry=_is_infrastructure(error))


def _is_infrastructure(error: BaseException | None) -> bool:
    """True where another attempt may succeed: memory and storage, but not a full disk or a missing file."""
    if isinstance(error, OSError):
        lasting = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOENT, errno.EACCES, errno.EROFS)
        return error.errno is not None and error.errno not in lasting
    return isinstance(error, MemoryError)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables for the processes started inside."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def _start_ray(address: str, workers: int) -> None:
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    root = Path(__file__).resolve().parent.parent
    # workers on this machine import what we can import; a cluster's nodes need a path of their own
    paths = [str(root), *(entry for entry in sys.path if entry)] if address == "local" else [str(root)]
    options: dict[str, Any] = {"num_cpus": workers, "include_dashboard": False} if address == "local" else {}
    ray.init(
        address=address,
        logging_level=logging.ERROR,
        log_to_driver=False,
        runtime_env={"env_vars": WORKER_ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(paths)}},
        **options,
    )
