"""Pieces of the report's HTML: figures, tables, pictures as data URIs. No script, no other file.

table(["start", "L1"], [["polished", 0.07]], mark="polished")
pictures([picture(image, "polished, 0 steps")])
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from PIL import Image

TEMPLATE = Path(__file__).parent / "report.html"
PICTURE_SIZE, PICTURE_QUALITY = 400, 82


def page(title: str, body: str) -> str:
    """The whole document."""
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(title=escape(title), body=body)


def number(value: Any, digits: int = 3) -> str:
    """A figure for people: three significant digits, a dash for what is absent."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.{digits}g}"
    return str(value)


def spread(row: dict[str, Any], key: str) -> str:
    """`value [low, high]` of a row that has `key` and `key_interval`."""
    low, high = row.get(f"{key}_interval") or (None, None)
    if low is None or high is None:
        return number(row[key])
    return f"{number(row[key])} <span class=soft>[{number(low)}, {number(high)}]</span>"


def table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "", mark: str | None = None
) -> str:
    """An HTML table; strings are taken as HTML, the row whose first cell is `mark` stands out."""
    rows = [list(row) for row in rows]
    wordy = {i for row in rows for i, value in enumerate(row) if _is_text(value)}
    lines = ['<div class="table"><table>']
    if caption:
        lines.append(f"<caption>{caption}</caption>")
    lines.append("<tr>" + "".join(_cell("th", name, i in wordy) for i, name in enumerate(columns)) + "</tr>")
    for row in rows:
        kind = ' class="ours"' if row[0] == mark else ""
        cells = (_cell("td", value, i in wordy) for i, value in enumerate(row))
        lines.append(f"<tr{kind}>{''.join(cells)}</tr>")
    return "\n".join([*lines, "</table></div>"])


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) > 40 and "<span" not in value


def _cell(tag: str, value: Any, words: bool) -> str:
    kind = ' class="words"' if words else ""
    return f"<{tag}{kind}>{value if isinstance(value, str) else number(value)}</{tag}>"


def picture(image: Image.Image, caption: str) -> str:
    """A figure with the image inside the document, at most `PICTURE_SIZE` pixels wide."""
    image = image.convert("RGB")
    image.thumbnail((PICTURE_SIZE, PICTURE_SIZE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=PICTURE_QUALITY, optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    size = f'width="{image.width}" height="{image.height}"'
    return (
        f'<figure><img src="data:image/jpeg;base64,{data}" {size} alt="{escape(caption)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def pictures(figures: Iterable[str]) -> str:
    return f'<div class="pictures">{"".join(figures)}</div>'
