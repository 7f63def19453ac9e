"""``weightzoo train``: a zoo goes in, a weight generator comes out."""

from pathlib import Path
from typing import Annotated

import typer

from cli.choices import choose
from cli.embedded import zoo_folder
from cli.output import JsonOption, emit, quiet_progress


def train(
    out: Annotated[Path, typer.Option("-o", "--out", help="Model folder to write.")],
    data: Annotated[
        list[Path] | None, typer.Option(help="Zoo to learn, may be repeated; the embedded one by default.")
    ] = None,
    preset: Annotated[str, typer.Option(help="tiny, small or paper.")] = "small",
    denoiser: Annotated[str | None, typer.Option(help="transformer or unet1d.")] = None,
    seconds: Annotated[float | None, typer.Option(min=1.0, help="Limit in seconds instead of steps.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps, other than the preset's.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint, or start anew.")] = True,
    json: JsonOption = False,
) -> None:
    """Train a weight generator on the weights of a zoo.

    Stop it whenever you like: the same command goes on from the last checkpoint, and returns at once when the
    model is finished.

    \b
    Examples:
      weightzoo train -o model --seconds 300
      weightzoo train --data runs/tiny --preset tiny -o runs/tiny-model
      weightzoo train --data zoo-small --data runs/fresh --denoiser unet1d -o model-unet
    """
    quiet_progress(json)
    folders = [zoo_folder(path) for path in data or [None]]
    from dataclasses import replace

    from weightgen.data import load_zoo, merge
    from weightgen.presets import PRESETS
    from weightgen.train import train as run

    make = choose("preset", preset, PRESETS)
    config = make() if denoiser is None else make(denoiser)
    if steps is not None:
        config = replace(config, steps=steps)
    dataset = merge([load_zoo(folder, "train") for folder in folders])
    validation = load_zoo(folders[0], "validation")
    folder = run(config, dataset, out, validation=validation, seconds=seconds, resume=resume)

    from zoo.files import read_json

    metadata = read_json(folder / "weightgen.json")["metadata"]
    result = {"model": str(folder), **metadata}
    best = ", ".join(
        f"{key} {value:.3g}" for key, value in metadata["best"].items() if isinstance(value, float)
    )
    emit(
        result,
        json,
        [
            f"{folder}: {config.denoiser} on {metadata['concepts']} concepts, "
            f"{metadata['steps']} steps in {metadata['seconds']:.0f} s ({best})",
            f'next: weightzoo generate "a charcoal drawing" --model {folder} -o charcoal',
        ],
    )
