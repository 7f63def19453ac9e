"""What lies in a file or folder: what it is, what is to be known about it, and what is wrong with it.

    kind = kind_of("runs/small", KINDS)
    kind.name, kind.facts(path), kind.problems(path)

A kind is one line of `KINDS`; that of a weight generator stands beside what reads one (`weightgen/model_folder.py`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.adapters.lora import load_base, load_generator
from zoo.adapters.peft_format import find_base, load_peft, read_peft
from zoo.concepts import read_concepts
from zoo.config import to_dict
from zoo.errors import WeightzooError
from zoo.manifest import MANIFEST_FILE, load_manifest, shard_paths
from zoo.records import PREFIX
from zoo.shards import read_shard
from zoo.verify import verify_run, verify_shard

Facts = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """Something that weightzoo leaves on disk: how to recognise it, what to say, how to check it."""

    name: str
    matches: Callable[[Path], bool]
    facts: Callable[[Path], Facts]
    problems: Callable[[Path], list[str]]


def kind_of(path: Path, kinds: Sequence[Kind]) -> Kind:
    """Return which of `kinds`, in the order in which they are tried, lies at `path`.

    Raises:
        WeightzooError: nothing there, or nothing of ours.
    """
    if not path.exists():
        raise WeightzooError(f"{path} does not exist; check the path")
    for kind in kinds:
        if kind.matches(path):
            return kind
    names = ", ".join(kind.name for kind in kinds)
    raise WeightzooError(f"{path} is not something that weightzoo writes ({names}); check the path")


def opens(facts: Callable[[Path], Facts]) -> Callable[[Path], list[str]]:
    """Return a check for what is checked completely by being opened: its error is the problem."""
    return lambda path: problems_of(lambda: facts(path))


def problems_of(check: Callable[[], Any]) -> list[str]:
    """Return the error of `check` as the only problem, or none."""
    try:
        check()
    except WeightzooError as error:
        return [str(error)]
    return []


def _is_zoo(path: Path) -> bool:
    return (path / MANIFEST_FILE).is_file() or (path / "concepts.jsonl").is_file()


def _zoo_facts(path: Path) -> Facts:
    if not (path / MANIFEST_FILE).is_file():
        concepts = read_concepts(path / "concepts.jsonl")
        return {"state": "unfinished", "concepts": len(concepts), "shards done": len(shard_paths(path))}
    manifest = load_manifest(path)
    part = manifest.subset
    return {
        "state": f"a part of {part['repo']}, {part['shards']} shards" if part else "finished",
        "name": manifest.name,
        "format version": manifest.format_version,
        "counts": manifest.counts,
        "shards": len(manifest.shards),
        "bytes": manifest.shard_bytes,
        "gan": manifest.gan,
        "teacher": manifest.teacher,
        "layout": manifest.layout_id,
        "base sha256": manifest.base_sha256,
        "licence": manifest.licence,
    }


def _zoo_problems(path: Path) -> list[str]:
    if (path / MANIFEST_FILE).is_file():
        return verify_run(path)
    return [problem for shard in shard_paths(path) for problem in verify_shard(shard)]


def _shard_facts(path: Path) -> Facts:
    records, metadata, layout = read_shard(path)
    listed = list(records)
    mean = {
        name: sum(record.metrics[name] for record in listed) / len(listed)
        for name in (listed[0].metrics if listed else {})
    }
    return {
        "records": len(listed),
        **{key.removeprefix(PREFIX): value for key, value in metadata.items() if len(value) < 100},
        "blocks": f"{layout.num_blocks} x {layout.block_size}",
        "concepts": [record.concept_id for record in listed],
        "mean metrics": mean,
    }


def _adapter_facts(path: Path) -> Facts:
    content = read_peft(path)
    metadata = content.metadata
    trained = [*content.up.values(), *content.direct.values()]
    if not metadata:  # PEFT alone trains A as well; here it is frozen and belongs to the base
        trained += content.down.values()
    known = ("prompt", "gan", "layout_id", "base_sha256", "stage", "format_version")
    return {
        "parameters": sum(tensor.numel() for tensor in trained),
        "tensors": len(trained),
        **{key: metadata[key] for key in known if metadata.get(key) not in (None, "")},
    }


def _adapter_problems(path: Path) -> list[str]:
    def check() -> None:
        _, metadata = load_peft(path)
        load_peft(path, load_base(find_base(metadata, path)))

    return problems_of(check)


def _generator_facts(path: Path) -> Facts:
    network = load_generator(path)
    return {
        "architecture": type(network).__name__,
        "parameters": sum(p.numel() for p in network.parameters()),
        "config": to_dict(network.config),
    }


# in the order in which they are tried; the names are those of the errors and of the JSON
KINDS = (
    Kind("adapter", lambda p: (p / "adapter_config.json").is_file(), _adapter_facts, _adapter_problems),
    Kind("zoo", _is_zoo, _zoo_facts, _zoo_problems),
    Kind("shard", lambda p: p.suffix in (".parquet", ".tar"), _shard_facts, verify_shard),
    Kind(
        "generator",
        lambda p: p.suffix == ".safetensors" or (p / "generator.safetensors").is_file(),
        _generator_facts,
        opens(_generator_facts),
    ),
)
