"""Seconds until a command answers, against an empty Python and `import torch`, interleaved in one run.

python -m benchmarks.start_up

`weightzoo generate --pairs` is given 16 pairs, squares of the embedded photographs with their outlines drawn. What it
says of itself stands beside: the seconds that reading the files took, and those of making the network from them.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from benchmarks.harness.machine import REPETITIONS, interleave, ratio, spread, write_result
from pipeline.sources import PHOTOS

PAIRS, SIDES = 16, (64, 512)  # number of pairs, and their sides in pixels
TORCH = "import torch"
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "weightzoo --help": ["-m", "cli.main", "--help"],
    "import weightgen": ["-c", "import weightgen"],
    TORCH: ["-c", "import torch"],
    "weightzoo generate": ["-m", "cli.main", "generate", "a charcoal drawing", "--json", "-o"],
}
FROM_PAIRS = {
    f"generate --pairs, {PAIRS} of {side} px": ["-m", "cli.main", "generate", "--pairs", str(side), "--json", "-o"]
    for side in SIDES
}
Measured = dict[str, list[float]]


def launch(arguments: list[str], folder: Path, measured: Measured) -> float:
    """Run a command in a folder; return its wall-clock seconds.

    Args:
        measured: gets its processor seconds, and the seconds that it says of its parts.
    """
    with tempfile.TemporaryDirectory() as out:
        if arguments[-1] == "-o":
            arguments = [*arguments, f"{out}/result"]
        before, started = os.times(), time.perf_counter()
        done = subprocess.run(
            [sys.executable, *arguments],
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        )
        after, wall = os.times(), time.perf_counter() - started
    measured.setdefault("processor_seconds", []).append(sum(after[2:4]) - sum(before[2:4]))  # the children's
    if "--json" in arguments:
        for part, seconds in json.loads(done.stdout)["seconds"].items():
            measured.setdefault(f"{part}_seconds", []).append(seconds)
    return wall


def write_pairs(folder: Path, side: int) -> None:
    """Write pairs of squares of the embedded photographs and their outlines."""
    for half in ("source", "target"):
        (folder / half).mkdir(parents=True)
    photographs = sorted((PHOTOS / "reading").glob("*.jpg"))
    for number in np.linspace(0, len(photographs) - 1, PAIRS).round().astype(int):
        source = ImageOps.fit(Image.open(photographs[number]).convert("RGB"), (side, side))
        target = ImageOps.invert(source.convert("L").filter(ImageFilter.FIND_EDGES)).convert("RGB")
        for half, picture in (("source", source), ("target", target)):
            picture.save(folder / half / f"{number:03}.png")


def main() -> None:
    """Time every command."""
    commands = COMMANDS | FROM_PAIRS
    measured: dict[str, Measured] = {name: {} for name in commands}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for side in SIDES:
            write_pairs(folder / str(side), side)
        for arguments in commands.values():
            launch(arguments, folder, {})  # fills the page cache
        wall = interleave(
            {name: partial(launch, arguments, folder, measured[name]) for name, arguments in commands.items()},
            REPETITIONS,
        )
    rows = [
        {
            "command": name,
            "seconds": spread(wall[name]),
            "times_import_torch": ratio(wall[name], wall[TORCH]),
            **{part: spread(values) for part, values in measured[name].items()},
        }
        for name in commands
    ]
    write_result("start_up", rows)


if __name__ == "__main__":
    main()
