"""Generator architectures of the zoo, by name.

Adding one is one file (a frozen config dataclass with `build()`) and one line here. A generator maps RGB images
`[N, 3, H, W]` in [0, 1] to edited images of the same shape.
"""

from __future__ import annotations

from typing import Any

from zoo.gans.e2gan import E2ganConfig
from zoo.gans.pix2pix import Pix2pixConfig
from zoo.gans.solved import SolvedConfig

GANS = {"e2gan": E2ganConfig, "pix2pix": Pix2pixConfig, "solved": SolvedConfig}


def gan_name(config: Any) -> str:
    """Return the name of the architecture that `config` describes."""
    return next(name for name, cls in GANS.items() if isinstance(config, cls))
