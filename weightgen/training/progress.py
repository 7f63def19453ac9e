"""What a training run shows while it runs: a live line on stderr, and curves for TensorBoard.

with curves("model") as log, training_progress("training transformer", "records", 32) as show:
    show(0.25, step=275, loss=0.8, r2=0.41)              # once a step, or now and then
    log({"step": 50, "loss": 0.8, "r2": 0.1})            # tensorboard --logdir model/tensorboard
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.progress import TextColumn

from zoo.progress import bar

SHOWN_EVERY = 0.5  # seconds
FOLDER = "tensorboard"


@contextmanager
def training_progress(title: str, unit: str, per_step: int = 1) -> Iterator[Callable[..., None]]:
    """Yield show(progress 0..1, step, **values).

    Args:
        unit: what the speed counts, `per_step` of it a step.
    """
    started, first, last = time.monotonic(), None, 0.0
    with bar(TextColumn("{task.fields[values]}")) as display:
        task = display.add_task(title, total=100, unit="%", values="")

        def show(progress: float, step: int, **values: float | None) -> None:
            nonlocal first, last
            first = step if first is None else first
            now = time.monotonic()
            if now - last < SHOWN_EVERY and progress < 1:
                return
            last = now
            speed = (step - first) * per_step / max(now - started, 1e-9)
            known = {key: value for key, value in values.items() if value is not None and math.isfinite(value)}
            shown = [f"{key} {value:.4f}" for key, value in known.items()]
            display.update(task, completed=100 * progress, values="  ".join([*shown, f"{speed:.3g} {unit}/s"]))

        yield show


@contextmanager
def curves(out_dir: str | Path) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yield a function that takes rows of metrics.jsonl; it does nothing where no writer is installed.

    A writer is tensorboardX, which comes with Ray Train, or torch's own.
    """
    opened: list[Any] = []  # made with the first row: a finished training leaves no empty file

    def log(row: dict[str, Any]) -> None:
        if not opened:
            # what an interrupted run wrote beyond its last checkpoint is superseded
            opened.append(_writer(Path(out_dir) / FOLDER, row["step"]))
        if opened[0] is not None:
            for name, value in row.items():
                if name != "step" and value is not None:
                    opened[0].add_scalar(name, value, row["step"])

    try:
        yield log
    finally:
        if opened and opened[0] is not None:
            opened[0].close()


def _writer(folder: Path, first_step: int) -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return None
    return SummaryWriter(str(folder), purge_step=first_step)
