"""Seconds until the command line answers, against an empty Python, interleaved in one run.

python -m benchmarks.start_up
"""

import os
import subprocess
import sys
import time

from benchmarks.machine import spread, write_result

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "weightzoo --help": ["-m", "cli.main", "--help"],
    "import weightgen": ["-c", "import weightgen"],
}
REPETITIONS = 5


def main() -> None:
    """Time each command; the order changes with every repetition."""
    wall: dict[str, list[float]] = {name: [] for name in COMMANDS}
    processor: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for repetition in range(REPETITIONS + 1):  # the first fills caches
        for name, arguments in COMMANDS.items():
            before, started = os.times(), time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            after = os.times()
            if repetition:
                wall[name].append(time.perf_counter() - started)
                used = (
                    after.children_user
                    + after.children_system
                    - before.children_user
                    - before.children_system
                )
                processor[name].append(used)
    rows = [
        {"command": name, "seconds": spread(wall[name]), "processor_seconds": spread(processor[name])}
        for name in COMMANDS
    ]
    write_result("start_up", rows)


if __name__ == "__main__":
    main()
