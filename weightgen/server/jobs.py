"""Fine-tuning jobs: a folder each, trained by a process of their own.

    STATE/<job>/job.json               prompt, seconds, mode
    STATE/<job>/pairs/{source,target}/0000.png ...      names are ours, never the visitor's
    STATE/<job>/events.jsonl           waiting, running, progress ..., then done, failed or cancelled
    STATE/<job>/result/                what `weightzoo finetune` writes

The files are the job: any replica that shares the folder answers for it, and a job goes on when its server is
killed, because its process writes its own events. What trains is `weightgen.server.finetune_job`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from PIL import Image

from weightgen.server.limits import ServerSettings
from weightgen.server.problems import Problem
from weightgen.server.schemas import JobEvent
from zoo.files import read_json, write_json

JOB_ID = re.compile(r"[0-9a-f]{32}")
GRACE = 180.0  # seconds beyond the training's own for start-up, evaluations and saving, on a busy machine
POLL = 0.2
PairImages = tuple[Image.Image, Image.Image]


class Jobs:
    """The jobs below `settings.state`.

    Args:
        on_change: told (waiting, running) whenever they change.
    """

    def __init__(self, settings: ServerSettings, on_change: Callable[[int, int], None]) -> None:
        self.settings, self.limits, self.on_change = settings, settings.limits, on_change
        self.waiting: list[str] = []
        self.running: dict[str, asyncio.subprocess.Process | None] = {}  # None: about to start
        self.runners: set[asyncio.Task[None]] = set()
        self.closed = False

    def check_room(self) -> None:
        """Raises Problem 429 when no more jobs can wait, 503 when the server is closing."""
        if self.closed:
            raise Problem(503, "the server is shutting down; try again in a moment", 5)
        if len(self.waiting) >= self.limits.jobs_waiting:
            wait = self.limits.job_seconds * len(self.waiting) / self.limits.jobs_running
            raise Problem(429, f"{len(self.waiting)} fine-tuning jobs are waiting already; try later", wait)

    async def submit(self, prompt: str, seconds: float, mode: str, pairs: Sequence[PairImages]) -> str:
        """Starts a job, or lets it wait; gives its id."""
        self.check_room()
        job = secrets.token_hex(16)
        self.waiting.append(job)
        try:
            await asyncio.to_thread(self._write, job, prompt, seconds, mode, pairs)
        except BaseException:
            self.waiting.remove(job)
            raise
        self._note()
        runner = asyncio.create_task(self._run_next())
        self.runners.add(runner)
        runner.add_done_callback(self.runners.discard)
        return job

    def _write(self, job: str, prompt: str, seconds: float, mode: str, pairs: Sequence[PairImages]) -> None:
        self._clean()
        folder = self.settings.state / job
        for half in ("source", "target"):
            (folder / "pairs" / half).mkdir(parents=True)
        for index, (source, target) in enumerate(pairs):
            source.save(folder / "pairs" / "source" / f"{index:04d}.png", compress_level=1)
            target.save(folder / "pairs" / "target" / f"{index:04d}.png", compress_level=1)
        about = {"prompt": prompt, "seconds": seconds, "mode": mode}
        paths = {"model": str(self.settings.model), "zoo": str(self.settings.zoo)}
        write_json(folder / "job.json", about | paths)
        append_event(folder, JobEvent(event="waiting", pairs=len(pairs)))

    def _clean(self) -> None:
        """Keeps the newest finished jobs only."""
        folders = sorted(self.settings.state.glob("*/events.jsonl"), key=lambda path: path.stat().st_mtime)
        finished = [path.parent for path in folders if (last := last_event(path.parent)) and last.final]
        for folder in finished[: max(0, len(finished) - self.limits.jobs_kept + 1)]:
            shutil.rmtree(folder, ignore_errors=True)

    async def _run_next(self) -> None:
        if len(self.running) >= self.limits.jobs_running or not self.waiting or self.closed:
            return
        job = self.waiting.pop(0)
        folder = self.settings.state / job
        command = [sys.executable, "-m", "weightgen.server.finetune_job", str(folder)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self.running[job] = None
        self._note()
        try:
            with (folder / "log.txt").open("wb") as log:
                process = await asyncio.create_subprocess_exec(
                    *command, env=environment, stdout=log, stderr=log, start_new_session=True
                )
            self.running[job] = process
            await self._finish(folder, process, read_json(folder / "job.json")["seconds"] + GRACE)
        except OSError as error:
            append_event(
                folder, JobEvent(event="failed", error=f"it could not be started ({error.strerror})")
            )
        finally:
            del self.running[job]
            self._note()
            shutil.rmtree(folder / "pairs", ignore_errors=True)
        await self._run_next()

    async def _finish(self, folder: Path, process: asyncio.subprocess.Process, seconds: float) -> None:
        """Waits for the job's process; it writes its own last event unless it was killed."""
        try:
            await asyncio.wait_for(process.wait(), seconds)
            reason = "its process ended early (out of memory?); try fewer or smaller pictures"
        except TimeoutError:
            _kill(process)
            await process.wait()
            reason = (
                f"it took more than {seconds:g} s and was stopped; give fewer seconds or smaller pictures"
            )
        last = last_event(folder)
        if last is None or not last.final:
            append_event(folder, JobEvent(event="failed", error=reason))

    def _note(self) -> None:
        self.on_change(len(self.waiting), len(self.running))

    def folder(self, job: str) -> Path:
        """Raises Problem 404 unless there is such a job."""
        folder = self.settings.state / job
        if not JOB_ID.fullmatch(job) or not (folder / "events.jsonl").is_file():
            raise Problem(404, "no such fine-tuning job, or its result was removed to make room")
        return folder

    def result(self, job: str) -> Path:
        """The folder that a finished job has written.

        Raises:
            Problem: 404 for no such job, 409 while it has no result.
        """
        folder = self.folder(job)
        last = last_event(folder)
        if last is None or last.event != "done":
            raise Problem(409, f"the job has no result (it is {last.event if last else 'waiting'})")
        return folder / "result"

    async def events(self, job: str, after: int = 0) -> AsyncIterator[tuple[int, JobEvent]]:
        """The job's events from number `after` on, as they come, with their numbers from 1; ends with the job."""
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
                    JobEvent(event="failed", error="nothing more is heard of this job; start it anew"),
                )
                return
            await asyncio.sleep(POLL)

    def cancel(self, job: str) -> None:
        """Ends a job that waits or runs; a finished one stays."""
        folder = self.folder(job)
        last = last_event(folder)
        if last is not None and last.final:
            return
        append_event(folder, JobEvent(event="cancelled"))
        if job in self.waiting:
            self.waiting.remove(job)
            self._note()
        if (process := self.running.get(job)) is not None:
            _kill(process)

    async def close(self) -> None:
        """Cancels what waits and lets what runs come to its end."""
        self.closed = True
        for job in list(self.waiting):
            self.cancel(job)
        if self.runners:
            await asyncio.wait(set(self.runners), timeout=self.limits.job_seconds + GRACE)
        for process in self.running.values():
            if process is not None:
                _kill(process)


def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()


def append_event(folder: Path, event: JobEvent) -> None:
    """One line more; a line is written by one call, so that readers never see half of it twice."""
    line = json.dumps(event.model_dump(exclude_none=True), sort_keys=True) + "\n"
    with (folder / "events.jsonl").open("a", encoding="utf-8") as file:
        file.write(line)


def read_events(folder: Path) -> list[JobEvent]:
    """All complete events, up to the first final one."""
    try:
        text = (folder / "events.jsonl").read_text(encoding="utf-8")
    except FileNotFoundError:  # removed to make room
        return []
    events: list[JobEvent] = []
    for line in text[: text.rfind("\n") + 1].splitlines():
        events.append(JobEvent.model_validate_json(line))
        if events[-1].final:
            break
    return events


def last_event(folder: Path) -> JobEvent | None:
    events = read_events(folder)
    return events[-1] if events else None
