"""What a process that computes is set to, and how much memory it has taken. Light: torch and little of ours.

prepare_process(threads=1)
peak_memory()                # bytes
"""

import resource
from pathlib import Path

import torch

from zoo.memory import keep_freed_memory

STATUS = Path("/proc/self/status")


def prepare_process(threads: int = 1) -> None:
    """Make this process compute the same bytes every time: fixed threads, fp32, deterministic algorithms."""
    keep_freed_memory()
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def peak_memory() -> int:
    """Return the most bytes of the machine's memory that this process has held so far."""
    return _of_status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def present_memory() -> int:
    """Return the bytes of memory that this process holds now, or the most so far if the system tells no more."""
    return _of_status("VmRSS") or peak_memory()


def _of_status(key: str) -> int:
    # ru_maxrss of a child begins at the peak of the process that launched it; /proc counts this program alone
    lines = STATUS.read_text().splitlines() if STATUS.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:")), 0)
