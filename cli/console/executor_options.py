"""The options of `build`, `extend` and `repair` that say where fleets are trained."""

import os
from typing import Annotated, Any

import typer

from cli.console.choices import choose, require

ExecutorOption = Annotated[str, typer.Option("--executor", help="Where fleets are trained: local or ray.")]
AddressOption = Annotated[
    str, typer.Option("--address", help="Ray cluster: local, auto or ray://HOST:PORT.")
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        help="Number of fleets trained at the same time.  [default: one for each core; one on a GPU; on a "
        "cluster, as many as it can run]",
    ),
]
MaxInFlightOption = Annotated[
    int | None,
    typer.Option(
        "--max-in-flight",
        min=1,
        help="Ray: number of fleets submitted at a time.  [default: twice what the cluster can run]",
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
        WeightzooError: an unknown executor, or options of Ray without Ray.
    """
    from pipeline.executors.ray import EXECUTORS

    given = ctx.params
    executor, address, workers = given["executor"], given["address"], given["workers"]
    choose("executor", executor, EXECUTORS)
    if executor != "ray":
        names = ("address", "max_in_flight") if dry_run else ("address", "max_in_flight", "gpus_per_fleet")
        require(ctx, "--executor ray", *names)
    device = given["device"] or ("cuda" if given["gpus_per_fleet"] else "cpu")
    alone = executor == "local" and device != "cpu"  # two local fleets would share one GPU's memory
    options = {"executor": executor, "workers": workers or (1 if alone else cores()), "device": device}
    if executor != "ray":
        return options
    in_flight = given["max_in_flight"]
    if address != "local":  # a cluster has cores of its own
        in_flight = in_flight or workers
    return {**options, "address": address, "gpus_per_task": given["gpus_per_fleet"], "max_in_flight": in_flight}


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
