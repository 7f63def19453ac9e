"""`weightzoo publish`: put a finished zoo or a weight generator on the Hub."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cli.console.output import JsonOption, emit, quiet_progress


def publish(
    run: Annotated[Path, typer.Argument(help="Folder of a finished zoo or of a weight generator.")],
    repo: Annotated[str, typer.Option("--repo", help="Repository USER/NAME; it is created if it does not exist.")],
    private: Annotated[
        bool, typer.Option("--private", help="Create it as private; an existing repository must be private.")
    ] = False,
    pairs: Annotated[bool, typer.Option("--pairs", help="Publish the image pairs too, as USER/NAME-pairs.")] = False,
    format: Annotated[
        Literal["parquet", "webdataset"] | None,
        typer.Option(help="Convert the shards to this format.  [default: keep theirs]"),
    ] = None,
    tag: Annotated[
        str | None, typer.Option(help="Tag for this state, besides that of the format version (v1).")
    ] = None,
    evaluation: Annotated[
        Path | None,
        typer.Option(
            help="For a weight generator: output folder of `weightzoo evaluate`, shown as a table in the card."
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Publish a zoo as a dataset on the Hugging Face Hub, with its data card, or a weight generator as a model.

    Only files that the repository lacks are sent, and the manifest comes last. After an interruption run the same
    command again. A repository holds one format; publish another format to a repository of its own. Converted
    shards are kept in RUN/.FORMAT, so that the next time only new ones are converted. The names of your own
    photographs are published, but not where they lie. Log in with `hf auth login`, or set HF_TOKEN.

    \b
    Examples:
      weightzoo publish runs/small --repo user/small --private
      weightzoo publish runs/small --repo user/small --pairs --tag paper
      weightzoo publish runs/small --repo user/small-webdataset --format webdataset
      weightzoo publish runs/model --repo user/model --evaluation runs/evaluation
    """
    quiet_progress(json)
    from zoo.errors import WeightzooError

    if (run / "model_index.json").is_file():
        if pairs or format is not None:
            raise WeightzooError(
                f"{run} is a weight generator, which has neither pairs nor shards; leave --pairs and --format out"
            )
        from weightgen.publish_model import publish_model

        next_step = f'next: weightzoo generate "a charcoal drawing" --model {repo} -o charcoal'
        return report([publish_model(run, repo, private, tag, evaluation)], next_step, json)
    if evaluation is not None:
        raise WeightzooError(f"{run} is a zoo, and --evaluation belongs to a weight generator; leave it out")
    from pipeline.publish_zoo import publish_zoo

    done = publish_zoo(run, repo, private, pairs, format, tag)
    return report(done, f"next: weightzoo download {repo} -o FOLDER", json)


def report(done: list[Any], next_step: str, json: bool) -> None:
    """Say what was sent where."""
    from zoo.words import plural

    lines = [
        f"{each.url}: {plural(each.files, 'file')}, {each.bytes / 1e6:.1f} MB sent in {plural(each.commits, 'commit')}"
        if each.commits
        else f"{each.url}: already up to date"
        for each in done
    ]
    emit({"published": done}, json, [*lines, next_step])
