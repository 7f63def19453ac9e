"""Not a copy: how far generated networks are from their nearest zoo member, and zoo members from theirs.

    rows = novelty(zoo_blocks, {"polished": blocks}, statistics)
    nearest = nearest_pictures(edited, targets, members)

Distances of weights are root mean squares over normalised blocks (per-parameter mean removed, unit
deviation per block), so 1 is about how far a zoo member is from the zoo mean. Weights may differ in directions that
hardly show, so what networks do to pictures is compared as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from weightgen.normalize import BlockStatistics


def flatten(blocks: Tensor, statistics: BlockStatistics) -> Tensor:
    """Return blocks [K, num_blocks, block_size] as normalised weights [K, D] whose Euclidean distance is the RMS."""
    normalised = statistics.normalize(blocks.float())[:, statistics.mask]
    return normalised / normalised.shape[1] ** 0.5


def cosines(rows: Tensor, others: Tensor) -> Tensor:
    """Return the cosines between deviations from the zoo mean, [K, N]."""
    return torch.nn.functional.normalize(rows, dim=1) @ torch.nn.functional.normalize(others, dim=1).T


def cosine_among(rows: Tensor) -> float:
    """Return the mean cosine between deviations of different networks [K, D] from the zoo mean; NaN for K = 1."""
    return float(cosines(rows, rows)[~torch.eye(len(rows), dtype=torch.bool)].mean())


def novelty(zoo: Tensor, networks: Mapping[str, Tensor], statistics: BlockStatistics) -> list[dict[str, Any]]:
    """Return one row per method; what the zoo's members are to each other stands beside it.

    A network near the zoo mean is near to everything; its direction tells a copy (cosine 1) from something new.
    Networks that are far from the zoo may still be near to each other: `cosine_among` says so.

    Args:
        zoo: blocks of the train records, [N, num_blocks, block_size], N >= 2.
        networks: blocks by method, [K, num_blocks, block_size].
    """
    members = flatten(zoo, statistics)
    itself = torch.eye(len(members), dtype=torch.bool)
    own = torch.cdist(members, members).masked_fill(itself, float("inf")).min(1).values.numpy()
    own_cosines = cosines(members, members).masked_fill(itself, -1.0).max(1).values.numpy()
    near = float(np.percentile(own, 5))
    reference = {
        "zoo_nearest_median": float(np.median(own)),
        "zoo_nearest_p5": near,
        "zoo_cosine_median": float(np.median(own_cosines)),
        "zoo_cosine_p95": float(np.percentile(own_cosines, 95)),
        "zoo_cosine_among": cosine_among(members),
        "zoo_norm_median": float(members.norm(dim=1).median()),
    }
    rows = []
    for name, blocks in networks.items():
        flat = flatten(blocks, statistics)
        distances = torch.cdist(flat, members).min(1).values.numpy()
        alike = cosines(flat, members).max(1).values.numpy()
        rows.append(
            {
                "init": name,
                "n": len(distances),
                "nearest_median": float(np.median(distances)),
                "nearest_min": float(distances.min()),
                "closer_than_zoo_p5": float((distances < near).mean()),
                "cosine_median": float(np.median(alike)),
                "cosine_max": float(alike.max()),
                "cosine_among": cosine_among(flat),
                "norm_median": float(flat.norm(dim=1).median()),
                **reference,
            }
        )
    return rows


class NearestPictures(NamedTuple):
    """Mean absolute differences of what K networks make of the same pictures, [K] each.

    Attributes:
        member: from the nearest member of the zoo.
        target: from what was asked for.
        of_target: what was asked for from the nearest member.
    """

    member: Tensor
    target: Tensor
    of_target: Tensor


def nearest_pictures(edited: Tensor, targets: Tensor, members: Tensor) -> NearestPictures:
    """Compare pictures of generated networks with their targets and with those of all members.

    Args:
        edited, targets: pixels of the same pictures, [K, n, 3] in [0, 1].
        members: what each member makes of them, [N, n, 3].
    """
    own, wanted, others = (part.flatten(1) for part in (edited, targets, members))

    def nearest(rows: Tensor) -> Tensor:
        return torch.cdist(rows, others, p=1).min(1).values / rows.shape[1]

    return NearestPictures(nearest(own), (own - wanted).abs().mean(1), nearest(wanted))


def diversity(samples: Tensor, zoo: Tensor, statistics: BlockStatistics) -> dict[str, float]:
    """Return how far apart networks that were sampled for the same prompt are, and members of the zoo.

    Args:
        samples: [prompts, networks, num_blocks, block_size].
        zoo: blocks of the train records, [N, num_blocks, block_size].
    """
    apart = [torch.pdist(flatten(own, statistics)) for own in samples]
    members = torch.pdist(flatten(zoo, statistics))
    return {
        "pairwise_median": float(torch.cat(apart).median()),
        "zoo_pairwise_median": float(members.median()),
        "prompts": len(samples),
        "networks": samples.shape[1],
    }
