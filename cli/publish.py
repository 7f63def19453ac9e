"""``weightzoo publish``: put a finished zoo or a weight generator on the Hub."""

from pathlib import Path
from typing import Annotated

import typer

from cli.choices import choose
from cli.output import JsonOption, emit, quiet_progress
from cli.publish_model import is_model, publish_model


def publish(
    run: Annotated[Path, typer.Argument(help="Folder of a finished zoo, or of a weight generator.")],
    repo: Annotated[str, typer.Option("--repo", help="Repository USER/NAME; made if absent.")],
    private: Annotated[
        bool, typer.Option("--private", help="Make it private, or insist that it is.")
    ] = False,
    pairs: Annotated[
        bool, typer.Option("--pairs", help="Publish the image pairs too, as USER/NAME-pairs.")
    ] = False,
    format: Annotated[
        str | None, typer.Option(help="parquet or webdataset: convert the shards.  [default: as they are]")
    ] = None,
    tag: Annotated[
        str | None, typer.Option(help="A name for this state beside that of the format version, v1.")
    ] = None,
    evaluation: Annotated[
        Path | None,
        typer.Option(
            help="Of a weight generator: what `weightzoo evaluate` has written, for the card's table."
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Publish a zoo as a dataset on the Hugging Face Hub, with its data card, or a weight generator as a model.

    Only what the repository lacks is sent, the manifest last; run the same command again after an interruption.
    A repository holds one format: publish another one beside it. What --format makes stays in RUN/.FORMAT, so that
    a later publish converts new shards only. Names of your own photographs are published, where they lie is not.
    Log in with `hf auth login` or set HF_TOKEN.

    \b
    Examples:
      weightzoo publish runs/small --repo user/small --private
      weightzoo publish runs/small --repo user/small --pairs --tag paper
      weightzoo publish runs/small --repo user/small-webdataset --format webdataset
      weightzoo publish runs/model --repo user/model --evaluation runs/evaluation
    """
    quiet_progress(json)
    if is_model(run):
        if pairs or format is not None:
            from zoo.errors import WeightzooError

            raise WeightzooError(
                f"{run} is a weight generator, which has no pairs or shards; drop that option"
            )
        return publish_model(run, repo, private, tag, evaluation, json)
    if evaluation is not None:
        from zoo.errors import WeightzooError

        raise WeightzooError(f"{run} is a zoo, --evaluation is of a weight generator; leave it out")
    from pipeline.pairs_card import pairs_card
    from pipeline.places import check_private
    from pipeline.publish import card_files
    from zoo.convert import in_format
    from zoo.hub import publish as run_publish
    from zoo.hub import publish_pairs
    from zoo.shards import FORMATS

    if format is not None:
        choose("format", format, FORMATS)
    pairs_repo = f"{repo}-pairs"
    card = pairs_card(run, pairs_repo, repo) if pairs else b""  # first: without pairs nothing is sent
    zoo = run if format is None else in_format(run, format)
    check_private(run, zoo)
    done = [run_publish(zoo, repo, card_files(zoo, repo), private, tag)]
    if pairs:
        done.append(publish_pairs(run, pairs_repo, {"README.md": card}, private, tag))
    lines = [
        f"{each.url}: {each.files} files, {each.bytes / 1e6:.1f} MB sent in {each.commits} commits"
        if each.commits
        else f"{each.url}: already up to date"
        for each in done
    ]
    emit({"published": done}, json, [*lines, f"next: weightzoo download {repo} -o FOLDER"])
