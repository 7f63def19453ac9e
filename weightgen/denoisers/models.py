"""The denoisers as diffusers models: the same networks, plus config, from_pretrained and save_pretrained.

denoiser = DENOISERS["transformer"](num_blocks=60, block_size=256)
denoiser = TransformerDenoiser.from_pretrained("model/denoiser")
"""

from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin

from weightgen.denoisers.transformer import TransformerNetwork
from weightgen.denoisers.unet1d import UNet1DNetwork


class TransformerDenoiser(TransformerNetwork, ModelMixin, ConfigMixin):
    """The transformer as a diffusers model, saved and loaded by its config."""

    __init__ = register_to_config(TransformerNetwork.__init__)  # type: ignore[assignment]


class UNet1DDenoiser(UNet1DNetwork, ModelMixin, ConfigMixin):
    """The one-dimensional U-Net as a diffusers model, saved and loaded by its config."""

    __init__ = register_to_config(UNet1DNetwork.__init__)  # type: ignore[assignment]


DENOISERS: dict[str, type[ModelMixin]] = {"transformer": TransformerDenoiser, "unet1d": UNet1DDenoiser}
