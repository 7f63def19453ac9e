"""``weightzoo build``: photographs and concepts go in, a zoo of trained GANs comes out."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.choices import choose
from cli.output import JsonOption, emit, quiet_progress


def build(
    preset: Annotated[str, typer.Option(help="tiny, small or paper.")] = "small",
    run_dir: Annotated[Path | None, typer.Option(help="Folder of the run.  [default: runs/PRESET]")] = None,
    config: Annotated[
        Path | None, typer.Option(help="JSON file with the keys that differ from the preset.")
    ] = None,
    concepts: Annotated[Path | None, typer.Option(help="Your own concepts, a JSONL file.")] = None,
    base_from: Annotated[
        Path | None, typer.Option(help="`base` folder of another run, to share its base generator.")
    ] = None,
    executor: Annotated[str, typer.Option(help="local or ray.")] = "local",
    address: Annotated[str, typer.Option(help="Ray cluster: local, auto or ray://HOST:PORT.")] = "local",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Fleets trained side by side.  [default: one a core]")
    ] = None,
    max_in_flight: Annotated[int | None, typer.Option(min=1, help="Ray: fleets submitted at a time.")] = None,
    gpus_per_fleet: Annotated[float, typer.Option(min=0.0, help="Ray: share of a GPU for each fleet.")] = 0.0,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Train one calibration fleet and say what the build would cost.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Build a zoo of trained GANs from photographs.

    Photographs -> teacher -> pairs -> fleets of GANs -> shards -> manifest.

    The run folder is frozen with its config at the first launch. Stop the build whenever you like: the same
    command does the missing shards only and ends with the same bytes as an uninterrupted build.

    \b
    Examples:
      weightzoo build --preset tiny --run-dir runs/tiny
      weightzoo build --preset small --dry-run
      weightzoo build --preset small --executor ray --address auto --gpus-per-fleet 0.25 --device cuda
    """
    quiet_progress(json)
    from pipeline.executors import EXECUTORS
    from pipeline.presets import PRESETS

    choose("executor", executor, EXECUTORS)
    chosen = changed(choose("preset", preset, PRESETS)(), config)
    workers = workers or cores()
    if dry_run:
        from pipeline.calibrate import calibrate

        plan = calibrate(chosen, workers=workers, device=device)
        return emit(plan, json, [f"{key}: {value}" for key, value in plan.items()])

    from pipeline.build import build as run
    from zoo.concepts import read_concepts

    folder = run_dir or Path("runs") / preset
    options: dict[str, Any] = {"max_in_flight": max_in_flight}
    if executor == "ray":
        options |= {"address": address, "gpus_per_task": gpus_per_fleet}
    manifest = run(
        folder,
        chosen,
        concepts=None if concepts is None else read_concepts(concepts),
        base_from=base_from,
        executor=executor,
        workers=workers,
        device=device,
        **options,
    )
    counts = manifest.counts
    size = sum(shard.bytes for shard in manifest.shards)
    result = {
        "run_dir": str(folder),
        "name": manifest.name,
        "counts": counts,
        "shards": len(manifest.shards),
        "bytes": size,
        "layout_id": manifest.layout_id,
        "base_sha256": manifest.base_sha256,
    }
    lines = [
        f"{folder}: {counts['ok']} of {counts['concepts']} concepts "
        f"({counts['rejected']} rejected, {counts['failed']} failed) "
        f"in {len(manifest.shards)} shards, {size / 1e6:.1f} MB",
        f"next: weightzoo inspect {folder} --verify; weightzoo train --data {folder} -o model",
    ]
    return emit(result, json, lines)


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
        raise WeightzooError(f"{path} holds no JSON object; give keys and values as in a run's config.json")
    try:
        return from_dict(type(preset), merged(to_dict(preset), given))
    except WeightzooError as error:
        raise WeightzooError(f"{path}: {error}") from None


def merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return nested ``values`` with ``changes`` in their place."""
    result = dict(values)
    for key, value in changes.items():
        inner = result.get(key)
        if isinstance(inner, dict) and isinstance(value, dict):
            result[key] = merged(inner, value)
        else:
            result[key] = value
    return result


def cores() -> int:
    """Return how many cores this process may use."""
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
