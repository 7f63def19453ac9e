"""Memory that a process keeps for its next batch instead of giving it back to the system.

keep_freed_memory()
"""

import ctypes
import platform

import pyarrow

# of glibc's malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> None:
    """Let this process keep freed memory for its next batch; without glibc nothing happens.

    Large tensors are else taken from the system and given back at every step, a page fault for each 4 KiB. Arrow's own
    allocator gives back what has been free for some milliseconds, so Arrow uses the C library's, too.
    """
    if platform.libc_ver()[0] == "glibc":
        allocator = ctypes.CDLL(None)
        allocator.mallopt(_M_MMAP_THRESHOLD, 2**30)
        allocator.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        pyarrow.set_memory_pool(pyarrow.system_memory_pool())
