"""`weightzoo polish`: a weight generator goes in, one that was trained further through pictures comes out."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.console.embedded import EMBEDDED, model_folder
from cli.console.options import ResumeOption, SecondsOption, out_option
from cli.console.output import JsonOption, quiet_progress
from cli.train import check_training, config_folder, report


def polish(
    ctx: typer.Context,
    model: Annotated[Path, typer.Argument(help="Model to train further, from `weightzoo train`.")],
    out: Annotated[Path, out_option("Folder for the polished model.")],
    data: Annotated[
        str,
        typer.Option(
            help="Zoo whose teacher edits the pictures: a folder, or USER/NAME[@REVISION] on the Hub.  "
            "[default: the embedded one]",
            show_default=False,
        ),
    ] = EMBEDDED,
    more_concepts: Annotated[int, typer.Option(min=0, help="How many concepts beyond the catalogue to add.")] = 0,
    random_init: Annotated[
        bool, typer.Option("--random-init", help="Start from random weights, without what the model has learned.")
    ] = False,
    seconds: SecondsOption = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Number of training steps.  [default: 4000]")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Highest learning rate.  [default: 4e-4]")] = None,
    seed: Annotated[int, typer.Option(help="Seed of batches and noise.")] = 0,
    resume: ResumeOption = True,
    json: JsonOption = False,
) -> None:
    """Train a weight generator further, through the pictures that its weights make.

    The prompt gives weights, the base generator with these weights edits photographs, and the error against the
    teacher's edits flows back. It gets further with a model of `weightzoo train --pseudo-labels`, which knows the
    words of the whole catalogue. You may stop it at any time: the same command continues from the last checkpoint.

    \b
    Examples:
      weightzoo polish labelled -o polished --seconds 300
      weightzoo polish labelled --more-concepts 8000 -o polished
      weightzoo polish labelled --random-init -o control
    """
    quiet_progress(json)
    check_training(ctx)
    from weightgen.training.config import PolishConfig
    from zoo.config import changed
    from zoo.hub import open_named
    from zoo.results import MODEL, check_kind

    check_kind(out, MODEL)
    config = changed(PolishConfig(random_init=random_init, seed=seed), steps=steps, learning_rate=learning_rate)
    folder = train_by_pictures(
        model_folder(model), config_folder(open_named(data)), out, config, seconds, more_concepts, resume
    )
    report(folder, json)


def train_by_pictures(
    model: Path,
    zoo: Path,
    out: Path,
    config: Any,
    seconds: float | None = None,
    more_concepts: int = 0,
    resume: bool = True,
) -> Path:
    """Polish `model` with the catalogue's train concepts, edited by the teacher of `zoo`."""
    from pipeline.picture_batches import open_catalogue_edits
    from weightgen.training.pictures import polish as run

    edits = open_catalogue_edits(zoo, config.seed, more_concepts)
    validation = edits.validation_batches()
    return run(model, edits.batches, config, out, seconds, validation, resume, data=edits.fingerprint)
