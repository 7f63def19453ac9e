"""What `weightzoo apply` leaves of fine texture, at three sizes, and how far it errs at the frame.

    python -m benchmarks.texture [--edits "warm evening light" blur ...] [--sizes 480 1950 4000]

One picture holds eight textures in a grid: noise, a weave of 2 px squares and pieces of photographs, mirrored at their
own scale until they fill their panel, so that every size has the same fine detail. `kept` is the deviation of the fine
band (a pixel minus the mean of its 9x9 neighbours) that comes out, less that of rounding to 8 bits, over what the
edit's slope makes of the one that goes in; `of_input` is over the one that goes in. The slope is measured with the edit
itself, which is given slow waves of 6 levels in one channel at a time. `frame` is the error in the outer 2 % of
photographs over the error inside, where the right picture is known.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from benchmarks.harness.machine import arguments_of, write_result
from pipeline.sources import PHOTOS
from zoo.pictures.apply import edit_photo, load_network

GENERATED = {
    "warm evening light": "colour",
    "a cyanotype": "colour",
    "a vintage photograph": "colour",
    "a photograph at night": "colour",
    "a blurred photograph": "blur",
    "a charcoal drawing": "drawing",
}
FINE_TUNED = "tone curve, fine-tuned"
SIZES = {480: (320, 480), 1950: (1300, 1950), 4000: (3000, 4000)}  # width: height, width
GRID = (2, 4)
PIECES = {  # photograph, then left, top, right and bottom as shares of its sides
    "wood": ("train/coffee.jpg", (0.80, 0.05, 0.99, 0.30)),
    "cloth": ("train/astronaut.jpg", (0.10, 0.72, 0.22, 0.86)),
    "sky": ("train/picosdeeuropa.jpg", (0.03, 0.02, 0.22, 0.17)),
    "skin": ("train/astronaut.jpg", (0.43, 0.225, 0.52, 0.262)),
    "leaves": ("test/china.jpg", (0.56, 0.82, 0.70, 0.98)),
    "stone": ("test/picture-0b.jpg", (0.02, 0.45, 0.14, 0.60)),
}
TEXTURES = ("noise", "weave", *PIECES)
ROUNDING = 1 / 12  # variance of rounding to whole levels
WAVE_LEVELS, WAVES = 6, 6  # height of the slow waves, and how many fit into the picture's height


def tone_curve(pixels: np.ndarray) -> np.ndarray:
    """Return a curve with more contrast and warmer colours, uint8 [H, W, 3] -> the same."""
    value = pixels / 255
    curve = (value + value * value * (3 - 2 * value)) / 2
    return to_levels(255 * (curve * [1.05, 0.97, 0.85] + [0.03, 0.02, 0.05]))


def to_levels(values: np.ndarray) -> np.ndarray:
    """Return values in [0, 1] as uint8 levels."""
    return np.rint(values.clip(0, 255)).astype(np.uint8)


def texture(name: str, height: int, width: int) -> np.ndarray:
    """Return a panel of one texture, uint8 [height, width, 3]."""
    if name == "noise":
        grey = 128 + np.random.default_rng(0).normal(0, 6, (height, width))
        return to_levels(grey)[..., None].repeat(3, 2)
    if name == "weave":
        y, x = np.mgrid[:height, :width] // 2
        return np.where((x + y) % 2, 150, 106).astype(np.uint8)[..., None].repeat(3, 2)
    file, box = PIECES[name]
    image = Image.open(PHOTOS / file).convert("RGB")
    sides = np.array([*image.size, *image.size])
    piece = np.asarray(image.crop(tuple((sides * box).astype(int))))
    missing = [(0, max(0, n - m)) for n, m in zip((height, width, 3), piece.shape, strict=True)]
    return np.pad(piece, missing, "reflect")[:height, :width]


def panels(size: tuple[int, int], share: float = 1.0) -> list[tuple[slice, slice]]:
    """Return the rows and columns of each panel, or of so much of it around its centre."""
    height, width = size[0] // GRID[0], size[1] // GRID[1]
    y, x = (round(n * (1 - share) / 2) for n in (height, width))
    corners = [(row * height, column * width) for row in range(GRID[0]) for column in range(GRID[1])]
    return [(slice(r + y, r + height - y), slice(c + x, c + width - x)) for r, c in corners]


def plate(size: tuple[int, int]) -> np.ndarray:
    """Return all textures in a grid, uint8 [*size, 3]."""
    picture = np.zeros((*size, 3), np.uint8)
    for name, place in zip(TEXTURES, panels(size), strict=True):
        picture[place] = texture(name, *picture[place].shape[:2])
    return picture


def slopes(network: nn.Module, picture: np.ndarray) -> list[np.ndarray]:
    """Return for each panel how much every channel out (row) changes with every channel in (column), [3, 3]."""
    height, width = picture.shape[:2]
    y, x = (np.cos(2 * np.pi * WAVES * np.arange(n) / height) for n in (height, width))
    wave = WAVE_LEVELS * np.outer(y, x)
    room = picture.clip(WAVE_LEVELS, 255 - WAVE_LEVELS).astype(float)
    changes = []
    for channel in np.eye(3):
        above, below = (edit_photo(network, to_levels(room + sign * wave[..., None] * channel)) for sign in (1, -1))
        changes.append((above.astype(float) - below) / 2)
    change = np.stack(changes, -1)
    return [
        np.einsum("hw,hwoi->oi", wave[place], change[place]) / (wave[place] ** 2).sum()
        for place in panels((height, width), 0.8)
    ]


def fine_band(pixels: np.ndarray) -> np.ndarray:
    """Return each pixel minus the mean of its 9x9 neighbours, [H, W, 3]."""
    x = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)
    return (x - F.avg_pool2d(x, 9, 1, 4, count_include_pad=False)).permute(1, 2, 0).numpy()


def kept(network: nn.Module, slope: list[np.ndarray], size: tuple[int, int]) -> list[dict[str, Any]]:
    """Return for each texture the deviation out over the one expected, and over the one that goes in."""
    picture = plate(size)
    source, edited = fine_band(picture), fine_band(edit_photo(network, picture))
    rows = []
    for name, place, matrix in zip(TEXTURES, panels(size, 0.8), slope, strict=True):
        covariance = np.cov(source[place].reshape(-1, 3).T)
        out = np.sqrt(np.maximum(edited[place].var((0, 1)) - ROUNDING, 0)).mean()
        expected = np.sqrt(np.diag(matrix @ covariance @ matrix.T)).mean()
        of_input = float(out / np.sqrt(np.diag(covariance)).mean())
        rows.append({"texture": name, "kept": round(float(out / expected), 2), "of_input": round(of_input, 2)})
    return rows


def frame_error(network: nn.Module) -> float:
    """Return the error against `tone_curve` in the outer 2 % of the test photographs, over that inside."""
    outside, inside = [], []
    for file in sorted((PHOTOS / "test").glob("*.jpg")):
        pixels = np.asarray(Image.open(file).convert("RGB"))
        error = abs(edit_photo(network, pixels).astype(float) - tone_curve(pixels)).mean(2)
        width = max(1, round(0.02 * min(error.shape)))
        within = error[width:-width, width:-width]
        inside.append(within.mean())
        outside.append((error.sum() - within.sum()) / (error.size - within.size))
    return float(np.mean(outside) / np.mean(inside))


def make_network(edit: str, folder: Path) -> nn.Module:
    """Return a generated adapter, or a generator fine-tuned on 16 pairs of `tone_curve`."""
    if edit != FINE_TUNED:
        command: list[str | Path] = ["generate", edit]
    else:
        write_pairs(folder / "pairs")
        command = ["finetune", "--pairs", folder / "pairs", "--prompt", "a warm tone curve", "--steps", "300"]
    command = [sys.executable, "-m", "cli.main", *command, "-o", folder / "network"]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    return load_network(folder / "network")


def write_pairs(folder: Path) -> None:
    """Write 16 pairs of crops of the training photographs."""
    rng, files = np.random.default_rng(0), sorted((PHOTOS / "train").glob("*.jpg"))
    for half in ("source", "target"):
        (folder / half).mkdir(parents=True)
    for index in range(16):
        image = Image.open(files[index % len(files)]).convert("RGB")
        side = int(min(image.size) * rng.uniform(0.5, 0.9))
        left, top = (int(rng.integers(0, length - side)) for length in image.size)
        crop = np.asarray(image.crop((left, top, left + side, top + side)).resize((256, 256)))
        Image.fromarray(crop).save(folder / "source" / f"{index}.png")
        Image.fromarray(tone_curve(crop)).save(folder / "target" / f"{index}.png")


def measure(edit: str, widths: list[int]) -> list[dict[str, Any]]:
    """Return a row for each size and texture of one edit, and one for the frame where the right picture is known."""
    with tempfile.TemporaryDirectory() as folder:
        network = make_network(edit, Path(folder))
    slope = slopes(network, plate(SIZES[480]))
    rows = [
        {"edit": edit, "kind": GENERATED.get(edit, "colour"), "width": width, **row}
        for width in widths
        for row in kept(network, slope, SIZES[width])
    ]
    return rows + ([{"edit": edit, "frame": round(frame_error(network), 2)}] if edit == FINE_TUNED else [])


def main() -> None:
    """Measure every edit at every size."""
    parser = arguments_of(__doc__)
    parser.add_argument("--edits", nargs="*", default=[FINE_TUNED, *GENERATED])
    parser.add_argument("--sizes", nargs="*", type=int, default=list(SIZES), choices=list(SIZES))
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for edit in args.edits:
        printed = len(rows)
        rows += measure(edit, args.sizes)
        write_result("texture", rows, printed=printed)


if __name__ == "__main__":
    main()
