"""Task functions for the executor tests: module level, so that worker processes find them."""

import errno
import os
import signal
import tempfile
import time
from pathlib import Path

from zoo.errors import WeightzooError


def square(task: int) -> int:
    return task * task


def tell_process(_task: int) -> tuple[int, str, str]:
    return os.getpid(), os.environ["OMP_NUM_THREADS"], os.environ["CUBLAS_WORKSPACE_CONFIG"]


def fail_on_odd(task: int) -> int:
    if task == 1:
        raise WeightzooError("one is odd; give two")
    if task == 3:
        raise ValueError("three\nis odd")
    return task


def die_once(marker: str) -> str:
    """Kill its own process at the first call, finish at the second."""
    return _once(marker, lambda: os.kill(os.getpid(), signal.SIGKILL))


def storage_hiccup_once(marker: str) -> str:
    def fail() -> None:
        raise OSError(errno.EIO, "Input/output error")

    return _once(marker, fail)


def fill_scratch(_task: int) -> str:
    """Leave a folder as a worker of a run in a store does."""
    folder = Path(tempfile.mkdtemp(dir=os.environ["WEIGHTZOO_SCRATCH"]))
    (folder / "base").write_text("x")
    return str(folder)


class AcceleratorError(RuntimeError):
    """As torch calls what a GPU raises."""


_context = {"is_dead": False}


def accelerator_fault_once(marker: str) -> str:
    """A fault at the first call; in the process that had it every later call fails."""
    if not Path(marker).exists():
        Path(marker).write_text("")
        _context["is_dead"] = True
    if _context["is_dead"]:
        raise AcceleratorError("CUDA error: an illegal memory access was encountered")
    return "done"


def disk_full(marker: str) -> str:
    with open(marker, "a") as file:
        file.write("x")
    raise OSError(errno.ENOSPC, "No space left on device")


def always_die(_marker: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def sleep_long(marker: str) -> None:
    Path(marker).write_text(str(os.getpid()))
    time.sleep(60)


def _once(marker: str, fail) -> str:
    path = Path(marker)
    if not path.exists():
        path.write_text("")
        fail()
    return "done"
