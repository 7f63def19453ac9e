"""Every benchmark that takes minutes, one after the other: ``make bench`` or ``python -m benchmarks``.

One alone: ``python -m benchmarks.fleets``, ``python -m benchmarks.start_up``. Results go to benchmarks/results/*.json.
"""

from benchmarks import fleets, ood, planning, serve, start_up, stream

BENCHMARKS = {
    "start_up": start_up.main,
    "fleets": fleets.main,
    "planning": planning.main,
    "stream": stream.main,
    "ood": ood.main,
    "serve": serve.main,
}

if __name__ == "__main__":
    for name, run in BENCHMARKS.items():
        print(f"== {name}")
        run()
