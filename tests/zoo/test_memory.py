"""Freed memory stays with the process."""

import resource
import subprocess
import sys

LOOP = """
import resource
import torch
from zoo.memory import keep_freed_memory
{call}
for _ in range(20):
    torch.ones(16 << 20).sum()  # 64 MB
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


def page_faults(call: str) -> int:
    done = subprocess.run([sys.executable, "-c", LOOP.format(call=call)], capture_output=True, check=True)
    return int(done.stdout)


def test_large_tensors_are_taken_from_the_system_once():
    pages = (64 << 20) // resource.getpagesize()
    assert page_faults("pass") - page_faults("keep_freed_memory()") > 10 * pages
