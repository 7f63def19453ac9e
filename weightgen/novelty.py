"""Not a copy: how far generated networks are from their nearest zoo member, and zoo members from theirs.

    rows = novelty(zoo_blocks, {"polished": blocks}, statistics)

Distances are root mean squares over the weights of normalised blocks (per-parameter mean removed, unit
deviation per block), so 1 is about how far a zoo member is from the zoo mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from weightgen.normalize import BlockStatistics


def flatten(blocks: Tensor, statistics: BlockStatistics) -> Tensor:
    """Blocks [K, num_blocks, block_size] -> normalised weights [K, D] whose Euclidean distance is the RMS."""
    normalised = statistics.normalize(blocks.float())[:, statistics.mask]
    return normalised / normalised.shape[1] ** 0.5


def novelty(zoo: Tensor, networks: Mapping[str, Tensor], statistics: BlockStatistics) -> list[dict[str, Any]]:
    """One row per method; the zoo's own nearest-neighbour distances stand beside each.

    Args:
        zoo: blocks of the train records, [N, num_blocks, block_size], N >= 2.
        networks: blocks by method, [K, num_blocks, block_size].
    """
    members = flatten(zoo, statistics)
    between = torch.cdist(members, members)
    between.fill_diagonal_(float("inf"))
    own = between.min(1).values.numpy()
    near = float(np.percentile(own, 5))
    rows = []
    for name, blocks in networks.items():
        flat = flatten(blocks, statistics)
        distances = torch.cdist(flat, members).min(1).values.numpy()
        rows.append(
            {
                "init": name,
                "n": len(distances),
                "nearest_median": float(np.median(distances)),
                "nearest_min": float(distances.min()),
                "zoo_nearest_median": float(np.median(own)),
                "zoo_nearest_p5": near,
                "closer_than_zoo_p5": float((distances < near).mean()),
                "norm_median": float(flat.norm(dim=1).median()),
                "zoo_norm_median": float(members.norm(dim=1).median()),
            }
        )
    return rows
