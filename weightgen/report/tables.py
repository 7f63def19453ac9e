"""The rows of the report's tables, from the content of evaluation.json.

    tables(results)      # {"zero": [(split, rows)], "speed": [(over, rows)], ...}: what report.html shows

Rows stay those of evaluation.json; what a table shows beside them ("≥ 12", "1 of 2") is added under a key of its own.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

from weightgen.evaluation.zero_step import method_name
from zoo.pictures.metrics import FIGURES
from zoo.words import plural

Row = dict[str, Any]
Tables = list[tuple[str, list[Row]]]  # (caption, rows)


def tables(results: Row) -> dict[str, Any]:
    """Return the rows of all tables by the name of their section."""
    speed = [with_words(row) for row in results["speedup"]]
    is_main = [(row["quality_at"], row["l1_factor"]) == (100, 1.0) for row in speed]
    return {
        "zero": zero_tables([with_figures(row) for row in results["zero_step"]]),
        "apart": [with_figures(row) for row in results["near_duplicates"] if row["prompts"] == 1],
        "speed": speed_tables([row for row, main in zip(speed, is_main, strict=True) if main]),
        "other_speed": [row for row, main in zip(speed, is_main, strict=True) if not main],
        "final": final_tables([with_figures(row) for row in results["final"]]),
        "budgets": budget_tables(results.get("budgets", [])),
        "seconds": [{"init": init, **parts} for init, parts in results["timing"]["init_seconds"].items()],
    }


def with_figures(row: Row) -> Row:
    """Return a row with its method's name, and nothing for the figures that its version did not measure."""
    # the pairs of a fine-tuning stand above its table
    pairs = 0 if "steps" in row else row.get("pairs", 0)
    return {**dict.fromkeys((*FIGURES, "kid")), **row, "start": method_name(row["init"], pairs)}


def number(value: Any, digits: int = 3) -> str:
    """Return a figure for people: three significant digits, a dash for what is absent."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.{digits}g}"
    return str(value)


def by_l1(row: Row) -> float:
    """Return what rows are sorted by; those that diverged come last."""
    return math.inf if row["l1"] is None else row["l1"]


def grouped(rows: list[Row], *keys: str) -> dict[tuple[Any, ...], list[Row]]:
    """Return the rows by the values of some keys."""
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple(row[key] for key in keys)].append(row)
    return groups


def zero_tables(rows: list[Row]) -> Tables:
    """Return the methods of every split by their L1 with one prompt, that with four beside it."""
    found = []
    for (split,), members in grouped(rows, "split").items():
        four = {row["start"]: row["l1"] for row in members if row["prompts"] == 4}
        one = sorted((row for row in members if row["prompts"] == 1), key=by_l1)
        found.append((split, [row | {"four": four.get(row["start"])} for row in one]))
    return found


def speed_tables(rows: list[Row]) -> Tables:
    """Return the ratios at scratch's final quality, one table for each rival."""
    rows = sorted(rows, key=lambda row: (row["split"], row["pairs"], row["mode"], -(row["median"] or 0)))
    found = {over: members for (over,), members in grouped(rows, "over").items()}
    return [(f"over {over}", found[over]) for over in ("scratch", "base", "pix2pix_unet") if over in found]


def with_words(row: Row) -> Row:
    """Return a row of "speedup" with its ratio, its spread and its count of concepts in words."""
    return row | {
        "times": f"{bound(row)}{number(row['median'])}",
        "spread": f"{number(row['iqr'][0])} – {number(row['iqr'][1])}",
        "who": f"{row['reached_count']} of {row['n']}",
    }


def bound(row: Row) -> str:
    """Return what stands before a ratio some of whose members are bounds only."""
    lower, upper = row["lower_bounds"] > 0, row["upper_bounds"] > 0
    return {(True, False): "≥ ", (False, True): "≤ ", (True, True): "about "}.get((lower, upper), "")


def final_tables(rows: list[Row]) -> Tables:
    """Return the starts by their L1 at the end of fine-tuning, one table for each kind of fine-tuning."""
    return [
        (f"{split}, {plural(pairs, 'pair')}, {mode} mode", sorted(members, key=by_l1))
        for (split, mode, pairs), members in grouped(rows, "split", "mode", "pairs").items()
    ]


def budget_tables(rows: list[Row]) -> list[tuple[str, list[tuple[str, str]], list[Row]]]:
    """Return (caption, columns, rows) with a column for each length of training, the worst start first."""
    rows = sorted(rows, key=lambda row: row["steps"])
    found = []
    for (mode, pairs, split, n), members in grouped(rows, "mode", "pairs", "split", "n").items():
        titles = dict.fromkeys(plural(row["steps"], "step") for row in members)
        starts = sorted(grouped(members, "init").items(), key=lambda item: by_l1(item[1][0]), reverse=True)
        cells = [
            {"init": init, **dict.fromkeys(titles, "")}
            | {plural(row["steps"], "step"): f"{number(row['l1'])} in {number(row['seconds'])} s" for row in own}
            for (init,), own in starts
        ]
        columns = [("start", "init"), *((title, title) for title in titles)]
        found.append((f"{mode} mode, {plural(pairs, 'pair')}, {plural(n, 'concept')} of {split}", columns, cells))
    return found
