"""Seconds until a command answers, against an empty Python and `import torch`, interleaved in one run.

python -m benchmarks.start_up
"""

import os
import subprocess
import sys
import tempfile
import time
from functools import partial

from benchmarks.harness.machine import REPETITIONS, interleave, spread, write_result

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "weightzoo --help": ["-m", "cli.main", "--help"],
    "import weightgen": ["-c", "import weightgen"],
    "import torch": ["-c", "import torch"],
    "weightzoo generate": ["-m", "cli.main", "generate", "a charcoal drawing", "-o"],
}


def launch(arguments: list[str], processor: list[float]) -> float:
    """Run a command; return its wall-clock seconds, and its processor seconds at the end of `processor`."""
    with tempfile.TemporaryDirectory() as folder:
        if arguments[-1] == "-o":
            arguments = [*arguments, f"{folder}/adapter"]
        before, started = os.times(), time.perf_counter()
        quiet = subprocess.DEVNULL
        subprocess.run([sys.executable, *arguments], check=True, stdout=quiet, stderr=quiet)
        after, wall = os.times(), time.perf_counter() - started
    processor.append(sum(after[2:4]) - sum(before[2:4]))  # the children's
    return wall


def main() -> None:
    """Time every command."""
    processor: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for arguments in COMMANDS.values():
        launch(arguments, [])  # fills the page cache
    wall = interleave(
        {name: partial(launch, arguments, processor[name]) for name, arguments in COMMANDS.items()},
        REPETITIONS,
    )
    rows = [
        {"command": name, "seconds": spread(wall[name]), "processor_seconds": spread(processor[name])}
        for name in COMMANDS
    ]
    write_result("start_up", rows)


if __name__ == "__main__":
    main()
