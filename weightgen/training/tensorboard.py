"""Curves for TensorBoard, where tensorboardX (it comes with Ray Train) or torch's own writer is installed.

with curves("model") as log:
    log({"step": 50, "loss": 0.8, "r2": 0.1})          # tensorboard --logdir model/tensorboard
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FOLDER = "tensorboard"


@contextmanager
def curves(out_dir: str | Path) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yields a function that takes rows of metrics.jsonl; it does nothing where no writer is installed."""
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
