"""`weightzoo extend`: further concepts for a finished zoo."""

from pathlib import Path
from typing import Annotated

import typer

from cli.build import report
from cli.console import executor_options as fleets
from cli.console.output import JsonOption, quiet_progress


def extend(
    ctx: typer.Context,
    run_dir: Annotated[str, typer.Argument(help="Finished run folder, or s3://..., gs://..., hf://...")],
    concepts: Annotated[Path, typer.Option(help="The concepts to add, as a JSONL file.")],
    executor: fleets.ExecutorOption = "local",
    address: fleets.AddressOption = "local",
    workers: fleets.WorkersOption = None,
    gpus_per_fleet: fleets.GpusPerFleetOption = 0.0,
    device: fleets.DeviceOption = None,
    json: JsonOption = False,
) -> None:
    """Add concepts to a finished zoo.

    They are trained with the zoo's own config and base generator, into shards of their own: no byte of the old shards
    changes. You may stop it at any time: the same command builds the missing shards.

    \b
    Examples:
      weightzoo extend runs/ours --concepts more.jsonl
      weightzoo extend /shared/ours --concepts more.jsonl --executor ray --address auto
    """
    quiet_progress(json)
    options = fleets.executor_options(ctx)
    from pipeline.build import extend as run
    from zoo.concepts import read_concepts

    report(run(run_dir, read_concepts(concepts), **options), run_dir, json)
