"""The tables that `evaluate` and `demo` print: quality at zero steps, and time to quality."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import typer

from cli.console.output import table

Row = dict[str, Any]


def show(results: Row, report: Path) -> None:
    """Print the tables of an `evaluation.json` and where the report lies."""
    from zoo.words import plural

    zero = [row for row in results["zero_step"] if row["prompts"] == 1]
    network = results.get("feature_network", "feature network")
    for split in unique(row["split"] for row in zero):
        zero_step_table(split, network, [row for row in zero if row["split"] == split])
    headline = [row for row in results["speedup"] if (row["quality_at"], row["l1_factor"]) == (100, 1.0)]
    for group in unique((row["split"], row["pairs"], row["mode"]) for row in headline):
        rows = [row for row in headline if (row["split"], row["pairs"], row["mode"]) == group]
        speedup_table(rows)
    for row in results.get("cut", []):
        typer.echo(
            f"only {row['concepts']} of {plural(row['planned'], 'concept')} of {row['split']} with "
            f"{plural(row['pairs'], 'pair')}: the time was up"
        )
    typer.echo(f"\nreport: {report}")


def zero_step_table(split: str, network: str, rows: list[Row]) -> None:
    """Print one line for each start with all figures of its pictures; a figure that is absent is a dash."""
    from weightgen.evaluation.zero_step import method_name
    from zoo.words import plural

    columns = {
        "L1": "l1", "PSNR": "psnr", "SSIM": "ssim", "KID": "kid", "fine energy": "fine_energy",
        "fine correlation": "fine_correlation",
    }  # fmt: skip
    count = max(row["n"] for row in rows)

    def line(row: Row) -> list[Any]:
        figures = [fixed(row.get(key)) for key in columns.values()]
        return [method_name(row["init"], row.get("pairs", 0)), *figures, row["n"]]

    table(
        f"{split}, {plural(count, 'concept')}: 0 steps, one prompt that was never seen in training, or example pairs "
        f"(KID on {network})",
        ["start", *columns, "n"],
        map(line, rows),
    )


def speedup_table(rows: list[Row]) -> None:
    """Return one line for each start: how much sooner it is where scratch ends, and where it ends itself."""
    from zoo.words import plural

    first = rows[0]
    by_key = {(row["init"], row["over"]): row for row in rows}

    def line(init: str) -> list[Any]:
        over = {rival: by_key.get((init, rival)) for rival in ("scratch", "base")}
        any_row = over["scratch"] or over["base"] or {}
        times = [None if row is None else times_sooner(row["median"]) for row in over.values()]
        reached = f"{any_row['reached_count']} of {any_row['n']}"
        return [init, *times, reached, fixed(any_row["final_l1_ratio"])]

    table(
        f"How much sooner fine-tuning is as good as training from scratch in the end: {first['split']}, "
        f"{plural(first['pairs'], 'pair')}, mode {first['mode']}",
        ["start", "than scratch", "than base", "reached by", "final L1 / scratch's"],
        [line(init) for init in unique(row["init"] for row in rows)],
    )


def times_sooner(median: float | None) -> str:
    """Return a median ratio; 0 stands for starts that never get there."""
    return f"{median:.1f}x" if median else "not reached"


def fixed(value: float | None) -> str | None:
    """Return a figure with three decimals, so that a column lines up."""
    return None if value is None else f"{value:.3f}"


def unique(values: Iterable[Any]) -> list[Any]:
    """Return the different values in the order of their first appearance."""
    return list(dict.fromkeys(values))
