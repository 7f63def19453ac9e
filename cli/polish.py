"""`weightzoo polish`: a weight generator goes in, one that was trained further through pictures comes out."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.console.embedded import EMBEDDED, model_folder
from cli.console.options import ResumeOption, SecondsOption, out_option, refuse
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
    pairs: Annotated[
        bool,
        typer.Option("--pairs", help="Learn to read before/after pairs beside the prompt, or without one."),
    ] = False,
    groups: Annotated[
        int,
        typer.Option(min=1, help="With --pairs: groups of 64 edits to render, about 13 MB each, kept in OUT/edits."),
    ] = 100,
    programs: Annotated[
        bool,
        typer.Option(
            "--programs", help="With --pairs: edits by ImageMagick 6 and ffmpeg take part; both must be there."
        ),
    ] = False,
    seconds: SecondsOption = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Number of training steps.  [default: 4000; with --pairs 6000]")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Highest learning rate.  [default: 4e-4; with --pairs 1e-3]")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of batches and noise.")] = 0,
    resume: ResumeOption = True,
    json: JsonOption = False,
) -> None:
    """Train a weight generator further, through the pictures that its weights make.

    The prompt gives weights, the base generator with these weights edits photographs, and the error against the
    teacher's edits flows back. It gets further with a model of `weightzoo train --pseudo-labels`, which knows the
    words of the whole catalogue. You may stop it at any time: the same command continues from the last checkpoint.

    With --pairs it learns what the prompt cannot say: it reads a few before/after pairs, generates a network for them,
    solves this network's output layer on the same pairs, and is trained through the solve. The edits are rendered
    first, and are kept in OUT/edits; --seconds counts the training alone. Besides the zoo's teacher, Pillow and kornia
    edit, and with --programs whatever ImageMagick and ffmpeg can do.

    \b
    Examples:
      weightzoo polish labelled -o polished --seconds 300
      weightzoo polish labelled --more-concepts 8000 -o polished
      weightzoo polish labelled --random-init -o control
      weightzoo polish polished --pairs --more-concepts 8000 -o paired
    """
    quiet_progress(json)
    check_training(ctx)
    from weightgen.training.config import PairedConfig, PolishConfig
    from zoo.config import changed
    from zoo.hub import open_named
    from zoo.results import MODEL, check_kind

    check_kind(out, MODEL)
    if not pairs:
        refuse(ctx, "polish without --pairs", "only a training on pairs renders groups", "groups", "programs")
    if pairs:
        reading = changed(PairedConfig(random_init=random_init, seed=seed), steps=steps, learning_rate=learning_rate)
        zoo = config_folder(open_named(data))
        folder = train_on_pairs(
            model_folder(model), zoo, out, reading, seconds, more_concepts, groups, programs, resume
        )
        report(folder, json)
        return
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


def train_on_pairs(
    model: Path,
    zoo: Path,
    out: Path,
    config: Any,
    seconds: float | None = None,
    more_concepts: int = 0,
    groups: int = 100,
    programs: bool = False,
    resume: bool = True,
) -> Path:
    """Train `model` to read pairs, of edits of the teacher of `zoo`, of other programs and of random ones."""
    from pipeline.edit_groups import open_edit_groups
    from pipeline.teachers.programs import COMMANDS, LIBRARIES
    from weightgen.training.paired import learn_pairs

    names = (*LIBRARIES, *COMMANDS) if programs else tuple(LIBRARIES)
    edits = open_edit_groups(zoo, out / "edits", groups, config.seed, more_concepts, names)
    edits.render()
    return learn_pairs(model, edits, edits.held_out(), config, out, seconds, resume, data=edits.made_from)
