"""`weightzoo build`: photographs and concepts go in, a zoo of trained GANs comes out."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cli.console.choices import Preset, given, refuse
from cli.console.executor_options import (
    AddressOption,
    DeviceOption,
    ExecutorOption,
    GpusPerFleetOption,
    WorkersOption,
    executor_options,
)
from cli.console.output import JsonOption, emit, note, quiet_progress


def build(
    ctx: typer.Context,
    preset: Annotated[Preset, typer.Option(help="Config to start from.")] = "small",
    run_dir: Annotated[
        str | None,
        typer.Option(help="Run folder: a local one, or s3://..., gs://..., hf://...  [default: runs/PRESET]"),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="JSON file with the keys that differ from the preset.")
    ] = None,
    concepts: Annotated[Path | None, typer.Option(help="Your own concepts, as a JSONL file.")] = None,
    photos: Annotated[
        Path | None,
        typer.Option(help="Your own photographs: a folder of pictures, or one with train/ and test/ in it."),
    ] = None,
    teacher: Annotated[
        Literal["filters", "instruct_pix2pix", "pairs"] | None,
        typer.Option(help="What edits the photographs; pairs are your own (PHOTOS/CONCEPT_ID/{source,target})."),
    ] = None,
    base_from: Annotated[
        Path | None,
        typer.Option(help="The base/ folder of another run, whose base generator is used here too."),
    ] = None,
    executor: ExecutorOption = "local",
    address: AddressOption = "local",
    workers: WorkersOption = None,
    gpus_per_fleet: GpusPerFleetOption = 0.0,
    device: DeviceOption = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Train one fleet to measure its speed, and print what the build would cost."
        ),
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
    """
    quiet_progress(json)
    if dry_run:
        check_dry_run(ctx, executor == "ray")
    options = executor_options(ctx, dry_run)
    folder = run_dir or f"runs/{preset}"
    from pipeline.fleets.shared import source_notes
    from pipeline.presets import PRESETS
    from zoo.concepts import read_concepts

    chosen = with_own(changed(PRESETS[preset](), config), photos, teacher)
    own = None if concepts is None else read_concepts(concepts)
    for line in source_notes(chosen, own or ()):
        note(line)
    if dry_run:
        from pipeline.upkeep.calibrate import calibrate

        plan = calibrate(
            chosen, own, options["workers"], options["device"], base_from is not None, gpus_per_fleet
        )
        return emit(plan, json, [f"{key}: {value}" for key, value in plan.items()])

    from pipeline.build import build as run

    return report(run(folder, chosen, own, base_from=base_from, **options), folder, json)


def report(manifest: Any, folder: str, json: bool) -> None:
    """Say what a finished run folder holds."""
    from zoo.words import plural

    counts = manifest.counts
    size = sum(shard.bytes for shard in manifest.shards)
    result = {
        "run_dir": folder,
        "name": manifest.name,
        "counts": counts,
        "shards": len(manifest.shards),
        "bytes": size,
        "layout_id": manifest.layout_id,
        "base_sha256": manifest.base_sha256,
    }
    lines = [
        f"{folder}: {counts['ok']} of {plural(counts['concepts'], 'concept')} "
        f"({counts['rejected']} rejected, {counts['failed']} failed) "
        f"in {plural(len(manifest.shards), 'shard')}, {size / 1e6:.1f} MB",
        next_step(folder),
    ]
    return emit(result, json, lines)


def next_step(folder: str) -> str:
    """Return what to do with a finished run folder; the other commands read folders of this machine only."""
    if "://" in folder:
        return f"next: copy {folder} to a local folder, for example zoo/; then weightzoo inspect zoo --verify"
    return f"next: weightzoo inspect {folder} --verify; weightzoo train --data {folder} -o model"


def check_dry_run(ctx: typer.Context, on_ray: bool) -> None:
    """Refuse options that would do nothing in a plan.

    Raises:
        WeightzooError: naming the option.
    """
    from zoo.errors import WeightzooError

    why = "it runs on this machine and keeps nothing"
    refuse(ctx, "--dry-run", why, "run_dir", "address")
    if on_ray and not given(ctx, "workers"):
        raise WeightzooError(
            "--dry-run does not see the cluster; give --workers, the number of fleets that it trains at a time"
        )


def with_own(config: Any, photos: Path | None, teacher: str | None) -> Any:
    """Return `config` with a team's own photographs and teacher.

    Raises:
        WeightzooError: pairs without a folder.
    """
    from dataclasses import replace

    from zoo.errors import WeightzooError

    if teacher is not None:
        config = replace(config, teacher=teacher)
    if config.teacher == "pairs":
        if photos is None and "folder" not in config.teacher_options:
            raise WeightzooError(
                "--teacher pairs needs pairs; name their folder, with CONCEPT_ID/{source,target} in it, with --photos"
            )
        options = {} if photos is None else {"folder": str(photos.resolve())}
        return replace(config, teacher_options=config.teacher_options | options)
    if photos is None:
        return config
    folder = photos.resolve()
    halves = [folder / "train", folder / "test"]
    train, test = halves if all(half.is_dir() for half in halves) else (folder, folder)
    return replace(config, train_photos=str(train), test_photos=str(test))


def changed(preset: Any, path: Path | None) -> Any:
    """Return the preset's config with the keys of a JSON file in place of its own.

    Raises:
        WeightzooError: a key or type that no build config has.
    """
    if path is None:
        return preset
    from zoo.config import from_dict, to_dict
    from zoo.errors import WeightzooError
    from zoo.files import read_json

    given = read_json(path)
    if not isinstance(given, dict):
        raise WeightzooError(
            f"{path} holds no JSON object; give keys and values as in a run's config.json"
        )
    try:
        return from_dict(type(preset), merged(to_dict(preset), given))
    except WeightzooError as error:
        raise WeightzooError(f"{path}: {error}") from None


def merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return nested `values` with `changes` in their place."""
    result = dict(values)
    for key, value in changes.items():
        inner = result.get(key)
        if isinstance(inner, dict) and isinstance(value, dict):
            result[key] = merged(inner, value)
        else:
            result[key] = value
    return result
