"""Tables of `benchmarks.not_a_copy`: what was measured of each edit, brought together.

    rows = weight_rows(blocks, records) + picture_rows(figures, members) + content_rows(figures)

Intervals are the middle 95 % of a bootstrap over edits.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean, median
from typing import Any

import torch
from torch import Tensor

from weightgen.evaluation.intervals import mean_interval
from weightgen.evaluation.novelty import NearestPictures, novelty
from weightgen.normalize import BlockStatistics
from weightgen.training.data import WeightDataset
from zoo.training.solved_outputs import OUTPUT

LEAST = 0.004  # one grey level: smaller differences count as this
GENERATED, SOLVED = "generated", "solved"
CASE = ("network", "pairs", "band", "against")


def weight_rows(blocks: Sequence[dict[str, Tensor]], records: WeightDataset) -> list[dict[str, Any]]:
    """Return how far networks are from the members of the zoo, by what they are and by the number of pairs.

    Args:
        blocks: of `benchmarks.not_a_copy.blocks_of`, of each edit.
    """
    names = sorted(blocks[0], key=lambda name: (name.split()[0], int(name.split()[1])))
    networks = {name: torch.cat([own[name] for own in blocks]) for name in names}
    statistics = records.statistics()
    kept = [k for k, layer in enumerate(records.layout.block_layers) if layer != OUTPUT.rpartition(".")[0]]
    inner = BlockStatistics(statistics.mean[kept], statistics.std[kept], statistics.mask[kept])
    branches = {
        name.replace(GENERATED, "branch"): own[:, kept] for name, own in networks.items() if name.startswith(GENERATED)
    }
    rows = novelty(records.blocks, networks, statistics) + novelty(records.blocks[:, kept], branches, inner)
    found = []
    for row in rows:
        network, pairs = row.pop("init").split()
        found.append({"measure": "weights", "network": network, "pairs": int(pairs), **row})
    return found


def picture_rows(figures: Sequence[dict[str, Any]], members: Tensor) -> list[dict[str, Any]]:
    """Return how far pictures are from those of the nearest member, by the number of pairs."""
    flat = members.flatten(1)
    apart = torch.cdist(flat, flat, p=1).fill_diagonal_(math.inf).min(1).values / flat.shape[1]
    rows = []
    for count in dict.fromkeys(row["pairs"] for own in figures for row in own["pictures"]):
        own = [row for edit in figures for row in edit["pictures"] if row["pairs"] == count]
        ratios: dict[str, float] = {}
        for rival in ("target", "of_target"):
            logs = [math.log(max(row["member"], LEAST) / max(row[rival], LEAST)) for row in own]
            low, high = mean_interval(logs)
            ratios |= {
                f"over_{rival}": math.exp(fmean(logs)),
                f"over_{rival}_low": math.exp(low),
                f"over_{rival}_high": math.exp(high),
            }
        rows.append(
            {
                "measure": "pictures",
                "pairs": count,
                "n": len(own),
                **{f"{name}_median": median(row[name] for row in own) for name in NearestPictures._fields},
                **ratios,
                "nearer_to_a_member": sum(row["member"] < row["target"] for row in own),
                "zoo_nearest_median": float(apart.median()),
            }
        )
    return rows


def content_rows(figures: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return whether what is left looks more like the examples than like others, in the mean over edits."""
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for edit in figures:
        for row in edit["content"]:
            found[tuple(row[name] for name in CASE)].append(row)
    rows = []
    for case, own in found.items():
        differences = [row["own"] - row["control"] for row in own]
        low, high = mean_interval(differences)
        rows.append(
            {
                "measure": "content",
                **dict(zip(CASE, case, strict=True)),
                "n": len(own),
                "own": fmean(row["own"] for row in own),
                "control": fmean(row["control"] for row in own),
                "difference": fmean(differences),
                "low": low,
                "high": high,
                "largest": max(differences, key=abs),
                "planted": fmean(row["planted"] - row["control"] for row in own),
            }
        )
    return rows
