"""``weightzoo publish``: put a finished zoo on the Hub."""

from pathlib import Path
from typing import Annotated

import typer

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
    tag: Annotated[
        str | None, typer.Option(help="A name for this state beside that of the format version, v1.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Publish a zoo as a dataset on the Hugging Face Hub, with its data card.

    Only what the repository lacks is sent, the manifest last; run the same command again after an interruption.
    Log in with `hf auth login` or set HF_TOKEN.

    \b
    Examples:
      weightzoo publish runs/small --repo user/small --private
      weightzoo publish runs/small --repo user/small --pairs --tag paper
      weightzoo publish runs/model --repo user/model
    """
    quiet_progress(json)
    if is_model(run):
        return publish_model(run, repo, private, tag, json)
    from pipeline.publish import card_files, pairs_card
    from zoo.hub import publish as run_publish
    from zoo.hub import publish_pairs

    pairs_repo = f"{repo}-pairs"
    card = pairs_card(run, pairs_repo, repo) if pairs else b""  # first: without pairs nothing is sent
    done = [run_publish(run, repo, card_files(run, repo), private, tag)]
    if pairs:
        done.append(publish_pairs(run, pairs_repo, {"README.md": card}, private, tag))
    lines = [
        f"{each.url}: {each.files} files, {each.bytes / 1e6:.1f} MB sent in {each.commits} commits"
        if each.commits
        else f"{each.url}: already up to date"
        for each in done
    ]
    emit({"published": done}, json, [*lines, f"next: weightzoo download {repo} -o FOLDER"])
