"""Statistics of a zoo's weights: the mean of every parameter and one standard deviation per block.

Stored as `statistics.safetensors`: `mean` float32 [num_blocks, block_size], `std`
float32 [num_blocks] (of the deviations from the mean over a block's real values), from the train records.
"""

from collections.abc import Iterable

import numpy as np
import safetensors
import safetensors.numpy

from zoo.errors import WeightzooError
from zoo.files import PathLike, write_bytes
from zoo.layout import WeightLayout
from zoo.records import WeightRecord
from zoo.tensors import read_header

STATISTICS_FILE = "statistics.safetensors"


def block_statistics(records: Iterable[WeightRecord], layout: WeightLayout) -> dict[str, np.ndarray]:
    """Return `mean` and `std` of the records' blocks (see the module), in one pass in float64."""
    shape = (layout.num_blocks, layout.block_size)
    first: np.ndarray | None = None
    total, squares, count = np.zeros(shape), np.zeros(shape), 0
    for record in records:
        blocks = record.blocks.astype(np.float64)
        first = blocks if first is None else first
        total += blocks - first  # shifted by the first record: no cancellation between large equal values
        squares += (blocks - first) ** 2
        count += 1
    if first is None:
        raise WeightzooError("no train record passed the gate; train longer or loosen the gate, then build again")
    variance = np.maximum(squares / count - (total / count) ** 2, 0)
    mask = layout.mask.numpy()
    per_block = np.where(mask, variance, 0).sum(1) / mask.sum(1)
    return {"mean": (first + total / count).astype(np.float32), "std": np.sqrt(per_block).astype(np.float32)}


def save_statistics(path: PathLike, statistics: dict[str, np.ndarray]) -> None:
    """Write `statistics`, atomically."""
    write_bytes(path, safetensors.numpy.save(statistics))


def load_statistics(path: PathLike, layout: WeightLayout) -> dict[str, np.ndarray]:
    """Read the statistics file of records of `layout`.

    Raises:
        WeightzooError: absent, unreadable, of other shapes, or not finite.
    """
    shapes = {"mean": (layout.num_blocks, layout.block_size), "std": (layout.num_blocks,)}
    header, _ = read_header(path)
    if {name: header.get(name) for name in shapes} != shapes:
        raise WeightzooError(f"{path} holds other statistics than its layout has; build or download it again")
    try:
        found = safetensors.numpy.load_file(path)
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise WeightzooError(f"cannot read {path} ({error!r}); build or download it again") from None
    if not all(found[name].dtype == np.float32 and np.isfinite(found[name]).all() for name in shapes):
        raise WeightzooError(f"{path} holds values that are not finite float32; build or download it again")
    return {name: found[name] for name in shapes}
