"""Line charts as inline SVG, sharp on a phone and on paper.

chart([Line("polished", [0, 10], [0.1, 0.05])], "seconds", "test L1")
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from weightgen.report.html import number

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
OTHER_COLOUR, GRID_COLOUR = "#9aa7b5", "#eef1f5"
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 400, 62, 120, 18, 46
ROUND = (1, 1.5, 2, 3, 5, 7)
FINE = (1, 1.2, 1.4, 1.6, 1.8, 2, 2.3, 2.6, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9)


@dataclass(frozen=True)
class Line:
    """One curve; a None in `y` is left out."""

    name: str
    x: Sequence[float]
    y: Sequence[float | None]


@dataclass(frozen=True)
class Axis:
    """A scale from values to pixels: `root` spreads the beginning, `log` the low end."""

    low: float
    high: float
    start: float
    end: float
    kind: str

    def __call__(self, value: float) -> float:
        low, here, high = (self._forward(v) for v in (self.low, value, self.high))
        return self.start + (here - low) / max(high - low, 1e-9) * (self.end - self.start)

    def _forward(self, value: float) -> float:
        return math.sqrt(max(value, 0.0)) if self.kind == "root" else math.log(max(value, 1e-9))


def ticks(axis: Axis, count: int = 8, steps: Sequence[float] = ROUND) -> list[float]:
    """Round values inside an axis, far enough apart to be read; finer ones where there would be fewer than 3."""
    rounds = [step * 10.0**decade for decade in range(-5, 6) for step in steps]
    rounds = [0.0] * (axis.low == 0) + [value for value in rounds if value >= axis.high / 200]
    kept: list[float] = []
    for value in rounds:
        near = bool(kept) and abs(axis(value) - axis(kept[-1])) < abs(axis.end - axis.start) / count
        if axis.low <= value <= axis.high * 1.0001 and not near:
            kept.append(value)
    return kept if len(kept) >= 3 or steps is FINE else ticks(axis, count, FINE)


def chart(lines: Sequence[Line], x_label: str, y_label: str, level: tuple[str, float] | None = None) -> str:
    """A chart with `x` from 0 on a root scale, `y` logarithmic and names at the lines' ends.

    Args:
        level: (name, y) of a dashed horizontal line.
    """
    drawn = {
        line.name: [(x, y) for x, y in zip(line.x, line.y, strict=True) if y is not None] for line in lines
    }
    drawn = {name: points for name, points in drawn.items() if points}
    if not drawn:
        return ""
    values = [y for points in drawn.values() for _, y in points] + ([level[1]] if level else [])
    farthest = max(max(x for points in drawn.values() for x, _ in points), 1e-6)
    across = Axis(0.0, farthest, LEFT, WIDTH - RIGHT, "root")
    up = Axis(min(values) * 0.93, max(values) * 1.07, HEIGHT - BOTTOM, TOP, "log")
    label = escape(f"{y_label} over {x_label}")
    return "".join(
        [
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">',
            '<g font-family="system-ui, sans-serif" font-size="12" fill="#5b6675" stroke-linejoin="round">',
            *_scales(across, up),
            *(_level(level, up) if level else []),
            *_curves(drawn, across, up),
            _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x_label, "middle"),
            f'<g transform="translate(15 {HEIGHT // 2}) rotate(-90)">{_text(0, 0, y_label, "middle")}</g>',
            "</g></svg>",
        ]
    )


def _text(x: float, y: float, text: str, anchor: str = "start", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(text)}</text>'


def _scales(across: Axis, up: Axis) -> Iterator[str]:
    for value in ticks(across):
        x = across(value)
        yield f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="{GRID_COLOUR}"/>'
        yield _text(x, HEIGHT - BOTTOM + 17, number(value), "middle")
    for value in ticks(up):
        y = up(value)
        yield f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{GRID_COLOUR}"/>'
        yield _text(LEFT - 8, y + 4, number(value), "end")


def _level(level: tuple[str, float], up: Axis) -> Iterator[str]:
    y = up(level[1])
    yield f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#8a94a3" stroke-dasharray="5 4"/>'
    yield _text(LEFT + 5, y - 5, level[0])


def _curves(drawn: dict[str, list[tuple[float, float]]], across: Axis, up: Axis) -> Iterator[str]:
    for name, points in drawn.items():
        path = "M" + "L".join(f"{across(x):.1f} {up(y):.1f}" for x, y in points)
        width = 3 if name == "polished" else 2
        colour = COLOURS.get(name, OTHER_COLOUR)
        yield f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>'
    for name, y in spread_labels({name: up(points[-1][1]) for name, points in drawn.items()}):
        colour = COLOURS.get(name, OTHER_COLOUR)
        x = across(drawn[name][-1][0]) + 7
        yield _text(x, y + 4, name, more=f' fill="{colour}" font-weight="600"')


def spread_labels(wanted: dict[str, float], gap: float = 14.0) -> list[tuple[str, float]]:
    """Names with heights, pushed apart so that none covers another, inside the chart."""
    placed: list[tuple[str, float]] = []
    for name, y in sorted(wanted.items(), key=lambda item: item[1]):
        placed.append((name, max(y, placed[-1][1] + gap) if placed else y))
    too_low = max(0.0, placed[-1][1] - (HEIGHT - BOTTOM)) if placed else 0.0
    return [(name, y - too_low) for name, y in placed]
