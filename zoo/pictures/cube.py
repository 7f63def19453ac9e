"""Look-up tables of colours in `.cube` files, as Lightroom, DaVinci Resolve and most editors write them.

    table = read_cube("looks/film.cube")            # CubeTable: 1D, 3D, or a 1D table before a 3D one
    edited = table.apply(photos)                    # [N, 3, H, W] in [0, 1], the same shape
    write_cube("mine.cube", values, "mine")         # a 3D table

Tables are read between their entries linearly (trilinearly in 3D), and colours outside a table's domain are moved to
its edge, as Adobe's specification of the format has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.errors import WeightzooError
from zoo.files import PathLike, write_text

LARGEST = {"LUT_1D_SIZE": 65_536, "LUT_3D_SIZE": 256}  # entries of a side, by Adobe's specification
MAX_BYTES = 1 << 30  # of a file: a 3D table of 256 has 17 million lines
RANGES = {"LUT_1D_INPUT_RANGE": "LUT_1D_SIZE", "LUT_3D_INPUT_RANGE": "LUT_3D_SIZE"}  # as Resolve writes domains
DOMAINS = ("DOMAIN_MIN", "DOMAIN_MAX")


@dataclass(frozen=True)
class Table:
    """One table of colours.

    Attributes:
        values: [S, 3], one curve a channel, or [S, S, S, 3] by blue, green and red.
        low, high: [3], the colours of its first and its last entry.
    """

    values: Tensor
    low: Tensor
    high: Tensor

    def apply(self, photos: Tensor) -> Tensor:
        """Return the colours of photos [N, 3, H, W] after the table, not clamped."""
        low, high, values = (tensor.to(photos) for tensor in (self.low, self.high, self.values))
        places = ((photos - low.view(3, 1, 1)) / (high - low).view(3, 1, 1)).clamp(0, 1)
        return _curves(values, places) if values.dim() == 2 else _lattice(values, places)


@dataclass(frozen=True)
class CubeTable:
    """What a `.cube` file holds.

    Attributes:
        title: as the file has it; empty where it has none.
        tables: in the order in which they are applied.
    """

    title: str
    tables: tuple[Table, ...]

    @torch.no_grad()
    def apply(self, photos: Tensor) -> Tensor:
        """Return photos [N, 3, H, W] in [0, 1] after all tables, of the same shape and range."""
        for table in self.tables:
            photos = table.apply(photos)
        return photos.clamp(0, 1)


def read_cube(path: PathLike) -> CubeTable:
    """Read a `.cube` file.

    Raises:
        WeightzooError: absent, or not a table that can be applied: the line says what is wrong with it.
    """
    header, numbers = _read(Path(path))
    sizes = {key: _size(path, key, header[key]) for key in LARGEST if key in header}
    if not sizes:
        raise WeightzooError(f"{path} has neither LUT_1D_SIZE nor LUT_3D_SIZE; export it as a .cube file again")
    counts = [size if key == "LUT_1D_SIZE" else size**3 for key, size in sizes.items()]
    if len(numbers) != sum(counts):
        told = " and ".join(f"{key} {size}" for key, size in sizes.items())
        raise WeightzooError(f"{path} has {len(numbers):,} colours, and {told} needs {sum(counts):,}; export it again")
    parts = torch.from_numpy(numbers).split(counts)
    tables = []
    for (key, size), part in zip(sizes.items(), parts, strict=True):
        low, high = _domain(path, header, key)
        # red runs fastest
        values = part if key == "LUT_1D_SIZE" else part.reshape(size, size, size, 3)
        tables.append(Table(values, low, high))
    return CubeTable(header.get("TITLE", ""), tuple(tables))


def write_cube(path: PathLike, values: Tensor, title: str) -> None:
    """Write a 3D table [S, S, S, 3] by blue, green and red, for colours in [0, 1].

    Raises:
        WeightzooError: it cannot be written.
    """
    lines = [f'TITLE "{title.replace(chr(34), "")}"', f"LUT_3D_SIZE {len(values)}", ""]
    lines += [f"{red:.6f} {green:.6f} {blue:.6f}" for red, green, blue in values.reshape(-1, 3).tolist()]
    write_text(path, "\n".join(lines) + "\n")


def cube_title(path: PathLike) -> str:
    """Return the title of a `.cube` file without reading its tables; empty where there is none, or no such file.

    Only lines before the first colour are looked at.
    """
    try:
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            for _, line in zip(range(200), file, strict=False):
                if line.startswith("TITLE"):
                    return _unquoted(line[len("TITLE") :])
                if line[:1].isdigit():
                    break
    except OSError:
        pass
    return ""


def _read(path: Path) -> tuple[dict[str, str], np.ndarray]:
    """Return the keywords of a file with what stands behind them, and its colours, float32 [N, 3]."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise WeightzooError(f"{path} is larger than any .cube file; export it again")
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise WeightzooError(f"cannot read {path} ({error.strerror}); give a .cube file") from error
    header: dict[str, str] = {}
    colours = list(_colours(path, text, header))
    try:
        numbers = np.loadtxt(colours, dtype=np.float32, ndmin=2) if colours else np.empty((0, 3), np.float32)
    except ValueError as error:
        raise WeightzooError(f"{path} is not a .cube file ({error}); export it again") from None
    if numbers.shape[1] != 3 or not np.isfinite(numbers).all():
        raise WeightzooError(f"{path} has colours that are not three finite numbers; export it again")
    return header, numbers


