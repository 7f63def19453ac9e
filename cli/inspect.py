"""`weightzoo inspect`: say what a file or folder is, and check it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.console.exits import FAILED
from cli.console.output import JsonOption, cell, emit, quiet_progress

Facts = dict[str, Any]


def inspect(
    path: Annotated[
        Path,
        typer.Argument(help="Zoo (a folder or its name), shard, weight generator, adapter or GAN generator."),
    ],
    verify: Annotated[
        bool, typer.Option("--verify", help="Check hashes, layout, and that all values are finite.")
    ] = False,
    rebuild: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Train this shard of the train split again on this machine, and compare it with the stored one.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Show what a file or folder holds; --verify checks it.

    Each damage found is one line of the output, and the exit code is then 1.

    \b
    Examples:
      weightzoo inspect zoo-small --verify
      weightzoo inspect zoo-small/weights/train-00000-of-00080.parquet
      weightzoo inspect charcoal --json
      weightzoo inspect weightzoo-small --verify --rebuild 0
    """
    quiet_progress(json)
    if not path.exists() and path.name == str(path):
        path = named_zoo(path)
    kind = kind_of(path)
    problems = kind.problems(path) if verify else []
    # a damaged thing may not open at all: then the problems are all that can be said
    facts = {} if problems else kind.facts(path)
    result = {"path": str(path), "kind": kind.name, **facts}
    if rebuild is not None and not problems:
        compared = rebuilt(path, rebuild)
        problems, facts = compared.pop("problems"), {**facts, "rebuilt": compared}
        result["rebuilt"] = compared
    checked = verify or rebuild is not None
    if checked:
        result["problems"] = problems
    lines = [f"{path}: {kind.name}", *(f"  {key}: {_text(value)}" for key, value in facts.items())]
    if checked:
        lines += [f"  problem: {problem}" for problem in problems] or ["  verified: no problem found"]
    emit(result, json, lines)
    if problems:
        raise typer.Exit(FAILED)


def named_zoo(name: Path) -> Path:
    """Return the folder of an embedded zoo, or `name` itself when there is none of that name."""
    from zoo.hub import EMBEDDED, find_zoo

    return find_zoo(name) if str(name) in EMBEDDED else name


def rebuilt(path: Path, shard: int) -> Facts:
    """Train one shard of a zoo again and say how far it is from the stored one."""
    from pipeline.upkeep.rebuild import rebuild_fleet

    comparison = rebuild_fleet(path, shard)
    ratios, cosines = comparison.l1_ratio.values(), comparison.cosine.values()
    return {
        "shard": comparison.shard,
        "same bytes": comparison.same_bytes,
        "L1 ratio, least": min(ratios, default=None),
        "L1 ratio, largest": max(ratios, default=None),
        "cosine, least": min(cosines, default=None),
        "problems": comparison.problems(),
    }


@dataclass(frozen=True)
class Kind:
    """Something that weightzoo leaves on disk: how to recognise it, what to say, how to check it."""

    name: str
    matches: Callable[[Path], bool]
    facts: Callable[[Path], Facts]
    problems: Callable[[Path], list[str]]


def kind_of(path: Path) -> Kind:
    """Return what lies at `path`.

    Raises:
        WeightzooError: nothing there, or nothing of ours.
    """
    from zoo.errors import WeightzooError

    if not path.exists():
        raise WeightzooError(f"{path} does not exist; check the path")
    for kind in KINDS:
        if kind.matches(path):
            return kind
    names = ", ".join(kind.name for kind in KINDS)
    raise WeightzooError(f"{path} is not something that weightzoo writes ({names}); check the path")


def _is_zoo(path: Path) -> bool:
    return (path / "manifest.json").is_file() or (path / "concepts.jsonl").is_file()


def _zoo_facts(path: Path) -> Facts:
    from zoo.concepts import read_concepts
    from zoo.manifest import load_manifest, shard_paths

    if not (path / "manifest.json").is_file():
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
        "bytes": sum(shard.bytes for shard in manifest.shards),
        "gan": manifest.gan,
        "teacher": manifest.teacher,
        "layout": manifest.layout_id,
        "base sha256": manifest.base_sha256,
        "licence": manifest.licence,
    }


def _zoo_problems(path: Path) -> list[str]:
    from zoo.manifest import shard_paths, verify_run, verify_shard

    if (path / "manifest.json").is_file():
        return verify_run(path)
    return [problem for shard in shard_paths(path) for problem in verify_shard(shard)]


def _shard_facts(path: Path) -> Facts:
    from zoo.records import PREFIX
    from zoo.shards import read_shard

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


def _shard_problems(path: Path) -> list[str]:
    from zoo.manifest import verify_shard

    return verify_shard(path)


def _model_facts(path: Path) -> Facts:
    from weightgen.model_folder import load_model_folder

    model = load_model_folder(path)
    return {
        "denoiser": model.denoiser_name,
        "parameters": sum(p.numel() for p in model.denoiser.parameters()),
        "target": model.target,
        "text encoder": model.text_encoder_name,
        "blocks": f"{model.layout.num_blocks} x {model.layout.block_size}",
        "layout": model.layout.id,
        "base sha256": model.base_sha256,
        "training": {
            key: value for key, value in model.metadata.items() if not isinstance(value, (dict, list))
        },
    }


def _adapter_facts(path: Path) -> Facts:
    from zoo.adapters.peft_format import read_peft

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
        from zoo.adapters.lora import load_base
        from zoo.adapters.peft_format import find_base, load_peft

        _, metadata = load_peft(path)
        load_peft(path, load_base(find_base(metadata, path)))

    return _problems(check)


def _generator_facts(path: Path) -> Facts:
    from zoo.adapters.lora import load_generator
    from zoo.config import to_dict

    network = load_generator(path)
    return {
        "architecture": type(network).__name__,
        "parameters": sum(p.numel() for p in network.parameters()),
        "config": to_dict(network.config),
    }


def _opens(facts: Callable[[Path], Facts]) -> Callable[[Path], list[str]]:
    """Return where opening something checks everything: its error is the problem."""
    return lambda path: _problems(lambda: facts(path))


def _problems(check: Callable[[], Any]) -> list[str]:
    from zoo.errors import WeightzooError

    try:
        check()
    except WeightzooError as error:
        return [str(error)]
    return []


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {cell(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else cell(value)


# in the order in which they are tried; the names are those of the errors and of the JSON
KINDS = (
    Kind(
        "weight generator", lambda p: (p / "model_index.json").is_file(), _model_facts, _opens(_model_facts)
    ),
    Kind("adapter", lambda p: (p / "adapter_config.json").is_file(), _adapter_facts, _adapter_problems),
    Kind("zoo", _is_zoo, _zoo_facts, _zoo_problems),
    Kind("shard", lambda p: p.suffix in (".parquet", ".tar"), _shard_facts, _shard_problems),
    Kind(
        "generator",
        lambda p: p.suffix == ".safetensors" or (p / "generator.safetensors").is_file(),
        _generator_facts,
        _opens(_generator_facts),
    ),
)
