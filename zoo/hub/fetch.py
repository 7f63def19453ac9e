"""Downloading a zoo, or a part of it, into a folder that everything which works on a run folder works on.

    download("weightzoo-small", "zoos/small")                                  # comes with the package
    download("user/zoo", "zoos/zoo", revision="v1", split="train", shards="0-9")
    download("user/zoo", "zoos/sketches", concepts=["sketch*"])

Files come through the Hub client's cache (`HF_HOME`), several at a time; each is checked by the sha256 of the
manifest and fetched again when it is damaged. The client's `snapshot_download` compares every name with every pattern,
which takes more than a minute for 10,000 shards, checks the size of what it fetches, and nothing of what its cache has;
its `verify_repo_checksums` tells of damage and mends none. What is in the folder already and right is kept: the same
call goes on where it stopped, another selection adds to the folder. Shards come whole. Without a connection the cache
serves, and is told as what it is. What lies in the folder are copies: editing them changes nothing else.
"""

import re
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import RemoteEntryNotFoundError
from huggingface_hub.utils.sha import git_hash

from zoo.concepts import read_concepts, write_concepts
from zoo.errors import WeightzooError
from zoo.files import PathLike, atomic_path, remove_stale_temporaries, sha256_file
from zoo.hub.causes import Cause, cached_note
from zoo.hub.client import HubUnreachable, files_at, from_cache, hub_errors, unreachable
from zoo.hub.embedded import copy_embedded
from zoo.hub.pairs import PAIRS
from zoo.hub.selection import choose_shards, contradiction, rejected_name, with_concepts
from zoo.manifest import (
    MANIFEST_FILE,
    ShardEntry,
    ZooManifest,
    collect_manifest,
    read_manifest,
    read_rejected_file,
    shard_paths,
    write_manifest,
)
from zoo.progress import say, track
from zoo.results import ZOO, check_kind
from zoo.shards import read_shard
from zoo.verify import verify_run

AT_ONCE = 8  # files fetched at a time
_REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w.-]+")
CARD, CONCEPTS = "README.md", "concepts.jsonl"


def download(
    name: str,
    out: PathLike,
    revision: str | None = None,
    split: str | None = None,
    shards: str | None = None,
    concepts: Sequence[str] = (),
    tell: Callable[[str], None] = say,
) -> Path:
    """Put a zoo into the folder `out`, the manifest last, and verify it.

    Args:
        name: an embedded zoo, or `USER/NAME` of the Hub (never a folder of that name).
        revision: a branch, tag or commit; default: `main`.
        split, shards, concepts: a part only, see :mod:`zoo.hub.selection`. The folder's manifest then says that it
            is a subset; shards that are in the folder already belong to it too.
        tell: called with one line for everything that a person should know, such as that the cache served.

    Raises:
        WeightzooError: unknown, private or damaged, nothing fits the selection, `out` holds something else, a full
            disk, or the Hub cannot be reached and the cache does not have it.
    """
    part = split is not None or shards is not None or bool(concepts)
    if not _REPOSITORY.fullmatch(name):
        if part or revision:
            raise WeightzooError(
                f"{name} is no USER/NAME of the Hub and comes as a whole; leave the options out"
            )
        return copy_embedded(name, out)
    out = Path(out)
    with hub_errors(name, revision):
        source = HubSource(name, revision, tell)
        if part and source.manifest.gan == PAIRS:
            raise WeightzooError(f"{name} holds pairs, which come as a whole; leave the options out")
        _check_folder(out, source.manifest)
        remove_stale_temporaries(out)
        chosen = _chosen(source, split, shards, concepts) if part else list(source.manifest.shards)
        there = {path.relative_to(out).as_posix() for path in shard_paths(out)}
        taken = [entry for entry in source.manifest.shards if entry in chosen or entry.name in there]
        (out / MANIFEST_FILE).unlink(missing_ok=True)
        _fetch_all(source, out, taken)
        _place_card(source, out / CARD, tell)
        if concepts and not all(_holds(out / entry.name, concepts) for entry in chosen):
            raise contradiction(source.manifest)
        if len(taken) == len(source.manifest.shards):
            _copy(source.fetch(MANIFEST_FILE), out / MANIFEST_FILE)
        else:
            _write_subset(source, out, taken)
    if problems := verify_run(out):
        raise WeightzooError(f"{name} is not sound as published ({problems[0]}); tell its owner")
    return out


