"""How much an edited film flickers, with and without what `zoo.editing.carried` carries from frame to frame.

    python -m benchmarks.films.flicker warm mine [--films film.mp4] [--side 128] [--frames 24] [--step 2]

Flicker is the mean absolute change of the edit between two frames, in levels of 255, over the pixels whose source does
not change by more than `STILL` levels; `light` is the change of the mean colour of these pixels, which is what an eye
sees first. Without `--films` the clips are pans over the embedded test photographs, `--step` pixels a frame: there the
frames are compared at the same places of the photograph, so the source does not change at all, and an edit should not.
Films are reduced to a short side of `--side`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from torch import nn

from benchmarks.harness.machine import arguments_of, write_result
from pipeline.sources import load_photos
from zoo.editing.carried import KEEP, Carried
from zoo.pictures.apply import edit_photo, load_network

STILL = 2  # levels
FEWEST = 100  # pixels: of fewer still ones two frames say nothing


class Flicker(NamedTuple):
    """Levels of 255 a frame: over single pixels, and of their mean colour."""

    pixels: float
    light: float


def flicker(sources: Sequence[np.ndarray], edits: Sequence[np.ndarray], step: int = 0) -> Flicker:
    """Return the flicker of edited frames, uint8 [H, W, 3].

    Args:
        step: columns by which what is seen moves to the left between two frames.
    """
    changes, lights = [], []
    for (source, edit), (next_source, next_edit) in pairwise(zip(sources, edits, strict=True)):
        width = source.shape[1] - step
        moved = next_source[:, :width].astype(int) - source[:, step:]
        change = (next_edit[:, :width].astype(int) - edit[:, step:])[np.abs(moved).max(2) <= STILL]
        if len(change) >= FEWEST:
            changes.append(float(np.abs(change).mean()))
            lights.append(float(np.abs(change.mean(0)).mean()))
    return Flicker(float(np.mean(changes)), float(np.mean(lights)))


def pan(photo: Image.Image, side: int, frames: int, step: int) -> list[np.ndarray]:
    """Return frames with `side` rows that move over a photograph."""
    wide = np.asarray(photo.resize((round(photo.width * side / photo.height), side), Image.Resampling.LANCZOS))
    width = wide.shape[1] - step * (frames - 1)
    return [np.ascontiguousarray(wide[:, i * step : i * step + width]) for i in range(frames)]


def read_frames(film: Path, side: int, frames: int) -> list[np.ndarray]:
    """Return the first frames of a film with `side` rows."""
    import av

    with av.open(film) as source:
        images = [frame.to_image() for frame in islice(source.decode(video=0), frames)]
    size = (round(images[0].width * side / images[0].height), side)
    return [np.asarray(image.resize(size, Image.Resampling.LANCZOS)) for image in images]


def edit_frames(network: nn.Module, frames: Sequence[np.ndarray], keep: float) -> list[np.ndarray]:
    """Return frames as a film's are edited."""
    carried, edits = Carried(keep), []
    for pixels in frames:
        carried.begin(pixels)
        edits.append(edit_photo(network, pixels, carry=carried.context))
    return edits


def main() -> None:
    """Measure every network on every clip, alone and carried."""
    parser = arguments_of(__doc__)
    parser.add_argument("networks", nargs="+", type=Path)
    parser.add_argument("--films", nargs="*", type=Path, default=[])
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--step", type=int, default=2)
    args = parser.parse_args()
    clips = {film.stem: (read_frames(film, args.side, args.frames), 0) for film in args.films} or {
        f"pan {number}": (pan(photo, args.side, args.frames, args.step), args.step)
        for number, photo in enumerate(load_photos("test"))
        if photo.width > photo.height
    }
    rows: list[dict[str, Any]] = []
    for path in args.networks:
        network = load_network(path)
        for clip, (frames, step) in clips.items():
            row: dict[str, Any] = {"network": path.name, "clip": clip}
            for name, keep in (("alone", 0.0), ("carried", KEEP)):
                measured = flicker(frames, edit_frames(network, frames, keep), step)
                row |= {name: round(measured.pixels, 2), f"{name}_light": round(measured.light, 2)}
            rows.append(row)
            write_result("flicker", rows, printed=len(rows) - 1)


if __name__ == "__main__":
    main()
