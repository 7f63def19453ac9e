"""``weightzoo download``: put a zoo, or a part of one, into a folder, every file checked."""

from pathlib import Path
from typing import Annotated

import typer

from cli.output import JsonOption, emit, quiet_progress


def download(
    name: Annotated[str, typer.Argument(help="Which zoo: weightzoo-small, or USER/NAME of the Hub.")],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Folder to write; what is there and right is kept.")
    ],
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit, for example v1.")] = None,
    split: Annotated[str | None, typer.Option(help="This split only, for example train.")] = None,
    shards: Annotated[
        str | None, typer.Option(help="These shards of the split only: numbers and ranges, 0-9,12.")
    ] = None,
    concepts: Annotated[
        list[str] | None,
        typer.Option(help='Shards with such concepts only: ids with wildcards, "sketch*"; repeatable.'),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Write a zoo into a folder and verify it.

    weightzoo-small comes with the installation, no network is needed. Zoos of the Hub go through the cache of
    huggingface_hub; the same command goes on where it stopped, another selection adds shards to the folder.
    Shards come whole: one with a concept that was asked for brings the others of its fleet.

    \b
    Examples:
      weightzoo download weightzoo-small -o zoo-small
      weightzoo download user/zoo --revision v1 --split train --shards 0-9 -o zoo-part
      weightzoo download user/zoo --concepts "sketch*" -o sketches
      weightzoo inspect zoo-small --verify
    """
    quiet_progress(json)
    from zoo.hub import download as run
    from zoo.manifest import load_manifest

    said: list[str] = []
    folder = run(name, out, revision, split, shards, concepts or (), tell=said.append)
    manifest = load_manifest(folder)
    size = sum(shard.bytes for shard in manifest.shards)
    result = {
        "name": name,
        "folder": str(folder),
        "counts": manifest.counts,
        "shards": len(manifest.shards),
        "bytes": size,
        "subset": manifest.subset,
        "warnings": said,
    }
    part = f" (a part: {manifest.subset['shards']} shards)" if manifest.subset else ""
    if not manifest.shards:
        return emit(result, json, [*said, f"{folder}: {len(manifest.files)} files of pairs, verified"])
    lines = [
        *said,
        f"{folder}: {manifest.counts['ok']} trained GANs in {len(manifest.shards)} shards{part}, "
        f"{size / 1e6:.1f} MB, verified",
        f"next: weightzoo inspect {folder}; weightzoo train --data {folder} -o model",
    ]
    return emit(result, json, lines)
