"""One fine-tuning job in a process of its own.

    python -m weightgen.server.finetuning.job STATE/JOB

Reads job.json and pairs/, writes events.jsonl and result/, where `weightgen.server.finetuning.files` has them. What is
solved on the pairs is in result/ before it is trained, and the events name it from then on.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from weightgen.finetuning.finetune import finetune
from weightgen.finetuning.loop import FinetuneConfig
from weightgen.finetuning.measure import Row
from weightgen.finetuning.origins import Origins
from weightgen.finetuning.solved import SOLVED, solve_pairs
from weightgen.model_roles import find_best
from weightgen.pairs.generate import reader_in
from weightgen.server.finetuning.files import append_event, is_over
from weightgen.server.schemas import JobEvent
from zoo.errors import WeightzooError
from zoo.files import read_json

EVALUATE_EVERY = 10  # steps; a point of the curve about every half second
NICE = 5  # answers to visitors come first


class Cancelled(Exception):
    """Somebody has written the job's last event; the server that would end this process may be gone."""


def run(folder: Path) -> None:
    """Train the job of a folder; its events tell how it went."""
    if is_over(folder):
        return
    job = read_json(folder / "job.json")

    def on_row(row: Row) -> None:
        if is_over(folder):
            raise Cancelled
        known = {key: row[key] for key in ("step", "seconds", "l1", "psnr")}
        append_event(folder, JobEvent(event="progress", adapter=adapter_of(folder), **known))

    append_event(folder, JobEvent(event="running"))
    try:
        done = train(job, folder / "pairs", folder / "result", on_row)
    except Cancelled:
        return
    except WeightzooError as error:
        append_event(folder, JobEvent(event="failed", error=str(error).replace(f"{folder}/", "")))
        return
    best = {key: done["best"][key] for key in ("step", "l1", "psnr")}
    notes = [note.removeprefix(f"{folder / 'pairs'}: ") for note in done["notes"]]
    rest = {"seconds": done["seconds"], "pairs": done["pairs"], "warnings": notes or None}
    append_event(folder, JobEvent(event="done", adapter=adapter_of(folder), **best, **rest))


def adapter_of(folder: Path) -> str | None:
    """Return the id of the network that a job has written, or None before there is one."""
    return f"j-{folder.name}" if (folder / "result" / "finetune.json").is_file() else None


def train(job: dict[str, Any], pairs: Path, out_dir: Path, on_row: Callable[[Row], None]) -> Row:
    """Solve or fine-tune as the job asks; returns the content of `finetune.json`."""
    if job["mode"] == SOLVED:
        reader = reader_in(job["model"])
        prompts = [job["prompt"]] if job["prompt"] else []
        return solve_pairs(pairs, out_dir, prompts, seconds=job["seconds"], on_row=on_row, reader=reader)
    config = FinetuneConfig(
        mode=job["mode"], seconds=job["seconds"], eval_every=EVALUATE_EVERY, feature_network=None, keeps_state=False
    )
    init, _ = find_best(job["model"])
    origins = Origins(zoo=job["zoo"], model=job["model"])
    return finetune(pairs, job["prompt"], init, out_dir, origins, config, on_row=on_row)


if __name__ == "__main__":
    os.nice(NICE)
    run(Path(sys.argv[1]))
