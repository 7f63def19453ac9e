"""Time to a usable model, as a user types it: from the command to the quality of pix2pix from scratch.

    python -m benchmarks.usable [--concepts 5] [--scratch-steps 600] [--steps 200]

For each held-out concept two commands, in turn: `weightzoo finetune --init scratch` and `--init polished` on the same
16 pairs with the same 32 test pairs. The clock runs from the start of the process: imports, loading, reading the
prompt and generating are in it, and the first evaluation; those after it are not, as one of the two has more of them.
The quality asked for is what the one from scratch ends with (test L1), and 1.1 times that; how many times sooner is
against when the one from scratch first had it. A start that never gets there is counted as infinitely slow.
"""

import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.harness.machine import arguments_of, write_result
from pipeline.concepts.catalogue import test_concepts
from pipeline.heldout import write_held_out
from pipeline.run_folder.private_paths import read_config
from weightgen.evaluation.intervals import censored_quantile
from zoo.concepts import Concept, evaluation_order
from zoo.hub import find_zoo

PAIRS, TEST_PAIRS, POLL_SECONDS = 16, 32, 0.02
FACTORS = (1.0, 1.1)
Curve = list[tuple[float, float]]  # seconds since the command, test L1


def type_command(pairs: Path, concept: Concept, init: str, steps: int, out: Path) -> Curve:
    """Run one command; return the test L1 over the seconds since it was typed."""
    command = [sys.executable, "-m", "cli.main", "finetune", "--pairs", pairs / "train"]
    command += ["--test-pairs", pairs / "test", "--prompt", concept.paraphrases[0], "--init", init]
    command += ["--steps", str(steps), "-o", out, "--json"]
    metrics = out / "metrics.jsonl"
    started = time.perf_counter()
    with subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and not metrics.exists():
            time.sleep(POLL_SECONDS)
        first = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"weightzoo finetune --init {init} ended with {process.returncode}")
    return clocked(metrics, first)


def clocked(metrics: Path, first: float) -> Curve:
    """Return the rows of a command's metrics, the first of which came after `first` seconds.

    Their own clock stands still during evaluations, so that what passed before the first row is added to it.
    """
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    return [(first + row["seconds"] - rows[0]["seconds"], row["l1"]) for row in rows]


def reached(curve: Curve, l1: float) -> float:
    """Return seconds until the test L1 was at most `l1`; infinite if never."""
    return next((seconds for seconds, value in curve if value <= l1), math.inf)


def compare(pairs: Path, concept: Concept, steps: dict[str, int], first: str, out: Path) -> dict[str, Any]:
    """Return one row: both commands for one concept."""
    names = [first, *(name for name in steps if name != first)]
    done = {name: type_command(pairs, concept, name, steps[name], out / name) for name in names}
    scratch, polished = done["scratch"], done["polished"]
    row: dict[str, Any] = {"concept": concept.id, "scratch_l1": scratch[-1][1], "scratch_seconds": scratch[-1][0]}
    for factor in FACTORS:
        quality = factor * scratch[-1][1]
        own, seconds = reached(scratch, quality), reached(polished, quality)
        row[f"scratch_seconds_to_{factor:g}"] = own
        row[f"polished_seconds_to_{factor:g}"] = None if math.isinf(seconds) else seconds
        row[f"times_sooner_to_{factor:g}"] = own / seconds
    return row | {"polished_l1": polished[-1][1], "polished_seconds_at_start": polished[0][0]}


def main(arguments: list[str] | None = None) -> None:
    """Compare on the first held-out combinations, and write a row each and their median."""
    parser = arguments_of(__doc__)
    parser.add_argument("--concepts", type=int, default=5)
    parser.add_argument("--scratch-steps", type=int, default=600)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--name", default="usable", help="of the result file")
    options = parser.parse_args(arguments)
    concepts = sorted(test_concepts("combination"), key=lambda concept: evaluation_order(concept.id))
    concepts = concepts[: options.concepts]
    steps = {"scratch": options.scratch_steps, "polished": options.steps}
    with tempfile.TemporaryDirectory(prefix="weightzoo-usable-") as folder:
        config = read_config(find_zoo("weightzoo-small"))
        pairs = write_held_out(Path(folder) / "pairs", config, [(c, PAIRS) for c in concepts], TEST_PAIRS)
        rows = [
            compare(pairs / c.id, c, steps, list(steps)[i % 2], Path(folder) / str(i))
            for i, c in enumerate(concepts)
        ]
    medians = {
        key: censored_quantile([row[key] for row in rows], 0.5) for key in rows[0] if "times_sooner" in key
    }
    write_result(options.name, [*rows, {"concept": "median", "n": len(rows), **medians}])


if __name__ == "__main__":
    main()