def _colours(path: Path, text: str, header: dict[str, str]) -> Iterator[str]:
    """Yield the lines of colours, and put the keywords into `header`."""
    for line in text.splitlines():
        line = line.strip()
        if not line or line[0] == "#":
            continue
        if not line[0].isalpha():
            yield line
            continue
        key, _, value = line.partition(" ") if " " in line else line.partition("\t")
        if key not in (*LARGEST, *RANGES, *DOMAINS, "TITLE"):
            raise WeightzooError(f"{path} has the unknown keyword {key[:40]!r}; export it as a plain .cube file")
        header[key] = _unquoted(value) if key == "TITLE" else value


def _unquoted(text: str) -> str:
    return text.strip().strip('"').strip()


def _size(path: PathLike, key: str, text: str) -> int:
    try:
        size = int(text)
    except ValueError:
        size = 0
    if not 2 <= size <= LARGEST[key]:
        raise WeightzooError(f"{path} has {key} {text.strip()[:20]}; it must be 2 to {LARGEST[key]:,}")
    return size


def _domain(path: PathLike, header: dict[str, str], key: str) -> tuple[Tensor, Tensor]:
    """Return the lowest and the highest colour of a table, [3] each."""
    texts = [header.get("DOMAIN_MIN", "0 0 0"), header.get("DOMAIN_MAX", "1 1 1")]
    for name, of in RANGES.items():
        if of == key and name in header:
            texts = [f"{word} {word} {word}" for word in header[name].split()]
    try:
        low, high = (torch.tensor([float(word) for word in text.split()]) for text in texts)
        usable = low.shape == high.shape == (3,) and bool(((high > low) & (high - low).isfinite()).all())
    except ValueError:
        usable = False
    if not usable:
        raise WeightzooError(f"{path} has a domain that does not rise from three numbers to three; export it again")
    return low, high


def _curves(values: Tensor, places: Tensor) -> Tensor:
    """Return what curves [S, 3] make of places [N, 3, H, W] in [0, 1]."""
    position = places * (len(values) - 1)
    below = position.floor().clamp(max=len(values) - 2)
    index = below.long()
    channel = torch.arange(3, device=places.device).view(1, 3, 1, 1)
    return torch.lerp(values[index, channel], values[index + 1, channel], position - below)


def _lattice(values: Tensor, places: Tensor) -> Tensor:
    """Return what a lattice [S, S, S, 3] by blue, green and red makes of places [N, 3, H, W] in [0, 1]."""
    volume = values.permute(3, 0, 1, 2)[None].expand(len(places), -1, -1, -1, -1)
    grid = (places * 2 - 1).permute(0, 2, 3, 1)[:, None]  # x is red, y green, z blue
    return F.grid_sample(volume, grid, align_corners=True)[:, :, 0]
