"""Training presets: each is a function that gives a complete TrainConfig; a variant changes a few fields.

config = PRESETS["small"]("transformer")
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from weightgen.objective import ObjectiveConfig
from weightgen.training.weights import TrainConfig


def small(denoiser: str = "transformer") -> TrainConfig:
    """The embedded model: minutes on a CPU, on hundreds of networks."""
    if denoiser == "unet1d":
        return TrainConfig(denoiser="unet1d", objective=ObjectiveConfig(blocks_per_sample=15), steps=3000)
    return TrainConfig(denoiser=denoiser, denoiser_options={"num_layers": 2, "text_layers": 2})


def tiny(denoiser: str = "transformer") -> TrainConfig:
    """A complete training in seconds, to see that everything works."""
    options: dict[str, dict[str, Any]] = {
        "unet1d": {"channels": [32, 32, 32], "width": 64},
        "transformer": {"width": 80, "num_layers": 2},
    }
    quick = replace(small(denoiser), denoiser_options=options.get(denoiser, {}), steps=60, batch_size=16)
    return replace(quick, validate_every=20, checkpoint_every=20)


def paper(denoiser: str = "unet1d") -> TrainConfig:
    """The paper's scale, for a GPU: the per-block UNet, CLIP text, many steps."""
    options = (
        {"channels": [128, 192, 256], "width": 256, "num_heads": 8}
        if denoiser == "unet1d"
        else {"width": 384, "num_layers": 8, "num_heads": 6}
    )
    return TrainConfig(
        denoiser=denoiser,
        denoiser_options=options,
        text_encoder="clip:openai/clip-vit-large-patch14",
        steps=100_000,
        batch_size=128,
        learning_rate=2e-4,
        ema_decay=0.9995,
        validate_every=1000,
        checkpoint_every=2000,
    )


def for_pseudo_labels(config: TrainConfig) -> TrainConfig:
    """The same for a whole catalogue with pseudo-labels: about eight times as many prompts are seen."""
    return replace(
        config,
        steps=4 * config.steps,
        batch_size=2 * config.batch_size,
        optimizer="muon",
        ema_decay=0.995,
        keep_last=True,
    )


PRESETS: dict[str, Callable[..., TrainConfig]] = {"tiny": tiny, "small": small, "paper": paper}
