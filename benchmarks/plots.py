"""Pictures of the results: benchmarks/results/NAME.json -> docs/benchmarks/NAME.png.

python -m benchmarks.plots
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

from benchmarks.harness.machine import RESULTS
from zoo.files import read_json

matplotlib.use("agg")
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402

OUT = Path(__file__).parent.parent / "docs" / "benchmarks"
Rows = list[dict[str, Any]]
COLOURS = {"adapter": "#c2353b", "full": "#3b76c4"}


def errors(rows: Rows, key: str) -> list[list[float]]:
    """Return the distances from the medians to the least and the largest, as matplotlib wants them."""
    spreads = [row[key] for row in rows]
    below = [spread["median"] - spread["min"] for spread in spreads]
    return [below, [spread["max"] - spread["median"] for spread in spreads]]


def bars(
    axes: Axes, names: list[str], rows: Rows, key: str, unit: str, colour: str = "#3b76c4", beside: str = ""
) -> None:
    """Draw horizontal bars, the first row on top, with each median to the right of all that `beside` marks."""
    medians = [row[key]["median"] for row in rows]
    axes.barh(names, medians, xerr=errors(rows, key), color=colour, height=0.6, error_kw={"lw": 1})
    for place, row in enumerate(rows):
        median, marked = row[key]["median"], row.get(beside) or row[key]
        axes.annotate(
            f"{median:,.0f}" if median >= 100 else f"{median:.3g}",
            (max(row[key]["max"], marked["max"]), place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
        )
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_xlabel(unit)


def fleets(rows: Rows, figure: Any) -> None:
    """Draw concepts per minute over K, and by how the machine is divided, for the first precision that was measured."""
    precision = rows[0]["precision"]
    rows = [row for row in rows if row["precision"] == precision]
    by_size, by_layout = figure.subplots(1, 2, width_ratios=[1, 1])
    for mode, colour in COLOURS.items():
        own = [row for row in rows if row["mode"] == mode and "k" in row]
        grown = [row for row in own if row["k"] != "naive"]
        if not grown:
            continue
        rate = [row["concepts_per_minute"]["median"] for row in grown]
        by_size.errorbar(
            [int(row["k"]) for row in grown], rate, errors(grown, "concepts_per_minute"),
            marker="o", color=colour, label=f"{mode}: fleet of K", capsize=2,
        )  # fmt: skip
        naive = next(row["concepts_per_minute"]["median"] for row in own if row["k"] == "naive")
        by_size.axhline(naive, color=colour, linestyle="--", label=f"{mode}: one at a time")
    by_size.set_xscale("log", base=2)
    by_size.set_xlabel(f"K, one process, one thread, {precision}")
    by_size.set_ylabel("concepts per minute")
    by_size.set_ylim(bottom=0)
    by_size.legend()
    layouts = [row for row in rows if "layout" in row and row["mode"] == "adapter"]
    names = [row["layout"].replace(", ", ",\n") for row in layouts]
    bars(
        by_layout, names, layouts, "concepts_per_minute", "concepts per minute, whole machine", COLOURS["adapter"]
    )


def usable(rows: Rows, figure: Any) -> None:
    """Draw the seconds from the command to the quality of training from scratch."""
    axes, rows = figure.subplots(), [row for row in rows if row["concept"] != "median"]
    names = [row["concept"].replace("--", " + ") for row in rows]
    for offset, key, label, colour in (
        (-0.25, "scratch_seconds_to_1", "from scratch", "#8a94a3"),
        (0.0, "polished_seconds_to_1", "generated start, same test L1", "#c2353b"),
        (0.25, "polished_seconds_to_1.1", "generated start, within 10 %", "#e39a9d"),
    ):
        places = [place + offset for place in range(len(rows))]
        values = [row[key] for row in rows]
        axes.barh(places, [value or 0 for value in values], height=0.24, color=colour, label=label)
        for place, value in zip(places, values, strict=True):
            text = "not reached" if value is None else f"{value:.0f} s"
            axes.annotate(text, (value or 0, place), xytext=(4, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(rows)), names)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("seconds since the command, start-up and loading included")
    figure.legend(loc="outside lower center", ncols=3)


def generation(rows: Rows, figure: Any) -> None:
    """Draw the seconds of the weights and of the text, by denoiser and number of prompts."""
    axes = figure.subplots()
    names = [f"{row['denoiser']}, {row['prompts']} prompt{'s' * (row['prompts'] > 1)}" for row in rows]
    unit = "seconds of the denoiser; + is reading the text"
    bars(axes, names, rows, "weights_seconds", unit, beside="text_seconds")
    read = [(row["text_seconds"], name) for row, name in zip(rows, names, strict=True) if row["text_seconds"]]
    axes.plot([seconds["median"] for seconds, _ in read], [name for _, name in read], "k+")
    axes.set_xscale("log")


def loading(rows: Rows, figure: Any) -> None:
    """Draw the megabytes per second of every reader, warm, by the size of a record."""
    local = [row for row in rows if row.get("from") == "warm"]
    sizes = sorted({row["record_kilobytes"] for row in local})
    for axes, size in zip(figure.subplots(1, len(sizes), squeeze=False)[0], sizes, strict=True):
        own = [row for row in local if row["record_kilobytes"] == size]
        bars(axes, [row["reader"] for row in own], own, "megabytes_per_second", "megabytes per second, warm")
        axes.set_xscale("log")
        axes.set_title(f"records of {size:.0f} kB", fontsize="small")


def scale(rows: Rows, figure: Any) -> None:
    """Draw the efficiency over the number of workers, by executor."""
    axes = figure.subplots()
    for executor in dict.fromkeys(row["executor"] for row in rows):
        own = [row for row in rows if row["executor"] == executor]
        axes.plot([row["workers"] for row in own], [row["efficiency"] for row in own], "o-", label=executor)
    axes.axhline(0.95, color="#8a94a3", linestyle="--", label="goal")
    axes.set_xscale("log", base=2)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel(f"workers, fleets of {rows[0]['fleet_seconds']:g} s")
    axes.set_ylabel("share of the ideal time")
    axes.legend(loc="lower left")


def start_up(rows: Rows, figure: Any) -> None:
    """Draw the seconds of every command."""
    bars(figure.subplots(), [row["command"] for row in rows], rows, "seconds", "seconds")


PLOTS: dict[str, tuple[Callable[[Rows, Any], None], tuple[float, float]]] = {
    "fleets": (fleets, (11, 4)),
    "usable": (usable, (8, 4.5)),
    "generation": (generation, (8, 4)),
    "loading": (loading, (11, 3.5)),
    "scale": (scale, (6, 3.5)),
    "start_up": (start_up, (8, 2.5)),
}


def main() -> None:
    """Draw every result that there is."""
    OUT.mkdir(parents=True, exist_ok=True)
    for name, (draw, size) in PLOTS.items():
        path = RESULTS / f"{name}.json"
        if not path.exists():
            print(f"{name}: not measured yet; run python -m benchmarks.{name}")
            continue
        result = read_json(path)
        machine = result["machine"]
        figure = plt.figure(figsize=size, layout="constrained")
        draw(result["rows"], figure)
        figure.suptitle(
            f"{name}: {machine['cores']} cores, {machine['processor']}, "
            f"torch {machine['torch']}",
            fontsize="small",
        )
        figure.savefig(OUT / f"{name}.png", dpi=110, pil_kwargs={"optimize": True})
        plt.close(figure)
        print(OUT / f"{name}.png")


if __name__ == "__main__":
    main()
