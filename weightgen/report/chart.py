"""Line charts as inline SVG, sharp on a phone and on paper.

chart({"polished": ([0, 10], [0.1, 0.05])}, "training steps", "test L1")
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

COLOURS = {
    "scratch": "#8a94a3",
    "pix2pix_unet": "#c4a484",
    "base": "#d08a1d",
    "mean": "#b9a44c",
    "nearest": "#7a5fb0",
    "knn": "#b184c9",
    "ridge": "#4aa3a2",
    "kernel_ridge": "#2c7d6b",
    "generated": "#3b76c4",
    "polished": "#c2353b",
    "own": "#222222",
}
OTHER_COLOUR, GRID_COLOUR, TEXT_COLOUR = "#9aa7b5", "#eef1f5", "#5b6675"
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "weightzoo",  # the same chart has the same bytes
    "axes.edgecolor": GRID_COLOUR,
    "axes.labelcolor": TEXT_COLOUR,
    "xtick.color": TEXT_COLOUR,
    "ytick.color": TEXT_COLOUR,
    "grid.color": GRID_COLOUR,
}

Curves = Mapping[str, tuple[Sequence[float], Sequence[float | None]]]  # name -> (x, y); a None in y is left out


def chart(curves: Curves, x_label: str, y_label: str, level: tuple[str, float] | None = None) -> str:
    """Return a chart with `x` on a root scale and `y` logarithmic, its names in the order of the lines' ends.

    Args:
        level: (name, y) of a dashed horizontal line.

    Returns:
        An SVG element; "" where no curve has a value.
    """
    points = {name: [(x, y) for x, y in zip(*curve, strict=True) if y is not None] for name, curve in curves.items()}
    drawn = {name: list(zip(*pairs, strict=True)) for name, pairs in points.items() if pairs}
    if not drawn:
        return ""
    with rc_context(STYLE):
        figure = Figure(figsize=(7.6, 4), layout="constrained")
        axes = figure.subplots()
        for name, (x, y) in sorted(drawn.items(), key=lambda item: item[1][1][-1], reverse=True):
            width = 3 if name == "polished" else 2
            axes.plot(x, y, label=name, color=COLOURS.get(name, OTHER_COLOUR), linewidth=width)
        if level:
            axes.axhline(level[1], color=COLOURS["scratch"], linestyle="--", linewidth=1, label=level[0])
        set_scales(axes, x_label, y_label)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, labelcolor="linecolor")
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    svg = buffer.getvalue()
    label = escape(f"{y_label} over {x_label}")
    return svg[svg.index("<svg") :].replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def set_scales(axes: Axes, x_label: str, y_label: str) -> None:
    """Spread the beginning of `x` and the low end of `y`, with a few round ticks each."""
    axes.set_xscale("function", functions=(lambda x: np.sqrt(np.maximum(x, 0)), np.square))
    axes.set_yscale("log")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)))
    for axis, label in ((axes.xaxis, x_label), (axes.yaxis, y_label)):
        axis.set_major_formatter(StrMethodFormatter("{x:.3g}"))
        axis.set_minor_formatter(NullFormatter())
        axis.set_label_text(label)
    axes.tick_params(which="both", length=0)
    axes.grid()
    axes.spines[["top", "right"]].set_visible(False)
