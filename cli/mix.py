"""`weightzoo mix`: several adapters go in with their weights, one adapter or a series comes out."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.console.options import BaseOption, out_option, require
from cli.console.output import JsonOption, OverwriteOption, emit, quiet_progress

EXAMPLE = "weightzoo mix charcoal:0.7 warm:0.5 -o both"


def mix(
    ctx: typer.Context,
    out: Annotated[Path, out_option("Folder for the mixture; of a series, the folder for its steps.")],
    parts: Annotated[
        list[str] | None,
        typer.Argument(
            help="Adapter folders with their weights, FOLDER:WEIGHT. 1 is the whole edit, 0 none of it; below 0 takes "
            "it away.",
        ),
    ] = None,
    from_to: Annotated[
        tuple[Path, Path] | None, typer.Option(help="Two adapters: a series that goes from the first to the second.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Number of adapters in the series, both ends included.")] = 9,
    base: BaseOption = None,
    overwrite: OverwriteOption = False,
    json: JsonOption = False,
) -> None:
    """Mix adapters: add up their deviations from the base, each with its weight.

    Takes adapters of one base (generate, finetune --mode adapter), or solved generators of one scale
    (finetune --pairs without a prompt). The result is used as any other.

    \b
    Examples:
      weightzoo mix charcoal:0.7 warm:0.5 -o both
      weightzoo mix charcoal:1 warm:-0.5 -o colder-charcoal
      weightzoo mix --from-to charcoal warm --steps 9 -o series
    """
    quiet_progress(json)
    from zoo.adapters.weighted_sum import check_steps, read_part
    from zoo.errors import WeightzooError
    from zoo.progress import working
    from zoo.results import OURS, OURS_OF_A_SERIES, check_free, fresh_folder
    from zoo.words import plural

    if from_to is not None and parts:
        raise WeightzooError(f"--from-to takes two adapters and no others; leave {parts[0]} out")
    if from_to is None:
        require(ctx, "--from-to", "steps")
        if not parts:
            raise WeightzooError(f"nothing to mix; name adapters with their weights: {EXAMPLE}")
    check_steps(steps)
    wanted = [read_part(part) for part in parts or ()]
    paths = list(from_to or (path for path, _ in wanted))
    check_free(out, overwrite, own=OURS if from_to is None else OURS_OF_A_SERIES)
    with working("opening the adapters"):
        from zoo.adapters.mix import open_parts, write_series

        mixable = open_parts(paths, base)
    with fresh_folder(out) as folder:
        if from_to is None:
            mixable.write([weight for _, weight in wanted], folder)
        else:
            write_series(mixable, steps, folder)
    named = [str(path) for path in paths]
    result: dict[str, Any] = {"out": str(out), "parts": named}
    if from_to is not None:
        folders = sorted(path.name for path in out.iterdir() if path.is_dir() and path.name.isdigit())
        line = f"{out}: {plural(len(folders), 'adapter')}, from {named[0]} ({folders[0]}) to {named[1]} ({folders[-1]})"
        emit(
            result | {"series": folders}, json, [line, f"next: weightzoo apply {out}/{folders[1]} photo.jpg -o out.jpg"]
        )
        return
    weights = [float(weight) for _, weight in wanted]
    line = " + ".join(f"{weight:g} x {name}" for name, weight in zip(named, weights, strict=True))
    emit(result | {"weights": weights}, json, [f"{out}: {line}", f"next: weightzoo apply {out} photo.jpg -o out.jpg"])
