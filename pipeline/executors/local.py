"""The local executor: tasks on worker processes of this machine.

for outcome in run_local(tasks, train_one_fleet, workers=2):
    print(outcome.task, outcome.error or outcome.result)
"""

import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any

from pipeline.executors.attempts import Backlog, Outcome, Reply, Task, run_task

WORKER_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}

SCRATCH = "WEIGHTZOO_SCRATCH"  # environment: where a worker's temporary folders go


def run_local(
    tasks: Iterable[Task], fn: Callable[[Task], Any], workers: int = 2, max_in_flight: int | None = None
) -> Generator[Outcome, None, None]:
    """Run `fn` on every task in `workers` one-thread processes; yield outcomes as they finish."""
    del max_in_flight  # a local worker holds one task
    backlog = Backlog(tasks)
    running: dict[_Worker, tuple[Task, int]] = {}
    idle: list[_Worker] = []
    # workers are killed: what they have in their scratch folders is removed by us
    scratch = tempfile.TemporaryDirectory(prefix="weightzoo-workers-", ignore_cleanup_errors=True)
    try:
        while True:
            while len(running) < workers and (taken := backlog.take()):
                worker = idle.pop() if idle else _Worker(fn, scratch.name)
                running[worker] = taken
                worker.send(taken[0])
            if not running:
                if (pause := backlog.pause()) is None:
                    return
                time.sleep(pause)
                continue
            for worker in _ready(running, backlog.pause() if len(running) < workers else None):
                task, attempt = running.pop(worker)
                reply = worker.reply()
                if reply is None:
                    reply = Reply(retry=True, error="its worker process died")
                elif reply.replace:
                    worker.stop()
                else:
                    idle.append(worker)
                if outcome := backlog.settle(task, attempt, reply):
                    yield outcome
    finally:
        for worker in (*idle, *running):
            worker.stop()
        scratch.cleanup()


class _Worker:
    """One local process that runs one task at a time."""

    def __init__(self, fn: Callable[[Task], Any], scratch: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, fn), daemon=True)
        with _environment(WORKER_ENVIRONMENT | {SCRATCH: scratch}):
            self.process.start()
        theirs.close()

    def send(self, task: Task) -> None:
        try:
            self.connection.send(task)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it died while idle: its closed pipe says so to whoever waits for it

    def reply(self) -> Reply | None:
        """Return the answer, or `None` when the process died."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self.stop()
            return None

    def stop(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.join()


def _ready(running: Iterable[_Worker], timeout: float | None) -> list[_Worker]:
    """Wait until a worker has answered or died; empty when `timeout` seconds have passed before."""
    by_connection: dict[Any, _Worker] = {worker.connection: worker for worker in running}
    return [by_connection[connection] for connection in wait(list(by_connection), timeout)]


def _serve(connection: Connection, fn: Callable[[Task], Any]) -> None:
    """Run a local worker: tasks in, replies out, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C and stops us
    while True:
        try:
            task = connection.recv()
            connection.send(run_task(fn, task))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return  # the parent is gone


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
