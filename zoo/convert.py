"""A finished zoo in another storage format: equal records in shards that another kind of reader takes.

folder = in_format("runs/small", "webdataset")      # runs/small/.webdataset, a zoo like any other

The same call again goes on where it stopped: each shard names the one that it was made from. Nothing else of the
zoo changes but the format that `config.json` names; the copy has a manifest of its own.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from zoo.errors import WeightzooError
from zoo.files import PathLike, json_text, read_json_object, remove_stale_temporaries, sha256_file, write_bytes
from zoo.manifest import MANIFEST_FILE, ShardEntry, ZooManifest, collect_manifest, load_manifest, write_manifest
from zoo.progress import track
from zoo.records import PREFIX
from zoo.shards import FORMATS, ShardFormat, format_of, read_shard, without_suffix

SOURCE_KEY = f"{PREFIX}converted_from"  # of a shard's metadata: sha256 of the shard that it was made from


def in_format(run_dir: PathLike, format_name: str) -> Path:
    """Return `run_dir` if that is its format, else the folder `.FORMAT` in it, brought up to date.

    Raises:
        WeightzooError: the zoo is unfinished or damaged, or a full disk.
    """
    run_dir, shard_format = Path(run_dir), FORMATS[format_name]
    zoo = load_manifest(run_dir)
    if all(format_of(entry.name) is shard_format for entry in zoo.shards):
        return run_dir
    out = run_dir / f".{format_name}"
    remove_stale_temporaries(out)
    made = {f"{without_suffix(entry.name)}{shard_format.SUFFIX}": entry for entry in zoo.shards}
    others = dict(_other_files(run_dir, zoo, format_name))
    stale = [path for path in _files(out) if path.relative_to(out).as_posix() not in {*made, *others}]
    known = _known_hashes(out)
    missing = [name for name, entry in made.items() if not _is_current(out, name, entry, known)]
    changed = [name for name, data in others.items() if not _has(out / name, data)]
    if not (stale or missing or changed) and known:
        return out
    (out / MANIFEST_FILE).unlink(missing_ok=True)
    for path in stale:
        path.unlink()
    for name in changed:
        write_bytes(out / name, others[name])
    for name in track(missing, "converting", "shards"):
        _convert(run_dir, made[name], shard_format, out / name)
    write_manifest(out, replace(collect_manifest(out), subset=zoo.subset))
    return out


def _convert(run_dir: Path, entry: ShardEntry, shard_format: ShardFormat, target: Path) -> None:
    """Write one shard anew in `shard_format`."""
    if sha256_file(run_dir / entry.name) != entry.sha256:
        raise WeightzooError(f"{run_dir / entry.name} is corrupt; repair the zoo with `weightzoo repair`")
    records, metadata, layout = read_shard(run_dir / entry.name)
    shard_format.write_shard(target, list(records), layout, metadata | {SOURCE_KEY: entry.sha256})


def _is_current(out: Path, name: str, entry: ShardEntry, known: dict[str, str]) -> bool:
    """Return whether the converted shard is there, sound, and made from the zoo's present one."""
    if not (out / name).exists() or (known and sha256_file(out / name) != known.get(name)):
        return False
    try:
        return read_shard(out / name)[1].get(SOURCE_KEY) == entry.sha256
    except WeightzooError:
        return False


def _known_hashes(out: Path) -> dict[str, str]:
    """Return the sha256 of every shard of an earlier, complete conversion."""
    if not (out / MANIFEST_FILE).exists():
        return {}
    return {entry.name: entry.sha256 for entry in load_manifest(out).shards}


def _other_files(run_dir: Path, zoo: ZooManifest, shard_format: str) -> Iterator[tuple[str, bytes]]:
    """Yield what the zoo has beside shards, by name: the same bytes, and the config with its `shard_format`."""
    for name in zoo.files:
        if not (run_dir / name).is_file():
            raise WeightzooError(f"{run_dir / name} is missing; download the zoo again or restore it")
        if name != "config.json":
            yield name, (run_dir / name).read_bytes()
            continue
        yield name, json_text(read_json_object(run_dir / name) | {"shard_format": shard_format}).encode()


def _files(out: Path) -> list[Path]:
    """Return every file of an earlier conversion but its manifest."""
    return [path for path in out.rglob("*") if path.is_file() and path.name != MANIFEST_FILE]


def _has(path: Path, data: bytes) -> bool:
    return path.is_file() and path.read_bytes() == data
