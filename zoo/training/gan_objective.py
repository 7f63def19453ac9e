"""The pix2pix objective for K GANs at once: `torch.func.vmap` of one network over a leading concept axis.

    edited = run_generators(base, params, photographs)                                # [K, N, 3, H, W]
    outputs = run_on_batch(base, params, batch)
    losses = generator_losses(discriminator, discriminators, batch, outputs, weight=0.01)     # [K]

L1 + `weight` x LSGAN (Isola et al., CVPR 2017; Mao et al., ICCV 2017). Whatever has no concept axis (the base's W and
A) runs once for the whole fleet.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from zoo.gans.layers import leaky_clamp
from zoo.gans.solved import Seen, SolvedGenerator
from zoo.training.batches import Batch

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
    if isinstance(generator, SolvedGenerator):  # what no adapter changes is computed once, and not under vmap
        if images.dim() == 5 and all(torch.equal(images[0], own) for own in images):
            images = images[0]
        if images.dim() == 5:
            own = ({name: value[k : k + 1] for name, value in params.items()} for k in range(len(images)))
            return torch.cat([run_generators(generator, p, batch) for p, batch in zip(own, images, strict=True)])
        edited = [[run_on_pixels(generator, params, generator.see(m)) for m in generator.strips(i)] for i in images]
        flat = torch.stack([torch.cat(parts, 1) for parts in edited], 1)  # [K, N, H W, 3]
        return flat.transpose(-1, -2).unflatten(-1, images.shape[-2:])

    def run_one(own: Params, batch: Tensor) -> Tensor:
        return functional_call(generator, own, (batch,))

    in_dims = (0, 0 if images.dim() == 5 else None)
    return vmap(run_one, in_dims=in_dims, randomness="different")(dict(params), images)


def run_on_pixels(generator: SolvedGenerator, params: Mapping[str, Tensor], seen: Seen) -> Tensor:
    """Return pixels as K networks edit them, [K, P, 3], clamped as those of other networks are.

    Args:
        seen: of P pixels for all networks, or with a leading K of each network's own.
    """

    def run_one(own: Params, pixels: Seen) -> Tensor:
        return functional_call(generator, own, (pixels,))

    edited = vmap(run_one, in_dims=(0, 0 if seen.maps.dim() == 3 else None))(dict(params), seen)
    return leaky_clamp(edited)


def run_on_batch(generator: nn.Module, params: Mapping[str, Tensor], batch: Batch) -> Tensor:
    """Return what K networks give for a batch, of the shape of its targets."""
    if isinstance(batch.inputs, Tensor):
        return run_generators(generator, params, batch.inputs)
    assert isinstance(generator, SolvedGenerator)
    return run_on_pixels(generator, params, batch.inputs)


def run_alone(network: nn.Module, batch: Batch) -> Tensor:
    """Return what one network with its own weights gives for a batch of one concept, without vmap."""
    outputs = network(batch.inputs)
    return (outputs if isinstance(batch.inputs, Tensor) else leaky_clamp(outputs))[None]


def run_discriminators(
    discriminator: nn.Module, params: Mapping[str, Tensor], sources: Tensor, images: Tensor
) -> Tensor:
    """Return logits [K, N, ...] of K discriminators, or of one for all without `params`, on images [K, N, 3, H, W]."""

    def run_one(own: Params, source: Tensor, image: Tensor) -> Tensor:
        return functional_call(discriminator, own, (source, image))

    own_dim = 0 if params else None
    return vmap(run_one, in_dims=(own_dim, 0 if sources.dim() == 5 else None, 0))(dict(params), sources, images)


def generator_losses(
    discriminator: nn.Module, discriminators: Params, batch: Batch, outputs: Tensor, weight: float
) -> Tensor:
    """Return L1 + weight x LSGAN for each concept, [K], of what the generators gave for a batch."""
    losses = (outputs - batch.targets).abs().flatten(1).mean(1)
    if weight > 0:
        logits = run_discriminators(discriminator, discriminators, batch.sources, batch.pictures(outputs))
        losses = losses + weight * (logits - 1).square().flatten(1).mean(1)
    return losses


def discriminator_losses(discriminator: nn.Module, discriminators: Params, batch: Batch, outputs: Tensor) -> Tensor:
    """Return the discriminators' LSGAN loss for each concept, [K]; real and fake images take one pass together."""
    twice = torch.cat([batch.sources, batch.sources], -4)
    pictures = torch.cat([batch.pictures(batch.targets), batch.pictures(outputs.detach())], 1)
    logits = run_discriminators(discriminator, discriminators, twice, pictures)
    real, fake = logits.chunk(2, dim=1)
    return 0.5 * ((real - 1).square().flatten(1).mean(1) + fake.square().flatten(1).mean(1))
