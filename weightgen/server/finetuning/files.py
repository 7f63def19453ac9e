"""A fine-tuning job's folder: the files are the job.

    STATE/<job>/job.json               prompt, seconds, mode
    STATE/<job>/pairs/{source,target}/0001.png ...      numbers by the order of the visitor's names, which are not kept
    STATE/<job>/events.jsonl           waiting, running, progress ..., then done, failed or cancelled
    STATE/<job>/result/                what `weightzoo finetune` writes

Several servers may share STATE. There is a job once its events.jsonl is there, and it is over with the first final
event, whoever has written it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from pydantic import ValidationError

from weightgen.server.schemas import JobEvent
from zoo.files import write_json

JOB_ID = re.compile(r"[0-9a-f]{32}")
PairImages = tuple[Image.Image, Image.Image]


def write_job(folder: Path, about: Mapping[str, Any], pairs: Sequence[PairImages]) -> None:
    """Write a new job, its first event last.

    Raises:
        OSError, WeightzooError: the disk does not take it; part of the folder may be there.
    """
    for half in ("source", "target"):
        (folder / "pairs" / half).mkdir(parents=True)
    for number, (source, target) in enumerate(pairs, start=1):
        source.save(folder / "pairs" / "source" / f"{number:04d}.png", compress_level=1)
        target.save(folder / "pairs" / "target" / f"{number:04d}.png", compress_level=1)
    write_json(folder / "job.json", about)
    append_event(folder, JobEvent(event="waiting", pairs=len(pairs)))


def remove_job(folder: Path) -> None:
    """Remove a folder, its events first: from then on there is no such job, and nobody takes a part of it for all."""
    with contextlib.suppress(OSError):
        (folder / "events.jsonl").unlink()
    shutil.rmtree(folder, ignore_errors=True)


def clean(state: Path, kept: int) -> None:
    """Remove all jobs that are over but the newest `kept`; others may do the same at the same time."""
    finished = []
    for path in state.glob("*/events.jsonl"):
        with contextlib.suppress(FileNotFoundError):
            last = last_event(path.parent)
            if last is not None and last.final:
                finished.append((path.stat().st_mtime, path.parent))
    for _, folder in sorted(finished)[: max(0, len(finished) - kept)]:
        remove_job(folder)


def append_event(folder: Path, event: JobEvent) -> None:
    """Append one event, on a line of its own even after one that a full disk cut off."""
    line = json.dumps(event.model_dump(exclude_none=True), sort_keys=True) + "\n"
    with (folder / "events.jsonl").open("ab+") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else "\n" + line
        file.write(line.encode())


def read_events(folder: Path) -> list[JobEvent]:
    """Return all complete events, up to the first final one."""
    try:
        text = (folder / "events.jsonl").read_text(encoding="utf-8")
    except FileNotFoundError:  # removed to make room
        return []
    events: list[JobEvent] = []
    for line in text[: text.rfind("\n") + 1].splitlines():
        with contextlib.suppress(ValidationError):  # a line that a full disk cut off
            events.append(JobEvent.model_validate_json(line))
        if events and events[-1].final:
            break
    return events


def last_event(folder: Path) -> JobEvent | None:
    """Return the last event of a job, or `None` before its first one."""
    events = read_events(folder)
    return events[-1] if events else None


def is_over(folder: Path) -> bool:
    """Return whether a job has come to its end, or is no longer there."""
    last = last_event(folder)
    return last is None or last.final
