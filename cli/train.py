"""``weightzoo train``: a zoo goes in, a weight generator comes out."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.choices import choose
from cli.embedded import zoo_folder
from cli.output import JsonOption, emit, quiet_progress


def train(
    out: Annotated[Path, typer.Option("-o", "--out", help="Model folder to write.")],
    data: Annotated[
        list[str] | None, typer.Option(help="Zoo to learn, may be repeated; the embedded one by default.")
    ] = None,
    preset: Annotated[str, typer.Option(help="tiny, small or paper.")] = "small",
    denoiser: Annotated[str | None, typer.Option(help="transformer or unet1d.")] = None,
    pseudo_labels: Annotated[
        bool,
        typer.Option(
            "--pseudo-labels",
            help="Learn the rest of the catalogue too, with weights inferred from its edits.",
        ),
    ] = False,
    more_concepts: Annotated[
        int,
        typer.Option(min=0, help="With --pseudo-labels or --polish: so many concepts beyond the catalogue."),
    ] = 0,
    polish: Annotated[
        Path | None, typer.Option(help="Second stage: train this model on by pictures of the catalogue.")
    ] = None,
    random_init: Annotated[
        bool, typer.Option("--random-init", help="With --polish: pictures alone, without the first stage.")
    ] = False,
    seconds: Annotated[float | None, typer.Option(min=1.0, help="Limit in seconds instead of steps.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps, other than the preset's.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights, batches and noise.")] = 0,
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint, or start anew.")] = True,
    json: JsonOption = False,
) -> None:
    """Train a weight generator on the weights of a zoo.

    Stop it whenever you like: the same command goes on from the last checkpoint, and returns at once when the
    model is finished. `--polish MODEL` is the second stage: it trains a model on through the pictures that
    its weights make. It goes further from a model that knows the words of the whole catalogue, which
    `--pseudo-labels` gives.

    \b
    Examples:
      weightzoo train -o generated --seconds 300
      weightzoo train --pseudo-labels -o labelled --seconds 300
      weightzoo train --polish labelled -o polished --seconds 300
      weightzoo train --data runs/tiny --preset tiny -o runs/tiny-model
      weightzoo train --data zoo-small --data runs/fresh --denoiser unet1d -o model-unet
    """
    quiet_progress(json)
    check_stages(polish is not None, pseudo_labels, random_init, more_concepts)
    folders = [zoo_folder(name) for name in data] if data else [zoo_folder(None)]
    if polish is not None:
        folder = train_by_pictures(
            polish,
            folders[0],
            out,
            random_init=random_init,
            more_concepts=more_concepts,
            steps=steps,
            seconds=seconds,
            seed=seed,
            resume=resume,
        )
    else:
        folder = train_on_weights(
            folders,
            out,
            preset,
            denoiser,
            pseudo_labels=pseudo_labels,
            more_concepts=more_concepts,
            steps=steps,
            seconds=seconds,
            seed=seed,
            resume=resume,
        )
    from zoo.files import read_json

    metadata = read_json(folder / "weightgen.json")["metadata"]
    stage = metadata["polish"] if polish is not None else metadata
    best = ", ".join(f"{key} {value:.3g}" for key, value in stage["best"].items() if isinstance(value, float))
    lines = [
        f"{folder}: {metadata['stage']}, {metadata['concepts']} concepts, "
        f"{stage['steps']} steps in {stage['seconds']:.0f} s ({best})",
        f'next: weightzoo generate "a charcoal drawing" --model {folder} -o charcoal',
    ]
    emit({"model": str(folder), **metadata}, json, lines)


def check_stages(polish: bool, pseudo_labels: bool, random_init: bool, more_concepts: int) -> None:
    """Refuse options of the other stage, which would do nothing.

    Raises:
        WeightzooError: naming the option.
    """
    from zoo.errors import WeightzooError

    if polish and pseudo_labels:
        raise WeightzooError("--pseudo-labels comes first: train with it alone, then --polish that model")
    if random_init and not polish:
        raise WeightzooError("--random-init needs --polish MODEL, whose network it starts anew; add it")
    if more_concepts and not (polish or pseudo_labels):
        raise WeightzooError("--more-concepts needs --pseudo-labels or --polish MODEL; add one of them")


def train_on_weights(
    zoos: list[Path],
    out: Path,
    preset: str = "small",
    denoiser: str | None = None,
    pseudo_labels: bool = False,
    more_concepts: int = 0,
    steps: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
    resume: bool = True,
) -> Path:
    """First stage: the weights of ``zoos``; validated on the first one's validation split."""
    from dataclasses import replace

    from weightgen.data import load_zoo, merge
    from weightgen.presets import PRESETS, for_pseudo_labels
    from weightgen.train import train as run

    make = choose("preset", preset, PRESETS)
    config = replace(make() if denoiser is None else make(denoiser), seed=seed)
    dataset = merge([load_zoo(folder, "train") for folder in zoos])
    validation = load_zoo(zoos[0], "validation")
    if pseudo_labels:
        from cli.pictures import open_studio

        dataset = open_studio(zoos[0], seed, more_concepts).pseudo_labelled(dataset)
        config = for_pseudo_labels(config)
    if steps is not None:
        config = replace(config, steps=steps)
    return run(config, dataset, out, validation=validation, seconds=seconds, resume=resume)


def train_by_pictures(
    model: Path,
    zoo: Path,
    out: Path,
    steps: int | None = None,
    seconds: float | None = None,
    random_init: bool = False,
    more_concepts: int = 0,
    seed: int = 0,
    resume: bool = True,
) -> Path:
    """Second stage: through the pictures of the catalogue's train concepts, edited by the zoo's teacher."""
    from cli.pictures import open_studio
    from weightgen.polish import PolishConfig
    from weightgen.polish import polish as run

    changes: dict[str, Any] = {} if steps is None else {"steps": steps}
    config = PolishConfig(random_init=random_init, seed=seed, **changes)
    studio = open_studio(zoo, seed, more_concepts)
    validation = studio.validation_batches()
    return run(model, studio.batches, config, out, seconds, validation, resume=resume)
