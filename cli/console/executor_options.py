"""The options of `build`, `extend` and `repair` that say where fleets are trained.

    from cli.console import executor_options as fleets

    def repair(ctx: typer.Context, executor: fleets.ExecutorOption = "local", ...) -> None:
        options = fleets.executor_options(ctx)
"""

import os
from typing import Annotated, Any, Literal

import typer

from cli.console.options import require

ExecutorOption = Annotated[Literal["local", "ray"], typer.Option("--executor", help="Where fleets are trained.")]
AddressOption = Annotated[str, typer.Option("--address", help="Ray cluster: local, auto or ray://HOST:PORT.")]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        help="Number of fleets trained at the same time.  [default: one for each core; one on a GPU; on a "
        "cluster, as many as it can run]",
    ),
]
GpusPerFleetOption = Annotated[
    float,
    typer.Option("--gpus-per-fleet", min=0.0, help="Ray: share of a GPU for each fleet, for example 0.25."),
]
DeviceOption = Annotated[
    str | None,
    typer.Option("--device", help="Device: cpu or cuda.  [default: cuda with --gpus-per-fleet, otherwise cpu]"),
]


def executor_options(ctx: typer.Context, dry_run: bool = False) -> dict[str, Any]:
    """Return the options of `ctx` as :mod:`pipeline.build` takes them.

    Args:
        dry_run: a plan is made, for which the share of a GPU counts without Ray too.

    Raises:
        WeightzooError: options of Ray without Ray.
    """
    given = ctx.params
    executor, address, workers = given["executor"], given["address"], given["workers"]
    if executor != "ray":
        require(ctx, "--executor ray", "address", *(() if dry_run else ("gpus_per_fleet",)))
    device = given["device"] or ("cuda" if given["gpus_per_fleet"] else "cpu")
    alone = executor == "local" and device != "cpu"  # two local fleets would share one GPU's memory
    options = {"executor": executor, "workers": workers or (1 if alone else cores()), "device": device}
    if executor != "ray":
        return options
    limit = None if address == "local" else workers  # a cluster has cores of its own
    return {**options, "address": address, "gpus_per_task": given["gpus_per_fleet"], "max_in_flight": limit}


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
