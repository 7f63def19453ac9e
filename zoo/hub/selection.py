"""Which shards of a zoo are asked for: by split, by number, by concept. Nothing but its small files is read.

entries = choose_shards(manifest, split="train", shards="0-9,12")
entries = with_concepts(entries, manifest, concepts, rejected, ["sketch*"])
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from zoo.concepts import Concept
from zoo.errors import WeightzooError
from zoo.manifest import ShardEntry, ZooManifest
from zoo.shards import without_suffix


def choose_shards(
    manifest: ZooManifest, split: str | None = None, shards: str | None = None
) -> list[ShardEntry]:
    """Return the shards of `split` whose number within their split is in `shards`, in the manifest's order.

    Args:
        split: `None` is every split.
        shards: numbers from 0 and ranges, `0-9,12`; `None` is every number.

    Raises:
        WeightzooError: nothing fits, or `shards` cannot be read.
    """
    ranges = _ranges(shards) if shards is not None else [(0, len(manifest.shards))]
    splits = list(dict.fromkeys(entry.split for entry in manifest.shards))
    if split is not None and split not in splits:
        raise WeightzooError(f"{manifest.name} has no split {split!r}; it has {', '.join(splits)}")
    chosen = []
    for own in splits if split is None else [split]:
        entries = [entry for entry in manifest.shards if entry.split == own]
        chosen += [e for i, e in enumerate(entries) if any(low <= i <= high for low, high in ranges)]
    if not chosen:
        counts = ", ".join(f"{own} 0-{sum(e.split == own for e in manifest.shards) - 1}" for own in splits)
        raise WeightzooError(f"{manifest.name} has no shard {shards}; it has {counts}")
    return chosen


def with_concepts(
    entries: Sequence[ShardEntry],
    manifest: ZooManifest,
    concepts: Sequence[Concept],
    rejected: Mapping[str, Sequence[str]],
    patterns: Sequence[str],
) -> list[ShardEntry]:
    """Return those of `entries` that hold a concept whose id matches one of `patterns` (`sketch*`).

    Raises:
        WeightzooError: no concept matches, or the files contradict each other.
    """
    held = concepts_by_shard(manifest, concepts, rejected)
    gone = {name for names in rejected.values() for name in names}
    chosen = [
        entry
        for entry in entries
        if any(fnmatchcase(name, p) for name in held[entry.name] if name not in gone for p in patterns)
    ]
    if not chosen:
        shown = ", ".join(patterns)
        raise WeightzooError(f"no trained concept of {manifest.name} matches {shown}; see its concepts.jsonl")
    return chosen


def concepts_by_shard(
    manifest: ZooManifest, concepts: Sequence[Concept], rejected: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """Say which concepts each shard was built from, rejected ones included, without reading any shard.

    A build cuts the concepts of a split, in the order of `concepts.jsonl`, into one shard after the other;
    each concept has a record in its shard or a line in the rejected file of the same name.

    Args:
        rejected: the concept ids of every `rejected/*.jsonl`, by the name of the shard beside it.

    Raises:
        WeightzooError: these files contradict each other.
    """
    held = {}
    for split in dict.fromkeys(entry.split for entry in manifest.shards):
        left = [concept.id for concept in concepts if concept.split == split]
        for entry in (entry for entry in manifest.shards if entry.split == split):
            gone = rejected.get(entry.name, ())
            held[entry.name], left = left[: entry.records + len(gone)], left[entry.records + len(gone) :]
            if not set(gone) <= set(held[entry.name]) or len(held[entry.name]) < entry.records + len(gone):
                raise contradiction(manifest)
        if left:
            raise contradiction(manifest)
    return held


def rejected_name(shard: str) -> str:
    """Return where the rejected concepts of a shard stand: `weights/X.parquet` -> `rejected/X.jsonl`."""
    return f"rejected/{without_suffix(PurePosixPath(shard).name)}.jsonl"


def contradiction(manifest: ZooManifest) -> WeightzooError:
    """Return the error for a list of concepts that does not fit the shards."""
    return WeightzooError(
        f"concepts.jsonl of {manifest.name} does not tell which shard holds which concept; choose by --shards"
    )


def _ranges(text: str) -> list[tuple[int, int]]:
    """Read `0-9,12` as [(0, 9), (12, 12)]."""
    ranges = []
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        if not low.isdecimal() or (dash and not high.isdecimal()):
            raise WeightzooError(f"--shards {text!r} cannot be read; give numbers and ranges such as 0-9,12")
        ranges.append((int(low), int(high if dash else low)))
    return ranges
