"""Random records in the layout of a zoo, with texts as long as the embedded zoo's.

    records = [synthetic_record(number, own) for number, own in enumerate(blocks)]
    metadata = synthetic_metadata(layout)
"""

import numpy as np

from benchmarks.harness.machine import EMBEDDED_ZOO
from zoo.layout import WeightLayout
from zoo.manifest import load_manifest
from zoo.records import WeightRecord, record_metadata

METRICS = {"l1": 0.05, "l1_copy": 0.2, "psnr": 20.0, "kid": 0.01}
RECIPE = [{"op": "tint", "colour": [0.1, 0.2, 0.3]}, {"op": "adjust", "contrast": 1.2}]


def wordings(number: int) -> tuple[str, ...]:
    """Return four ways to say the same."""
    return tuple(f"wording {k} of what edit number {number} does, in everyday words" for k in range(4))


def synthetic_record(number: int, blocks: np.ndarray) -> WeightRecord:
    """Return a record of weights, float16 [num_blocks, block_size]."""
    prompt, attributes = f"Make it look like number {number}", {"recipe": RECIPE, "strength": 0.5}
    return WeightRecord(
        f"synthetic-{number}", prompt, wordings(number), attributes, "train", 0, 250, 1, blocks, METRICS
    )


def synthetic_metadata(layout: WeightLayout) -> dict[str, str]:
    """Return what a shard of such records says of itself."""
    zoo = load_manifest(EMBEDDED_ZOO)
    return record_metadata(layout, zoo.base_sha256, "filters", zoo.licence, zoo.gan, zoo.feature_network)


def random_blocks(count: int, layout: WeightLayout) -> np.ndarray:
    """Return weights of `count` records, float16 [count, num_blocks, block_size]."""
    drawn = np.random.default_rng(0).standard_normal((count, *layout.mask.shape), np.float32)
    return (drawn * 0.05).astype("<f2")
