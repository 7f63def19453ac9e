"""``weightzoo download``: put a zoo that comes with weightzoo into a folder, every file checked."""

from pathlib import Path
from typing import Annotated

import typer

from cli.output import JsonOption, emit, quiet_progress


def download(
    name: Annotated[str, typer.Argument(help="Which zoo, for example weightzoo-small.")],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Folder to write; what is there and right is kept.")
    ],
    json: JsonOption = False,
) -> None:
    """Write a zoo into a folder and verify it.

    weightzoo-small comes with the installation, no network is needed.

    \b
    Examples:
      weightzoo download weightzoo-small -o zoo-small
      weightzoo inspect zoo-small --verify
    """
    quiet_progress(json)
    from zoo.hub import download as run
    from zoo.manifest import load_manifest

    folder = run(name, out)
    manifest = load_manifest(folder)
    size = sum(shard.bytes for shard in manifest.shards)
    result = {
        "name": name,
        "folder": str(folder),
        "counts": manifest.counts,
        "shards": len(manifest.shards),
        "bytes": size,
    }
    emit(
        result,
        json,
        [
            f"{folder}: {manifest.counts['ok']} trained GANs in {len(manifest.shards)} shards, "
            f"{size / 1e6:.1f} MB, verified",
            f"next: weightzoo inspect {folder}; weightzoo train --data {folder} -o model",
        ],
    )
