"""Training of the denoisers on the embedded zoo: records a second, and the share of the machine that they reach.

    python -m benchmarks.denoiser [--batch-size 32] [--device cuda --precision bfloat16] [--steps 5]

The denoisers take their steps in turn. Utilisation is operations of the convolutions and products of one step (forward
and backward) over the measured rate of matrix products of that precision. Texts are random states of MiniLM's shape: in
training they come from a cache.
"""

import statistics
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from benchmarks.harness.machine import (
    EMBEDDED_ZOO,
    REPETITIONS,
    arguments_of,
    interleave,
    matrix_rate,
    operations_of,
    seconds_of,
    spread,
    write_result,
)
from benchmarks.harness.random_text import RandomText
from weightgen.denoisers import NETWORKS
from weightgen.text import TEXT_ENCODERS
from weightgen.training.config import PRESETS
from weightgen.training.data import WeightBatch, load_zoo
from weightgen.training.loop import TrainingRun
from weightgen.training.weights import prepare


def main(arguments: list[str] | None = None) -> None:
    """Train every denoiser for a few steps, in turn, and write the rows."""
    parser = arguments_of(__doc__)
    parser.add_argument("--preset", choices=PRESETS, default="small")
    parser.add_argument("--denoisers", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=3, help="of one repetition")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--name", default="denoiser", help="of the result file")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    TEXT_ENCODERS[RandomText.name] = RandomText
    data, validation = load_zoo(EMBEDDED_ZOO), load_zoo(EMBEDDED_ZOO, "validation")
    limit = matrix_rate(options.device, getattr(torch, options.precision))
    loops, operations = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name in options.denoisers:
            config = replace(
                PRESETS[options.preset](name),
                text_encoder=RandomText.name,
                batch_size=options.batch_size,
                device=options.device,
                precision=options.precision,
            )
            run = prepare(config, data, validation, Path(folder) / name)
            batch = next(data.feed(options.batch_size, 0))
            run.train_step(batch)  # the texts go into the cache
            operations[name] = operations_of(partial(run.train_step, batch))

            def train(run: TrainingRun = run, batch: WeightBatch = batch) -> None:
                for _ in range(options.steps):
                    run.train_step(batch)

            loops[name] = partial(seconds_of, train, options.device)
        times = interleave(loops, REPETITIONS)
    rows = []
    for name, seconds in times.items():
        steps = [value / options.steps for value in seconds]
        rows.append(
            {
                "denoiser": name,
                "preset": options.preset,
                "precision": options.precision,
                "batch_size": options.batch_size,
                "records_per_second": spread([options.batch_size / value for value in steps]),
                "utilisation": operations[name] / statistics.median(steps) / limit,
            }
        )
    write_result(options.name, rows, {"matrix_operations_per_second": limit})


if __name__ == "__main__":
    main()
