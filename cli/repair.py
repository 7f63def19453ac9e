"""`weightzoo repair`: what fails verification in a run folder is made again."""

from typing import Annotated

import typer

from cli.build import report
from cli.console import executor_options as fleets
from cli.console.output import JsonOption, quiet_progress


def repair(
    ctx: typer.Context,
    run_dir: Annotated[str, typer.Argument(help="Run folder, or s3://..., gs://..., hf://...")],
    executor: fleets.ExecutorOption = "local",
    address: fleets.AddressOption = "local",
    workers: fleets.WorkersOption = None,
    gpus_per_fleet: fleets.GpusPerFleetOption = 0.0,
    device: fleets.DeviceOption = None,
    json: JsonOption = False,
) -> None:
    """Delete the shards of a zoo that fail verification and make them again.

    \b
    Examples:
      weightzoo repair runs/ours
      weightzoo repair /shared/ours --executor ray --address auto
    """
    quiet_progress(json)
    options = fleets.executor_options(ctx)
    from pipeline.upkeep.repair import repair as run

    report(run(run_dir, **options), run_dir, json)
