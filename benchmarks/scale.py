"""How busy one driver keeps 1 to 16 workers: fleets that last a fixed time, on local processes and through Ray.

    python -m benchmarks.scale [--workers 1 4 16] [--seconds 2] [--rounds 6] [--concepts 100000]

One zoo of 100,000 concepts is planned, and every launch runs the next of its missing fleets as `weightzoo build` does:
the driver's loop and log, the executor with its real workers, real shards. A fleet writes its shard and sleeps for
the rest of its time, so 16 of them fit two cores; Ray is told that there are as many as workers. Two seconds are
hard on the driver: real fleets last half a minute to hours, and 16 workers with fleets of 2 s ask as much of
it as 240 workers with fleets of 30 s.

The limit is the ideal time, in which every worker does fleet after fleet without a pause; efficiency is its share of
the measured time. The clock starts when all workers are there and have written a shard each (on two cores 16 of them
are slow to start, on machines of their own they are not: `start_up_seconds`) and stops when the driver has settled the
last fleet. Goal: 95 %.
"""

import json
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.harness.machine import arguments_of, spread, write_result
from benchmarks.planning import concepts, config, no_fleet
from pipeline.build import make_base, run_fleets
from pipeline.executors.ray import EXECUTORS, open_executor
from pipeline.run_folder.fleet_files import FleetSummary
from pipeline.run_folder.freeze import freeze
from pipeline.run_folder.shard_plan import FleetTask, missing_fleets, plan_run
from pipeline.upkeep.calibrate import write_untrained_base


def timed_fleet(task: FleetTask, seconds: float, gate: str, workers: int) -> FleetSummary:
    """Return a fleet that lasts `seconds` in all; the first one of each process waits until all workers are there."""
    own = Path(gate, str(os.getpid()))
    if not own.exists():
        no_fleet(task)  # imports: 16 processes take seconds for them on two cores
        own.touch()
    while len(os.listdir(gate)) < workers:
        time.sleep(0.01)
    started = time.time()
    summary = no_fleet(task)
    time.sleep(max(0.0, started + seconds - time.time()))
    return replace(summary, seconds={"worker": os.getpid(), "started": started})


def launch(
    run_dir: Path, tasks: Sequence[FleetTask], executor: str, workers: int, seconds: float
) -> dict[str, Any]:
    """Run `tasks` on so many workers and return one row of the result."""
    gate = run_dir / "logs" / f"gate-{executor}-{workers}"
    gate.mkdir(parents=True)
    fleet = partial(timed_fleet, seconds=seconds, gate=str(gate), workers=workers)
    launched = time.time()
    with open_executor(executor, workers) as run:
        busy = time.process_time()
        run_fleets(run_dir, tasks, tasks, run, fleet)
        busy = time.process_time() - busy
    log = run_dir / "logs" / "events.jsonl"
    lines, ended = log.read_text().splitlines()[-len(tasks) :], log.stat().st_mtime
    starts: dict[int, list[float]] = {}
    for event in map(json.loads, lines):
        starts.setdefault(event["seconds"]["worker"], []).append(event["seconds"]["started"])
    first = min(min(own) for own in starts.values())
    cycles = [later - one for own in starts.values() for one, later in pairwise(sorted(own))]
    ideal = len(tasks) / workers * seconds
    return {
        "executor": executor,
        "workers": workers,
        "fleets": len(tasks),
        "fleet_seconds": seconds,
        "efficiency": ideal / (ended - first),
        "efficiency_of_a_fleet": spread([seconds / cycle for cycle in cycles]),
        "driver_milliseconds_per_fleet": 1000 * busy / len(tasks),
        "start_up_seconds": round(first - launched, 1),
    }


def main(arguments: list[str] | None = None) -> None:
    """Plan once, then launch every executor with every number of workers, and write the result."""
    parser = arguments_of(__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--executors", nargs="+", choices=EXECUTORS, default=list(EXECUTORS))
    parser.add_argument("--seconds", type=float, default=2.0, help="of a fleet")
    parser.add_argument("--rounds", type=int, default=6, help="fleets of every worker")
    parser.add_argument("--concepts", type=int, default=100_000, help="of the zoo that is planned")
    options = parser.parse_args(arguments)
    if options.rounds < 2:
        parser.error("the time from a fleet to the next is measured: give --rounds 2 or more")
    chosen = config(options.concepts)
    needed = options.rounds * sum(options.workers) * len(options.executors)
    if options.concepts < needed * chosen.fleet_size:
        parser.error(f"{needed} fleets are run: give --concepts {needed * chosen.fleet_size} or more")
    rows = []
    with tempfile.TemporaryDirectory(prefix="weightzoo-scale-") as folder:
        run_dir = Path(folder, "run")
        write_untrained_base(Path(folder), chosen)
        freeze(run_dir, chosen, concepts(options.concepts))
        make_base(run_dir, Path(folder, "base"))
        missing = iter(missing_fleets(plan_run(run_dir)))
        for workers in options.workers:
            for executor in options.executors:
                tasks = [next(missing) for _ in range(options.rounds * workers)]
                rows.append(launch(run_dir, tasks, executor, workers, options.seconds))
    write_result("scale", rows)


if __name__ == "__main__":
    main()
