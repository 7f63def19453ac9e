"""weightgen: learns a zoo of image-to-image GANs and generates the weights of new ones from a prompt.

`from weightgen import WeightDiffusionPipeline` gives the diffusers pipeline. Names load on first use, because
diffusers takes seconds to import and one-step generation does not need it.
"""

from importlib import import_module
from typing import Any

_LAZY = {
    "WeightDiffusionPipeline": "weightgen.sampling",
    "TransformerDenoiser": "weightgen.denoisers.models",
    "UNet1DDenoiser": "weightgen.denoisers.models",
    "ModelMixin": "diffusers.models.modeling_utils",  # diffusers looks here for the base class of our components
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'weightgen' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
