"""``weightzoo download``: put a zoo that comes with weightzoo into a folder, every file checked."""

from pathlib import Path
from typing import Annotated

import typer

from cli.embedded import embedded_zoo
from cli.output import JsonOption, emit, quiet_progress


def download(
    name: Annotated[str, typer.Argument(help="Which zoo, for example weightzoo-small.")],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Folder to write; finished files are not copied again.")
    ],
    json: JsonOption = False,
) -> None:
    """Write a zoo into a folder and verify it.

    weightzoo-small comes with the installation, no network is needed.

    \b
    Examples:
      weightzoo download weightzoo-small -o zoo-small
      weightzoo download weightzoo-small -o zoo-small && weightzoo inspect zoo-small --verify
    """
    quiet_progress(json)
    source = embedded_zoo(name)
    from zoo.errors import WeightzooError
    from zoo.files import atomic_path, sha256_file
    from zoo.manifest import verify_run
    from zoo.progress import track

    # the manifest last: its existence says that the folder is complete
    files = sorted(
        (path for path in source.rglob("*") if path.is_file()),
        key=lambda path: (path.name == "manifest.json", path),
    )
    copied = 0
    for path in track(files, f"downloading {name}"):
        target = out / path.relative_to(source)
        if target.is_file() and sha256_file(target) == sha256_file(path):
            continue
        with atomic_path(target) as temporary:
            temporary.write_bytes(path.read_bytes())
        copied += 1
    problems = verify_run(out)
    if problems:
        raise WeightzooError(f"{out}: {problems[0]}; run the same command again")
    size = sum(path.stat().st_size for path in files)
    result = {"name": name, "folder": str(out), "files": len(files), "copied": copied, "bytes": size}
    emit(result, json, [f"{name}: {len(files)} files, {size / 1e6:.1f} MB in {out} ({copied} new), verified"])
