"""Opening a finished zoo: layout, base generator, records and concepts of one run folder.

zoo = open_zoo("runs/small")
for record in zoo.records("train"):
    weights = zoo.layout.from_blocks(torch.from_numpy(record.blocks.astype("float32"))[None])
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo.concepts import Concept, read_concepts
from zoo.errors import WeightzooError
from zoo.files import PathLike
from zoo.layout import WeightLayout
from zoo.manifest import BASE_FILE, ShardEntry, ZooManifest, load_manifest
from zoo.records import WeightRecord
from zoo.shards import read_shard
from zoo.statistics import load_statistics


@dataclass(frozen=True)
class Zoo:
    """A finished zoo: a folder on disk, or one of the Hub whose files appear in `path` as they are asked for."""

    path: Path
    layout: WeightLayout
    manifest: ZooManifest

    @property
    def name(self) -> str:
        """The zoo's name."""
        return self.manifest.name

    def file(self, name: str) -> Path:
        """Return the path of one of the zoo's files, which is fetched first where it is not there yet."""
        return self.path / name

    @property
    def base_path(self) -> Path:
        """The base generator (safetensors)."""
        return self.file(BASE_FILE)

    @property
    def discriminator_path(self) -> Path:
        """The base's discriminator (safetensors)."""
        return self.file("base/discriminator.safetensors")

    def records(self, split: str | None = None) -> Iterator[WeightRecord]:
        """Iterate over the records of `split` (all splits when `None`) in shard order."""
        for entry in self.manifest.shards:
            if split in (None, entry.split):
                yield from self.shard(entry)

    def shard(self, entry: ShardEntry) -> Iterator[WeightRecord]:
        """Iterate over the records of one shard."""
        records, _, layout = read_shard(self.file(entry.name))
        if layout.id != self.layout.id:
            raise WeightzooError(f"{entry.name} has another layout than the zoo; verify the zoo")
        return records

    def concepts(self, split: str | None = None) -> list[Concept]:
        """Return the concepts of `split` (all when `None`), rejected ones included, in order."""
        return [c for c in read_concepts(self.file("concepts.jsonl")) if split in (None, c.split)]

    def statistics(self) -> dict[str, np.ndarray]:
        """Return `mean` [num_blocks, block_size] and `std` [num_blocks] of the train records.

        Raises:
            WeightzooError: the manifest does not hash them, or they are not those of this layout.
        """
        name = self.manifest.statistics
        if name not in self.manifest.files:
            raise WeightzooError(f"{name} is not in the manifest's files; verify the zoo")
        return load_statistics(self.file(name), self.layout)


def open_zoo(path: PathLike) -> Zoo:
    """Open a finished run folder.

    Raises:
        WeightzooError: absent, unfinished, of another format version, or its layout is not the manifest's.
    """
    path = Path(path)
    if not path.is_dir():
        fix = f"build one, or `weightzoo download weightzoo-small -o {path}`"
        raise WeightzooError(f"zoo {path} does not exist; {fix}")
    manifest = load_manifest(path)
    return Zoo(path, manifest_layout(path / "layout.json", manifest), manifest)


def manifest_layout(path: Path, manifest: ZooManifest) -> WeightLayout:
    """Return the layout that a file holds. Raises `WeightzooError` if it holds none, or not the manifest's."""
    layout = WeightLayout.load(path)
    if layout.id != manifest.layout_id:
        raise WeightzooError(f"{path} is not the manifest's layout; download or build it again")
    return layout
