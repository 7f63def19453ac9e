"""`weightzoo build`: photographs and concepts go in, a zoo of trained GANs comes out."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cli.console import executor_options as fleets
from cli.console.options import Preset, check_combination, given
from cli.console.output import JsonOption, emit, note, quiet_progress

IN_A_PLAN = {"dry_run": ("it runs on this machine and keeps nothing", "run_dir", "address")}


def build(
    ctx: typer.Context,
    works_with: Annotated[
        str | None,
        typer.Argument(
            metavar="[FUNCTION|DIR]",
            help="What the teacher works with: package.module:function of callable, the folder of .cube files of cube.",
        ),
    ] = None,
    preset: Annotated[Preset, typer.Option(help="Config to start from.")] = "small",
    run_dir: Annotated[
        str | None,
        typer.Option(help="Run folder: a local one, or s3://..., gs://..., hf://...  [default: runs/PRESET]"),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="JSON file with the keys that differ from the preset.")] = None,
    concepts: Annotated[Path | None, typer.Option(help="Your own concepts, as a JSONL file.")] = None,
    photos: Annotated[
        Path | None,
        typer.Option(help="Your own photographs: a folder of pictures, or one with train/ and test/ in it."),
    ] = None,
    teacher: Annotated[
        Literal["filters", "instruct_pix2pix", "pairs", "command", "callable", "cube"] | None,
        typer.Option(
            help="What edits the photographs; pairs are your own (PHOTOS/CONCEPT_ID/{source,target}), command is a "
            "program (--run), callable a Python function, cube a folder of look-up tables."
        ),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            help="The program of --teacher command, with {source}, {target} and attributes of the concepts in it."
        ),
    ] = None,
    time_limit: Annotated[
        float | None,
        typer.Option(min=0.1, help="Seconds that a launch of the program may take.  [default: 60]"),
    ] = None,
    base_from: Annotated[
        Path | None,
        typer.Option(help="The base/ folder of another run, whose base generator is used here too."),
    ] = None,
    executor: fleets.ExecutorOption = "local",
    address: fleets.AddressOption = "local",
    workers: fleets.WorkersOption = None,
    gpus_per_fleet: fleets.GpusPerFleetOption = 0.0,
    device: fleets.DeviceOption = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Train one fleet to measure its speed, and print what the build would cost."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Build a zoo of trained GANs from photographs.

    Photographs -> teacher -> pairs -> fleets of GANs -> shards -> manifest.

    The first launch writes the config into the run folder, and it cannot be changed afterwards. You may stop the
    build at any time: the same command then builds the missing shards only, and the result has the same bytes as
    that of an uninterrupted build. `weightzoo extend` adds concepts to a finished zoo, `weightzoo repair` mends one.

    \b
    Examples:
      weightzoo build --preset tiny --run-dir runs/tiny
      weightzoo build --preset small --dry-run
      weightzoo build --preset small --executor ray --address auto --gpus-per-fleet 0.25
      weightzoo build --run-dir runs/ours --concepts ours.jsonl --photos photos/ --teacher instruct_pix2pix
      weightzoo build --concepts ours.jsonl --teacher command --run "magick {source} -modulate {light} {target}"
      weightzoo build --concepts ours.jsonl --teacher callable edits:film
      weightzoo build --teacher cube looks/
    """
    quiet_progress(json)
    check_combination(ctx, takes_no=IN_A_PLAN)
    if dry_run and executor == "ray" and not given(ctx, "workers"):
        from zoo.errors import WeightzooError

        raise WeightzooError(
            "--dry-run does not see the cluster; give --workers, the number of fleets that it trains at a time"
        )
    options = fleets.executor_options(ctx, dry_run)
    from pipeline.fleets.shared import source_notes
    from pipeline.own_build import own_concepts, with_own_photographs, with_own_teacher
    from pipeline.presets import PRESETS
    from zoo.config import changed_by

    chosen = PRESETS[preset]() if config is None else changed_by(PRESETS[preset](), config)
    chosen = with_own_photographs(with_own_teacher(chosen, teacher, works_with, run, time_limit), photos)
    own, notes = own_concepts(chosen, concepts)
    for line in (*notes, *source_notes(chosen, own or ())):
        note(line)
    if dry_run:
        from pipeline.upkeep.calibrate import calibrate

        has_base = base_from is not None
        plan = calibrate(chosen, own, options["workers"], options["device"], has_base, gpus_per_fleet)
        return emit(plan, json, [f"{key}: {value}" for key, value in plan.items()])

    from pipeline.build import build as build_zoo

    folder = run_dir or f"runs/{preset}"
    return report(build_zoo(folder, chosen, own, base_from=base_from, **options), folder, json)


def report(manifest: Any, folder: str, json: bool) -> None:
    """Say what a finished run folder holds."""
    from zoo.words import plural

    counts, shards = manifest.counts, len(manifest.shards)
    result = {
        "run_dir": folder,
        "name": manifest.name,
        "counts": counts,
        "shards": shards,
        "bytes": manifest.shard_bytes,
        "layout_id": manifest.layout_id,
        "base_sha256": manifest.base_sha256,
    }
    lines = [
        f"{folder}: {counts['ok']} of {plural(counts['concepts'], 'concept')} ({counts['rejected']} rejected, "
        f"{counts['failed']} failed) in {plural(shards, 'shard')}, {manifest.shard_bytes / 1e6:.1f} MB",
        next_step(folder),
    ]
    return emit(result, json, lines)


def next_step(folder: str) -> str:
    """Return what to do with a finished run folder; the other commands read folders of this machine only."""
    if "://" in folder:
        return f"next: copy {folder} to a local folder, for example zoo/; then weightzoo inspect zoo --verify"
    return f"next: weightzoo inspect {folder} --verify; weightzoo train --data {folder} -o model"
