"""`weightzoo repair`: what fails verification in a run folder is made again."""

from typing import Annotated

import typer

from cli.build import report
from cli.console.executor_options import (
    AddressOption,
    DeviceOption,
    ExecutorOption,
    GpusPerFleetOption,
    WorkersOption,
    executor_options,
)
from cli.console.output import JsonOption, quiet_progress


def repair(
    ctx: typer.Context,
    run_dir: Annotated[str, typer.Argument(help="Run folder, or s3://..., gs://..., hf://...")],
    executor: ExecutorOption = "local",
    address: AddressOption = "local",
    workers: WorkersOption = None,
    gpus_per_fleet: GpusPerFleetOption = 0.0,
    device: DeviceOption = None,
    json: JsonOption = False,
) -> None:
    """Delete the shards of a zoo that fail verification and make them again.

    \b
    Examples:
      weightzoo repair runs/ours
      weightzoo repair /shared/ours --executor ray --address auto
    """
    quiet_progress(json)
    options = executor_options(ctx)
    from pipeline.upkeep.repair import repair as run

    report(run(run_dir, **options), run_dir, json)
