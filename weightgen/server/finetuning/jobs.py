"""Fine-tuning jobs: which of them wait, which run, each in a process of its own.

    with jobs.room():                                   # before anything of the job is read
        job = await jobs.submit("a charcoal drawing", 30.0, "full", pairs)
    async for number, event in jobs.events(job): ...

A job is its folder (`weightgen.server.finetuning.files`): any replica that shares the folder answers for it and
can cancel it, and a job goes on when its server is killed, because its process writes its own events. What trains is
`weightgen.server.finetuning.job`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import shutil
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from weightgen.server.finetuning.files import (
    JOB_ID,
    PairImages,
    append_event,
    clean,
    is_over,
    last_event,
    read_events,
    remove_job,
    write_job,
)
from weightgen.server.limits import ServerSettings
from weightgen.server.problems import Problem
from weightgen.server.schemas import JobEvent
from zoo.errors import WeightzooError
from zoo.files import read_json
from zoo.words import plural

log = logging.getLogger("weightzoo.serve")
GRACE = 180.0  # seconds beyond the training's own for start-up, evaluations and saving, on a busy machine
POLL = 0.2
LOOK = 1.0  # seconds after which a running job is looked at: another replica may have cancelled it
NO_DISK = "the server has no room for the pictures on its disk; try again later"
STATES = {
    "waiting": "it is waiting for its turn",
    "running": "it is still running",
    "progress": "it is still running",
    "failed": "it failed",
    "cancelled": "it was cancelled",
}


class Jobs:
    """The jobs below `settings.state`.

    Args:
        on_change: told (waiting, running) whenever they change.
    """

    def __init__(self, settings: ServerSettings, on_change: Callable[[int, int], None]) -> None:
        self.settings, self.limits, self.on_change = settings, settings.limits, on_change
        self.waiting: list[str] = []  # written, and not begun
        self.reserved = 0  # places of jobs that are being read and written
        self.running: dict[str, asyncio.subprocess.Process | None] = {}  # None: about to start
        self.runners: set[asyncio.Task[None]] = set()
        self.closed = False

    @contextlib.contextmanager
    def room(self) -> Iterator[None]:
        """Yield a place among the waiting jobs for one that is about to come, until it waits or is refused.

        Raises:
            Problem: 429 when no more jobs can wait, 503 when the server is closing.
        """
        self._check_open()
        self._forget_cancelled()
        taken = len(self.waiting) + self.reserved
        if taken >= self.limits.jobs_waiting:
            wait = self.limits.job_seconds * taken / self.limits.jobs_running
            raise Problem(429, f"the queue is full ({plural(taken, 'fine-tuning job')} waiting); try again later", wait)
        self.reserved += 1
        try:
            yield
        finally:
            self.reserved -= 1

    def _check_open(self) -> None:
        if self.closed:
            raise Problem(503, "the server is shutting down; try again in a moment", 5)

    def _forget_cancelled(self) -> None:
        """Jobs that another replica has cancelled wait no longer."""
        self.waiting[:] = [job for job in self.waiting if not is_over(self.settings.state / job)]
        self._note()

    async def submit(self, prompt: str, seconds: float, mode: str, pairs: Sequence[PairImages]) -> str:
        """Write a job, then starts it or lets it wait; gives its id. To be called within `room`.

        Raises:
            Problem: 503 when the server is closing, or its disk is full.
        """
        job = secrets.token_hex(16)
        folder = self.settings.state / job
        about = {"prompt": prompt, "seconds": seconds, "mode": mode}
        paths = {"model": str(self.settings.model), "zoo": str(self.settings.zoo)}
        unwanted = threading.Event()
        try:
            await asyncio.to_thread(self._write, folder, about | paths, pairs, unwanted)
            self._check_open()
        except BaseException as error:
            unwanted.set()
            remove_job(folder)
            if isinstance(error, OSError | WeightzooError):
                log.error("job not written", exc_info=error)
                raise Problem(503, NO_DISK, self.limits.job_seconds) from None
            raise
        self.waiting.append(job)
        self._note()
        runner = asyncio.create_task(self._run())
        self.runners.add(runner)
        runner.add_done_callback(self.runners.discard)
        return job

    def _write(
        self, folder: Path, about: Mapping[str, Any], pairs: Sequence[PairImages], unwanted: threading.Event
    ) -> None:
        """In a thread, which goes on when nobody waits for it any more."""
        clean(self.settings.state, self.limits.jobs_kept - 1)
        try:
            write_job(folder, about, pairs)
        finally:
            if unwanted.is_set():
                remove_job(folder)

    async def _run(self) -> None:
        """Run what waits, one job after the other, while there is a place."""
        while not self.closed and len(self.running) < self.limits.jobs_running:
            self._forget_cancelled()
            if not self.waiting:
                return
            await self._train(self.waiting.pop(0))

    async def _train(self, job: str) -> None:
        """One job from its start to its last event."""
        folder = self.settings.state / job
        self.running[job] = None
        self._note()
        try:
            reason = await self._start(job, folder)
        except Exception as error:  # whatever it is, the next job is begun
            log.error("job not started", exc_info=error)
            reason = "it could not be started; the server's log says why"
        try:
            if not is_over(folder):
                append_event(folder, JobEvent(event="failed", error=reason))
        except OSError as error:
            log.error("event not written", exc_info=error)
        finally:
            del self.running[job]
            self._note()
            # a process may have written once more after another replica has removed its job
            there = (folder / "events.jsonl").exists()
            shutil.rmtree(folder / "pairs" if there else folder, ignore_errors=True)

    async def _start(self, job: str, folder: Path) -> str:
        """Start the job's process and waits for its end; gives the reason if it ended without an event."""
        seconds = read_json(folder / "job.json")["seconds"] + GRACE
        command = [sys.executable, "-m", "weightgen.server.finetuning.job", str(folder)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        with (folder / "log.txt").open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                *command, env=environment, stdout=file, stderr=file, start_new_session=True
            )
        self.running[job] = process
        ended = asyncio.ensure_future(process.wait())
        ends = time.monotonic() + seconds
        try:
            while not ended.done():
                if time.monotonic() >= ends or is_cancelled(folder):
                    return f"it took more than {seconds:g} s and was stopped; give fewer seconds or smaller pictures"
                await asyncio.wait({ended}, timeout=min(LOOK, max(0.0, ends - time.monotonic())))
        finally:  # whatever ended the watch, no job outlives its place
            if not ended.done():
                _kill(process)
                await ended
        return "its process ended early (out of memory?); try fewer or smaller pictures"

    def _note(self) -> None:
        self.on_change(len(self.waiting), len(self.running))

    def folder(self, job: str) -> Path:
        """Raise Problem 404 unless there is such a job."""
        folder = self.settings.state / job
        if not JOB_ID.fullmatch(job) or not (folder / "events.jsonl").is_file():
            raise Problem(404, "no such fine-tuning job, or its result was removed to make room")
        return folder

    def result(self, job: str) -> Path:
        """Return the folder that a finished job has written.

        Raises:
            Problem: 404 for no such job, 409 while it has no result.
        """
        folder = self.folder(job)
        last = last_event(folder)
        if last is None or last.event != "done":
            raise Problem(409, f"the job has no result: {STATES[last.event if last else 'waiting']}")
        return folder / "result"

    async def events(self, job: str, after: int = 0) -> AsyncIterator[tuple[int, JobEvent]]:
        """Yield the job's events from number `after` on, as they come, with their numbers from 1; ends with the job."""
        folder = self.folder(job)
        longest = self.limits.job_seconds * (self.limits.jobs_waiting + 1) + 2 * GRACE
        heard = time.monotonic()
        while True:
            events = read_events(folder)
            for number, event in enumerate(events[after:], start=after + 1):
                heard = time.monotonic()
                yield number, event
            after = max(after, len(events))
            if events and events[-1].final:
                return
            if time.monotonic() - heard > longest or not folder.is_dir():
                yield (
                    after + 1,
                    JobEvent(event="failed", error="this job ended without a result; start it again"),
                )
                return
            await asyncio.sleep(POLL)

    def cancel(self, job: str) -> None:
        """End a job that waits or runs, here or at another replica; a finished one stays."""
        folder = self.folder(job)
        if not is_over(folder):
            append_event(folder, JobEvent(event="cancelled"))
            shutil.rmtree(folder / "pairs", ignore_errors=True)
            if (process := self.running.get(job)) is not None:
                _kill(process)
        if job in self.waiting:
            self.waiting.remove(job)
            self._note()

    async def close(self) -> None:
        """Cancel what waits and lets what runs come to its end."""
        self.closed = True
        for job in list(self.waiting):
            with contextlib.suppress(Problem, OSError):  # another replica may have removed it
                self.cancel(job)
        self.waiting.clear()
        self._note()
        if self.runners:
            await asyncio.wait(set(self.runners), timeout=self.limits.job_seconds + GRACE)
        for process in self.running.values():
            if process is not None:
                _kill(process)


def is_cancelled(folder: Path) -> bool:
    """Return whether nobody wants the job any more: cancelled, or removed after that."""
    last = last_event(folder)
    return last is None or last.event == "cancelled"


def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
