"""Denoisers: networks that predict clean (normalised) weights from noisy ones and a text.

`NETWORKS` holds them as plain torch modules (fast to import), `DENOISERS` the same networks as diffusers
models (`ModelMixin` + `ConfigMixin`; importing it imports diffusers). To add one: write its file with a
network class, add one line here and one class in `models.py`.

Every network has the same face:
    network(noisy [B, num_blocks, block_size], timesteps [B], tokens [B, L, D], mask [B, L], pooled [B, D])
        -> [B, num_blocks, block_size]
    network.settings            its constructor arguments, JSON-able
    network.independent_blocks  True if blocks are denoised one by one; then `block_index` [n] may choose some
An empty text (mask all False) stands for "no prompt" and uses learned null states.
"""

from typing import Any

from torch import nn

from weightgen.denoisers.transformer import TransformerNetwork
from weightgen.denoisers.unet1d import UNet1DNetwork

NETWORKS: dict[str, type[nn.Module]] = {"transformer": TransformerNetwork, "unet1d": UNet1DNetwork}


def class_names() -> dict[str, str]:
    """Name of each network -> name of its diffusers class, as in config.json and model_index.json."""
    return {name: cls.__name__.replace("Network", "Denoiser") for name, cls in NETWORKS.items()}


def __getattr__(name: str) -> Any:
    if name == "DENOISERS":
        from weightgen.denoisers.models import DENOISERS

        return DENOISERS
    raise AttributeError(f"module 'weightgen.denoisers' has no attribute {name!r}")
