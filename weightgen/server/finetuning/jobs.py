"""Fine-tuning jobs: which of them wait, which run, each in a process of its own.

    with jobs.room():                                   # before anything of the job is read
        job = await jobs.submit("a charcoal drawing", 30.0, "full", pairs)
    async for number, event in jobs.events(job): ...

A job is its folder (`weightgen.server.finetuning.files`). Replicas on one machine share the folders: each answers for
every job and can cancel it, and the one that took a job starts it and watches its process. A job goes on when its
server is killed, because its process (`weightgen.server.finetuning.job`) writes its own events.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import shutil
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

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
from weightgen.server.problems import RETRY_SECONDS, Problem
from weightgen.server.schemas import JobEvent
from zoo.errors import WeightzooError
from zoo.files import read_json
from zoo.words import plural

log = logging.getLogger("weightzoo.serve")
GRACE = 180.0  # seconds beyond the training's own for start-up, evaluations and saving, on a busy machine
POLL = 0.2  # seconds after which a stream of events looks for more
LOOK = 1.0  # seconds after which a running job is looked at: any replica may have cancelled it


def no_result(last: JobEvent | None) -> Problem:
    """Return the answer for a job with this last event."""
    state = last.event if last else "waiting"
    return Problem(409, f"the job has no result: it is {state}; GET /v1/finetune/JOB says how it goes on")


class Jobs:
    """The jobs below `settings.state`."""

    def __init__(self, settings: ServerSettings) -> None:
        self.settings, self.limits, self.state = settings, settings.limits, settings.state
        self.turns = asyncio.Semaphore(self.limits.jobs_running)
        self.reserved = 0  # places of jobs that are being read and written
        self.waiting: set[str] = set()  # written, and not begun
        self.running: dict[str, asyncio.subprocess.Process] = {}
        self.tasks: set[asyncio.Task[None]] = set()  # one for each job that waits or runs
        self.closed = False

    @contextlib.contextmanager
    def room(self) -> Iterator[None]:
        """Yield a place among the waiting jobs for one that is about to come, until it waits or is refused.

        Raises:
            Problem: 429 when no more jobs can wait, 503 when the server is closing.
        """
        self._check_open()
        self.waiting = {job for job in self.waiting if not is_over(self.state / job)}
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
            raise Problem(503, "the server is shutting down; try again in a moment", RETRY_SECONDS)

    async def submit(self, prompt: str, seconds: float, mode: str, pairs: Sequence[PairImages]) -> str:
        """Write a job, let it wait for its turn, and return its id. To be called within `room`.

        Raises:
            Problem: 503 when the server is closing, or its disk is full.
        """
        job = secrets.token_hex(16)
        paths = {"model": str(self.settings.model), "zoo": str(self.settings.zoo)}
        about = {"prompt": prompt, "seconds": seconds, "mode": mode} | paths

        def write() -> None:
            clean(self.state, self.limits.jobs_kept - 1)
            write_job(self.state / job, about, pairs)

        writing = asyncio.ensure_future(asyncio.to_thread(write))
        try:
            await asyncio.shield(writing)
            self._check_open()
        except BaseException as error:
            await asyncio.wait({writing})  # a thread goes on when nobody waits for it any more
            remove_job(self.state / job)
            if isinstance(error, OSError | WeightzooError):
                log.error("job not written", exc_info=error)
                no_disk = "the server has no room for the pictures on its disk; try again later"
                raise Problem(503, no_disk, self.limits.job_seconds) from None
            raise
        self.waiting.add(job)
        task = asyncio.create_task(self._run(job))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return job

    async def _run(self, job: str) -> None:
        """Train one job when it is its turn, and see to it that it has a last event."""
        folder = self.state / job
        try:
            async with self.turns:
                self.waiting.discard(job)
                reason = "" if is_over(folder) else await self._train(job, folder)
            if not is_over(folder):
                append_event(folder, JobEvent(event="failed", error=reason))
        except Exception as error:  # a full disk
            log.error("event not written", exc_info=error)
        finally:
            # a process may have written once more after another replica has removed its job
            there = (folder / "events.jsonl").exists()
            shutil.rmtree(folder / "pairs" if there else folder, ignore_errors=True)

    async def _train(self, job: str, folder: Path) -> str:
        """Run the job's process until it or the job is over; return why it ended if it wrote no last event."""
        command = [sys.executable, "-m", "weightgen.server.finetuning.job", str(folder)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        try:
            seconds = read_json(folder / "job.json")["seconds"] + GRACE
            with (folder / "log.txt").open("wb") as file:
                process = await asyncio.create_subprocess_exec(
                    *command, env=environment, stdout=file, stderr=file, start_new_session=True
                )
        except Exception as error:  # whatever it is, the next job is begun
            log.error("job not started", exc_info=error)
            return "it could not be started; the server's log says why"
        self.running[job] = process
        ended = asyncio.ensure_future(process.wait())
        try:
            async with asyncio.timeout(seconds):
                while not (ended.done() or is_over(folder)):
                    await asyncio.wait({ended}, timeout=LOOK)
            return "its process ended early (out of memory?); try fewer or smaller pictures"
        except TimeoutError:
            return f"it took more than {seconds:g} s and was stopped; give fewer seconds or smaller pictures"
        finally:  # whatever ended the watch, no job outlives its turn
            if not ended.done():
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await ended
            del self.running[job]

    def folder(self, job: str) -> Path:
        """Raise Problem 404 unless there is such a job."""
        folder = self.state / job
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
            raise no_result(last)
        return folder / "result"

    def network(self, job: str) -> Path:
        """Return the folder of the best network that a job has written so far; a better one may take its place.

        Raises:
            Problem: 404 for no such job, 409 while it has no network.
        """
        folder = self.folder(job)
        events = read_events(folder)
        if not any(event.adapter or event.event == "done" for event in events):
            raise no_result(events[-1] if events else None)
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
                ended = "this job ended without a result; start it again"
                yield after + 1, JobEvent(event="failed", error=ended)
                return
            await asyncio.sleep(POLL)

    def cancel(self, job: str) -> None:
        """End a job that waits or runs, here or at another replica; a finished one stays."""
        folder = self.folder(job)
        if not is_over(folder):
            append_event(folder, JobEvent(event="cancelled"))
            shutil.rmtree(folder / "pairs", ignore_errors=True)
        self.waiting.discard(job)

    async def close(self) -> None:
        """Cancel what waits and let what runs come to its end."""
        self.closed = True
        for job in list(self.waiting):
            with contextlib.suppress(Problem, OSError):  # another replica may have removed it
                self.cancel(job)
        if self.tasks:
            await asyncio.wait(self.tasks)
