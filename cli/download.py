"""`weightzoo download`: put a zoo, or a part of one, into a folder, every file checked."""

from pathlib import Path
from typing import Annotated

import typer

from cli.console.options import out_option
from cli.console.output import JsonOption, emit, quiet_progress


def download(
    name: Annotated[str, typer.Argument(help="Zoo to download: weightzoo-small, or USER/NAME on the Hub.")],
    out: Annotated[Path, out_option("Folder for the zoo; files that are already there and intact are kept.")],
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit, for example v1.")] = None,
    split: Annotated[str | None, typer.Option(help="Only this split, for example train.")] = None,
    shards: Annotated[
        str | None, typer.Option(help="Only these shards of the split: numbers and ranges, for example 0-9,12.")
    ] = None,
    concepts: Annotated[
        list[str] | None,
        typer.Option(help='Only shards with these concepts: ids, also with wildcards ("sketch*"); may be repeated.'),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Write a zoo into a folder and verify it.

    weightzoo-small comes with the installation and needs no network. Zoos on the Hub are kept in the cache of
    huggingface_hub. The same command resumes an interrupted download, and another selection adds its shards to the
    folder. Shards are downloaded whole, so a requested concept brings the others of its fleet along.

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
    from zoo.words import plural

    said: list[str] = []
    folder = run(name, out, revision, split, shards, concepts or (), tell=said.append)
    manifest = load_manifest(folder)
    result = {
        "name": name,
        "folder": str(folder),
        "counts": manifest.counts,
        "shards": len(manifest.shards),
        "bytes": manifest.shard_bytes,
        "subset": manifest.subset,
        "warnings": said,
    }
    lines = [f"{folder}: {plural(len(manifest.files), 'file')} of pairs, verified"]
    if manifest.shards:
        trained, size = plural(manifest.counts["ok"], "trained GAN"), manifest.shard_bytes / 1e6
        part = f" (a part: {manifest.subset['shards']} shards)" if manifest.subset else ""
        lines = [
            f"{folder}: {trained} in {plural(len(manifest.shards), 'shard')}{part}, {size:.1f} MB, verified",
            f"next: weightzoo inspect {folder}; weightzoo train --data {folder} -o model",
        ]
    emit(result, json, [*said, *lines])
