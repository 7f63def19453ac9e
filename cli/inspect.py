"""`weightzoo inspect`: say what a file or folder is, and check it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.console.exits import FAILED
from cli.console.output import JsonOption, cell, emit, quiet_progress


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
            min=0, help="Train this shard of the train split again on this machine, and compare it with the stored one."
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
    from weightgen.model_folder import KIND
    from zoo.inspection import KINDS, kind_of

    kind = kind_of(path, (KIND, *KINDS))
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


def rebuilt(path: Path, shard: int) -> dict[str, Any]:
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


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {cell(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else cell(value)