class HubSource:
    """One commit of a dataset repository: its manifest, and its files by way of the cache.

    Attributes:
        offline: why the Hub is not asked; None when it answers.
    """

    def __init__(self, repo_id: str, revision: str | None, tell: Callable[[str], None] = say) -> None:
        self.repo_id = repo_id
        self.offline: Cause | None = unreachable(repo_id, "dataset", revision)
        self.commit = revision or "main"
        self.expected: dict[str, str] = {}
        try:
            path = self.fetch(MANIFEST_FILE)
        except RemoteEntryNotFoundError:
            raise WeightzooError(f"{repo_id} is no zoo of weightzoo: it has no {MANIFEST_FILE}") from None
        if self.offline and path.parent.name != revision:  # a commit cannot have changed since
            tell(cached_note(repo_id, path.lstat().st_mtime, self.offline))
        self.commit = path.parent.name
        self.manifest, self.manifest_sha256 = read_manifest(path), sha256_file(path)
        self.expected = self.manifest.hashes()
        self._check_sizes()

    def fetch(self, name: str) -> Path:
        """Return the file in the cache, fetched when absent; right, or an error.

        Raises:
            WeightzooError: it is not what the manifest says, or the manifest does not name it.
        """
        if name not in self.expected and name not in (MANIFEST_FILE, CARD):
            raise WeightzooError(f"the manifest of {self.repo_id} does not name {name}; tell its owner")
        for force in (False, True, True):
            path = self._cached(name, force)
            if self._is_right(path, name):
                return path
            if self.offline:
                raise HubUnreachable(f"{name} of {self.repo_id} is damaged in the cache, and {self.offline}")
        raise WeightzooError(f"{name} of {self.repo_id} is not what its manifest says; tell its owner")

    def _is_right(self, path: Path, name: str) -> bool:
        if name in self.expected:
            return sha256_file(path) == self.expected[name]
        # manifest and card: the cache names a file by its git id, or by its sha256 when it is a large one
        etag = path.resolve().name
        return len(etag) not in (40, 64) or etag in (git_hash(path.read_bytes()), sha256_file(path))

    def rejected(self) -> dict[str, list[str]]:
        """Return the concept ids without a record, by the name of the shard that lacks them."""
        found = {}
        for entry in self.manifest.shards:
            name = rejected_name(entry.name)
            if name in self.manifest.files:
                found[entry.name] = [row["concept_id"] for row in read_rejected_file(self.fetch(name))]
        return found

    def _cached(self, name: str, force: bool = False) -> Path:
        where = {"repo_type": "dataset", "revision": self.commit, "local_files_only": self.offline is not None}
        fetched = partial(hf_hub_download, self.repo_id, name, force_download=force, **where)
        return from_cache(fetched, f"{name} of {self.repo_id}", self.offline)

    def _check_sizes(self) -> None:
        """Refuse a repository whose files are larger than its manifest says, before fetching any."""
        if self.offline:
            return
        sizes = {name: file.size for name, file in files_at(self.repo_id, "dataset", self.commit).items()}
        for name, size in self.manifest.all_sizes().items():
            if sizes.get(name) != size:
                there = f"{sizes[name]} bytes" if name in sizes else "absent"
                raise WeightzooError(
                    f"{name} of {self.repo_id} is {there}, its manifest says {size}; tell its owner"
                )


def _chosen(
    source: HubSource, split: str | None, shards: str | None, concepts: Sequence[str]
) -> list[ShardEntry]:
    chosen = choose_shards(source.manifest, split, shards)
    if not concepts:
        return chosen
    listed = read_concepts(source.fetch(CONCEPTS))
    return with_concepts(chosen, source.manifest, listed, source.rejected(), concepts)


def _holds(shard: Path, patterns: Sequence[str]) -> bool:
    """Return whether a shard has a record whose concept id matches."""
    return any(fnmatchcase(record.concept_id, p) for record in read_shard(shard)[0] for p in patterns)


def _check_folder(out: Path, manifest: ZooManifest) -> None:
    """Refuse a folder that holds anything else than (a part of) this zoo."""
    check_kind(out, ZOO)
    listed = {entry.name for entry in manifest.shards}
    strange = [path for path in shard_paths(out) if path.relative_to(out).as_posix() not in listed]
    config, expected = out / "config.json", manifest.files.get("config.json")
    if strange or (config.exists() and sha256_file(config) != expected):
        raise WeightzooError(f"{out} holds another zoo; choose another folder")


def _fetch_all(source: HubSource, out: Path, shards: Sequence[ShardEntry]) -> None:
    """Put the shards, the rejected files beside them and every other file of the zoo into `out`."""
    names = [entry.name for entry in shards]
    beside = {rejected_name(name) for name in names}
    names += [name for name in source.manifest.files if not name.startswith("rejected/") or name in beside]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        # a name once: a manifest could say one twice, and two threads would write the same file
        waiting = [pool.submit(_fetch_one, source, out, name) for name in dict.fromkeys(names)]
        try:
            for done in track(as_completed(waiting), "downloading", "files", total=len(waiting)):
                done.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _fetch_one(source: HubSource, out: Path, name: str) -> None:
    expected, target = source.expected[name], out / name
    if not (target.is_file() and sha256_file(target) == expected):
        _copy(source.fetch(name), target)


def _place_card(source: HubSource, target: Path, tell: Callable[[str], None]) -> None:
    """Put the card where none is: people edit it, and a zoo is one without it too."""
    if CARD in source.expected:
        return
    try:
        card = source.fetch(CARD)
    except (RemoteEntryNotFoundError, HubUnreachable):
        return
    if not target.is_file():
        _copy(card, target)
    elif sha256_file(target) != sha256_file(card):
        tell(f"{target} is not the published one and stays; remove it and run the command again to get that")


def _copy(cached: Path, target: Path) -> None:
    """Make `target` a copy of the cached file: whoever edits it must change neither the cache nor other copies."""
    with atomic_path(target) as temporary:
        shutil.copyfile(cached, temporary)


def _write_subset(source: HubSource, out: Path, shards: Sequence[ShardEntry]) -> None:
    """Cut the list of concepts down to those of `shards` and write the manifest of this part."""
    held: set[str] = set()
    for entry in shards:
        held.update(record.concept_id for record in read_shard(out / entry.name)[0])
        held.update(row["concept_id"] for row in read_rejected_file(out / rejected_name(entry.name)))
    concepts = read_concepts(source.fetch(CONCEPTS))
    write_concepts(out / CONCEPTS, [concept for concept in concepts if concept.id in held])
    manifest = collect_manifest(out)
    if manifest.shards != tuple(shards):
        raise WeightzooError(f"the shards of {source.repo_id} are not what its manifest says; tell its owner")
    subset = {
        "repo": source.repo_id,
        "revision": source.commit,
        "shards": f"{len(shards)} of {len(source.manifest.shards)}",
        "manifest_sha256": source.manifest_sha256,
    }
    write_manifest(out, replace(manifest, subset=subset))
