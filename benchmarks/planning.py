"""Planning at scale: 100,000 concepts planned, resumed and manifested, with fleets that compute nothing.

    python -m benchmarks.planning [--concepts 100000]

Three launches of one build in a temporary folder, each in a process of its own: the first plans and is stopped after
a share of the fleets, the second resumes and writes the manifest, the third finds everything done. Memory is the
driver's largest resident set; start-up is from the launch to the first fleet.
"""

import itertools
import json
import tempfile
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.machine import arguments_of, in_own_process, write_result
from benchmarks.harness.synthetic import METRICS, RECIPE, wordings
from pipeline.build import build
from pipeline.build_config import BuildConfig
from pipeline.executors.attempts import Outcome
from pipeline.executors.process import peak_memory
from pipeline.executors.ray import EXECUTORS
from pipeline.presets import tiny
from pipeline.run_folder.fleet_files import FleetSummary, write_fleet
from pipeline.run_folder.shard_plan import FleetTask
from pipeline.upkeep.calibrate import write_untrained_base
from zoo.concepts import Concept
from zoo.errors import Interrupted
from zoo.layout import WeightLayout
from zoo.records import WeightRecord

FIRST_LAUNCH = 0.3  # share of the fleets that the first launch gets to


def config(num_concepts: int) -> BuildConfig:
    """Return the smallest networks, in fleets that keep 100,000 concepts under the Hub's files in a folder."""
    return replace(tiny(), num_concepts=num_concepts, fleet_size=16)


def concepts(count: int) -> list[Concept]:
    """Return concepts with texts as long as the catalogue's."""
    return [
        Concept(f"concept-{i:06d}", f"Edit number {i}", wordings(i), {"recipe": RECIPE, "strength": 0.5})
        for i in range(count)
    ]


def no_fleet(task: FleetTask) -> FleetSummary:
    """Write a shard as a fleet does, of weights that are the same for all."""
    layout = WeightLayout.load(Path(task.run_dir) / "layout.json")
    blocks = np.full((layout.num_blocks, layout.block_size), 0.1, "<f2")
    blocks[:, 0] = task.index % 7
    records = [
        WeightRecord(c.id, c.prompt, c.paraphrases, c.attributes, c.split, 0, 1, 1, blocks, METRICS)
        for c in task.concepts
    ]
    return write_fleet(task, records, [])


def launch(run_dir: Path, count: int, most: int | None) -> dict[str, Any]:
    """Run one launch in this process, interrupted after `most` fleets as if by Ctrl-C, and return its row."""
    started, first = time.perf_counter(), []

    def run_here(
        tasks: Iterable[Any], fn: Callable[[Any], Any], workers: int = 1
    ) -> Generator[Outcome, None, None]:
        for task in itertools.islice(tasks, most):
            first.append(time.perf_counter())
            yield Outcome(task, fn(task))
        if most is not None:
            raise KeyboardInterrupt

    EXECUTORS["local"] = run_here
    try:
        build(run_dir, config(count), concepts(count), base_from=run_dir.parent / "base", fleet=no_fleet)
    except Interrupted:
        pass
    ended = time.perf_counter()
    return {
        "fleets": len(first),
        "start_up_seconds": round((first[0] if first else ended) - started, 1),
        "finish_seconds": round(ended - first[-1], 1) if first else 0.0,
        "driver_megabytes": round(peak_memory() / 2**20),
    }


def main(arguments: list[str] | None = None) -> None:
    """Run the three launches and write the result."""
    parser = arguments_of(__doc__)
    parser.add_argument("--concepts", type=int, default=100_000)
    parser.add_argument(
        "--launch", nargs=2, metavar=("RUN_DIR", "MOST"), help="one launch, as main starts it"
    )
    options = parser.parse_args(arguments)
    if options.launch:
        run_dir, most = options.launch
        print(json.dumps(launch(Path(run_dir), options.concepts, int(most) if int(most) else None)))
        return
    fleets = -(-options.concepts // config(1).fleet_size)
    rows = []
    with tempfile.TemporaryDirectory(prefix="weightzoo-planning-") as folder:
        write_untrained_base(Path(folder), config(1))
        for name, most in (("plan", int(FIRST_LAUNCH * fleets)), ("resume", 0), ("again", 0)):
            asked = ["--concepts", str(options.concepts), "--launch", f"{folder}/run", str(most)]
            measured = in_own_process("benchmarks.planning", *asked)
            rows.append({"launch": name, "concepts": options.concepts} | measured)
    write_result("planning", rows)


if __name__ == "__main__":
    main()
