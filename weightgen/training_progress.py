"""The live line of a training run: loss, validation R2, records per second and time left, on stderr.

with training_progress("transformer", batch_size=32) as show:
    show(0.25, step=275, loss=0.8, r2=0.41)          # once a step, or now and then
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import TextColumn

from zoo.progress import bar

SHOWN_EVERY = 0.5  # seconds


@contextmanager
def training_progress(name: str, batch_size: int) -> Iterator[Callable[..., None]]:
    """Yields show(progress 0..1, step, **values)."""
    started, first, last = time.monotonic(), None, 0.0
    with bar(TextColumn("{task.fields[values]}")) as display:
        task = display.add_task(f"training {name}", total=100, unit="%", values="")

        def show(progress: float, step: int, **values: float) -> None:
            nonlocal first, last
            first = step if first is None else first
            now = time.monotonic()
            if now - last < SHOWN_EVERY and progress < 1:
                return
            last = now
            speed = (step - first) * batch_size / max(now - started, 1e-9)
            shown = [*(f"{key} {value:.3f}" for key, value in values.items()), f"{speed:.0f} records/s"]
            display.update(task, completed=100 * progress, values="  ".join(shown))

        yield show
