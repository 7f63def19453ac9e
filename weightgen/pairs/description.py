"""What pairs say of an edit, in the shape of a network: the weight generator reads it beside the text.

    reading = Reading(base, layout, feature_root(features))
    edit = reading.describe(seen, targets, pairs=4)       # of pixels that all edits share
    edit.blocks, edit.facts                               # [E, num_blocks, block_size], [E, 3]

The base generator is solved on the pairs (`zoo.closed_form`), which says all of an edit that is linear in the base's
features. What is left is told by the gradient of the error with respect to the base's adapter: which way its weights
would have to go. Both have the shape of a generated network, so each block of the generator's output reads its own
block. They are sums over pixels: neither the order nor the sizes of the pairs matter, and any number of them will do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from weightgen.pairs.shared_solve import SharedSolve, product
from zoo.gans.solved import Seen, SolvedGenerator
from zoo.layout import WeightLayout
from zoo.training.solved_outputs import OUTPUT

RELU_PENALTY = 1e-2  # of the base's ReLUs; the prior knows nothing of them
LAYER_GAIN = 10.0  # brings the solved layer's deviation to about unit size
SMALL_ERROR, SMALL_GRADIENT = 2e-3, 1e-4
ROUNDED = 0.02  # errors of pixels in [-1, 1] that count as squares: below a few grey levels their sign is chance
FACT_OFFSETS = (0.0, 3.0, 4.0)  # bring the logarithms near zero
SMALLEST_VARIANCE = 1e-7


@dataclass(frozen=True, eq=False)
class Edits:
    """What pairs say of E edits.

    Attributes:
        blocks: the solved layer and the gradient as blocks of a network, [E, num_blocks, block_size].
        facts: logarithms of the number of pairs, of the solved layer's mean error and of the gradient's size, [E, 3].
    """

    blocks: Tensor
    facts: Tensor


@dataclass(frozen=True, eq=False)
class Reading:
    """A base generator, and the coordinates in which its solved layer is read.

    Attributes:
        root: the square root of the covariance of the bank's features over photographs, [F, F]: multiplied with it, a
            layer's entries say how much they change pixels. The features are far from independent.
    """

    base: SolvedGenerator
    layout: WeightLayout
    root: Tensor

    @property
    def own(self) -> dict[str, Tensor]:
        """Return the base's values of all that an adapter has."""
        known = dict(self.base.named_parameters())
        return {slot.name: known[slot.name].detach() for slot in self.layout.slots}

    def hidden(self, maps: Tensor, adapters: dict[str, Tensor]) -> Tensor:
        """Return the ReLUs of E adapters at the same pixels, [E, n, H], from maps [n, channels]."""
        rows = []
        for number, branch in enumerate(self.base.branches):
            prefix = f"branches.{number}."
            own = {name.removeprefix(prefix): value for name, value in adapters.items() if name.startswith(prefix)}
            run = vmap(lambda values, branch=branch: functional_call(branch, values, (maps,)))
            rows.append(run(own))
        return torch.cat(rows, -1)

    def edited(self, seen: Seen, adapters: dict[str, Tensor], layers: Tensor) -> Tensor:
        """Return what E networks make of the same pixels, [E, n, 3] about [-1, 1].

        Args:
            seen: of n pixels; the features are those that all edits share, [n, F].
            layers: their output layers over these and the ReLUs, [E, F + H, 3].
        """
        width = seen.features.shape[1]
        return product(seen.features, layers[:, :width]) + self.hidden(seen.maps, adapters) @ layers[:, width:]

    def describe(self, seen: Seen, targets: Tensor, pairs: int) -> Edits:
        """Return what the pixels of `pairs` pairs say.

        Args:
            seen: of n pixels, which all edits share.
            targets: [E, n, 3] in [-1, 1].
        """
        prior, count = self.base.prior, len(targets)
        own = self.own
        adapters = {
            name: value.expand(count, *value.shape).clone().requires_grad_()
            for name, value in own.items()
            if name != OUTPUT
        }
        with torch.enable_grad():
            hidden = self.hidden(seen.maps, adapters)
            with torch.no_grad():
                centre = torch.nn.functional.pad(prior.mean, (0, 0, 0, hidden.shape[-1])).expand(count, -1, -1)
                penalty = hidden.new_full((count, hidden.shape[-1]), RELU_PENALTY)
                solve = SharedSolve(seen.features, prior.penalty(pairs))
                layers = solve.with_hidden(hidden.detach(), targets, centre, penalty)
            width = seen.features.shape[1]
            edited = product(seen.features, layers[:, :width]) + hidden @ layers[:, width:]
            errors = ((edited - targets).square() + ROUNDED**2).sqrt().mean((1, 2)) - ROUNDED
            gradients = torch.autograd.grad(errors.sum(), list(adapters.values()))
        sizes = torch.cat([part.flatten(1) for part in gradients], 1).square().mean(1).sqrt()
        described = {
            name: -part / (sizes.view(-1, *[1] * (part.dim() - 1)) + SMALL_GRADIENT)
            for name, part in zip(adapters, gradients, strict=True)
        }
        bank, rest = layers.split([width, layers.shape[1] - width], 1)
        described[OUTPUT] = torch.cat([LAYER_GAIN * (self.root @ (bank - prior.mean)), rest], 1).mT.contiguous()
        logarithms = (
            torch.full_like(errors, math.log(pairs)),
            (errors.detach() / 2 + SMALL_ERROR).log(),
            (sizes + SMALL_GRADIENT).log(),
        )
        facts = torch.stack([part + offset for part, offset in zip(logarithms, FACT_OFFSETS, strict=True)], 1)
        return Edits(self.layout.to_blocks(described), facts)


@torch.no_grad()
def feature_root(features: Tensor) -> Tensor:
    """Return the square root of the covariance of features [n, F] around zero, float32 [F, F]."""
    values, vectors = torch.linalg.eigh((features.T @ features / len(features)).double())
    return ((vectors * values.clamp_min(SMALLEST_VARIANCE).sqrt()) @ vectors.T).float()
