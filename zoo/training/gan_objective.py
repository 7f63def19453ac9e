"""The pix2pix objective for K GANs at once: `torch.func.vmap` of one network over a leading concept axis.

    fakes = run_generators(base, params, sources)                                     # [K, N, 3, H, W]
    losses = generator_losses(discriminator, discriminators, sources, targets, fakes, weight=0.01)     # [K]

L1 + `weight` x LSGAN (Isola et al., CVPR 2017; Mao et al., ICCV 2017). Whatever has no concept axis (the base's W and
A) runs once for the whole fleet.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

Params = dict[str, Tensor]


def stack(params: Mapping[str, Tensor], count: int) -> Params:
    """Return `count` copies of one network's tensors along a new concept axis."""
    return {name: value.detach().expand(count, *value.shape).clone() for name, value in params.items()}


def run_generators(generator: nn.Module, params: Mapping[str, Tensor], images: Tensor) -> Tensor:
    """Run K networks at once.

    Args:
        params: {name: [K, ...]}; what is absent comes from the generator itself and is shared.
        images: [N, 3, H, W] for all networks, or [K, N, 3, H, W].

    Returns:
        [K, N, 3, H, W]
    """

    def run_one(own: Params, batch: Tensor) -> Tensor:
        return functional_call(generator, own, (batch,))

    in_dims = (0, 0 if images.dim() == 5 else None)
    return vmap(run_one, in_dims=in_dims, randomness="different")(dict(params), images)


def run_discriminators(
    discriminator: nn.Module, params: Mapping[str, Tensor], sources: Tensor, images: Tensor
) -> Tensor:
    """Return logits [K, N, ...] of K discriminators, or of one for all without `params`, on images [K, N, 3, H, W]."""

    def run_one(own: Params, source: Tensor, image: Tensor) -> Tensor:
        return functional_call(discriminator, own, (source, image))

    own_dim = 0 if params else None
    return vmap(run_one, in_dims=(own_dim, 0 if sources.dim() == 5 else None, 0))(dict(params), sources, images)


def generator_losses(
    discriminator: nn.Module, discriminators: Params, sources: Tensor, targets: Tensor, fakes: Tensor, weight: float
) -> Tensor:
    """Return L1 + weight x LSGAN for each concept, [K]."""
    losses = (fakes - targets).abs().flatten(1).mean(1)
    if weight > 0:
        logits = run_discriminators(discriminator, discriminators, sources, fakes)
        losses = losses + weight * (logits - 1).square().flatten(1).mean(1)
    return losses


def discriminator_losses(
    discriminator: nn.Module, discriminators: Params, sources: Tensor, targets: Tensor, fakes: Tensor
) -> Tensor:
    """Return the discriminators' LSGAN loss for each concept, [K]; real and fake images take one pass together."""
    twice = torch.cat([sources, sources], -4)
    logits = run_discriminators(discriminator, discriminators, twice, torch.cat([targets, fakes.detach()], 1))
    real, fake = logits.chunk(2, dim=1)
    return 0.5 * ((real - 1).square().flatten(1).mean(1) + fake.square().flatten(1).mean(1))
