"""Every benchmark that takes minutes, one after the other, then the plots: ``make bench`` or ``python -m benchmarks``.

One alone: ``python -m benchmarks.fleets``, ``python -m benchmarks.start_up``. Results go to benchmarks/results/*.json,
plots to docs/benchmarks/*.png.
"""

from benchmarks import (
    denoiser,
    fleets,
    generation,
    loading,
    ood,
    planning,
    plots,
    scale,
    serve,
    start_up,
    stream,
    usable,
)

BENCHMARKS = {
    "start_up": start_up.main,
    "generation": generation.main,
    "fleets": fleets.main,
    "denoiser": denoiser.main,
    "loading": loading.main,
    "usable": usable.main,
    "scale": scale.main,
    "planning": planning.main,
    "stream": stream.main,
    "ood": ood.main,
    "serve": serve.main,
    "plots": plots.main,
}

if __name__ == "__main__":
    for name, run in BENCHMARKS.items():
        print(f"== {name}", flush=True)
        run()
