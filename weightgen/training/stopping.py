"""Ctrl-C in a long training: it ends between two steps, where a checkpoint holds everything.

    with stop_between_steps(Path("model")) as stop:
        while not stop():
            step()
        save()                       # leaving the context raises Interrupted if Ctrl-C was pressed

An exception at any instruction would leave weights, optimiser and metrics of different steps.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from zoo.errors import Interrupted
from zoo.progress import console

HEARD = b"\nstopping after this step; Ctrl-C once more stops at once\n"
GO_ON = "keeps everything up to the last step: run the same command to go on from there"


@contextmanager
def stop_between_steps(out_dir: Path, kept: str = GO_ON, listen: bool = True) -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether Ctrl-C was pressed; a second one raises KeyboardInterrupt at once.

    Signals are left alone outside the main thread, and where something else than Python's own handler hears them
    (or nothing does, as in a process in the background).

    Args:
        out_dir, kept: named in the error: what is left of the training, and how to go on.
        listen: False leaves signals alone.

    Raises:
        Interrupted: on leaving, if Ctrl-C was pressed.
    """
    asked = threading.Event()
    if (
        not listen
        or threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield asked.is_set
        return

    def hear(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            signal.default_int_handler(number, frame)
        asked.set()
        if console.is_terminal and not console.quiet:
            with suppress(OSError):
                os.write(2, HEARD)  # a print could find the stream in the middle of another

    signal.signal(signal.SIGINT, hear)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if asked.is_set():
        raise Interrupted(f"stopped; {out_dir} {kept}")
