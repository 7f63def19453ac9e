"""The manifest of published image pairs: every file below `pairs/` of a run folder with its hash.

It has the form of a zoo's manifest without any shard, and says `"gan": "pairs"`: what reads and checks one reads
and checks the other.
"""

from dataclasses import replace
from pathlib import Path

from zoo.config import to_dict
from zoo.errors import WeightzooError
from zoo.files import PathLike, json_text, sha256_file
from zoo.manifest import ZooManifest, load_manifest

PAIRS = "pairs"


def pairs_manifest(run_dir: PathLike) -> tuple[ZooManifest, bytes]:
    """Return the manifest of a run folder's pairs, and it as the file that is published.

    Raises:
        WeightzooError: the folder is unfinished or has no pairs.
    """
    run_dir = Path(run_dir)
    zoo = load_manifest(run_dir)
    found = sorted(path for path in (run_dir / PAIRS).rglob("[!.]*") if path.is_file())
    if not found:
        raise WeightzooError(
            f"{run_dir} has no pairs/ (its teacher {zoo.teacher!r} stores none); publish it without --pairs"
        )
    files = {path.relative_to(run_dir).as_posix(): sha256_file(path) for path in found}
    manifest = replace(
        zoo,
        name=f"{zoo.name}-{PAIRS}",
        gan=PAIRS,
        counts={},
        shards=(),
        quality={},
        files=files,
        sizes={name: (run_dir / name).stat().st_size for name in files},
    )
    return manifest, json_text(to_dict(manifest)).encode()
