"""Output layers of networks that are about to be trained, solved on what they will be trained on.

    params = with_solved_outputs(generator, params, material)

A network of single pixels (`zoo.gans.solved`) begins near the best that its features give, in place of the base's own
layer: before the first step its error is what 300 steps from the base's layer come to (docs/LOG.md).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from zoo.gans.solved import Seen, SolvedGenerator
from zoo.gram import gram_of, solve
from zoo.training.batches import Pictures, Pixels
from zoo.training.gan_objective import Params

SOLVED_ON = 1 << 14  # pixels
PENALTY = 1e-3  # of a branch's ReLUs, of which the prior knows nothing
OUTPUT = "output.weight"


@torch.no_grad()
def with_solved_outputs(
    generator: nn.Module, params: Mapping[str, Tensor], material: Pixels | Pictures, seed: int = 0
) -> Params:
    """Return the parameters {name: [K, ...]} of K networks with their output layers solved, each on its own targets.

    Args:
        seed: of the pixels.

    Returns:
        `params` as they are for networks whose output layer is not solved, or not among them.
    """
    if not isinstance(generator, SolvedGenerator) or not isinstance(material, Pixels) or OUTPUT not in params:
        return dict(params)
    batch = material.some(SOLVED_ON, seed)
    layers = []
    for k, targets in enumerate(batch.targets):
        network = copy.deepcopy(generator)
        network.load_state_dict({name: value[k] for name, value in params.items()}, strict=False)
        assert isinstance(batch.inputs, Seen)
        own = batch.inputs if batch.inputs.maps.dim() == 2 else Seen(*(part[k] for part in batch.inputs))
        layers.append(solved_output(network, own, targets, material.num_photographs))
    return {**params, OUTPUT: torch.stack(layers)}


def solved_output(network: SolvedGenerator, seen: Seen, targets: Tensor, photographs: int) -> Tensor:
    """Return the weight of an output layer, [3, features], solved on pixels [P, 3] in [0, 1] of so many photographs."""
    rows = torch.cat(network.parts(seen), -1)
    prior, learned = network.prior, rows.shape[1] - len(network.mean)
    centre = nn.functional.pad(prior.mean, (0, 0, 0, learned))
    penalty = nn.functional.pad(prior.penalty(photographs), (0, learned), value=PENALTY)
    layer = centre + solve(gram_of(rows, targets * 2 - 1), penalty, centre).to(centre.dtype)
    return (layer if bool(torch.isfinite(layer).all()) else centre).T
