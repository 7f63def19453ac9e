"""How a weight generator is trained: the configs of the three stages, presets of the first, and its denoiser.

config = replace(PRESETS["small"]("transformer"), steps=2000)
second = PolishConfig(learning_rate=2e-4)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from torch import nn

from weightgen.objective import ObjectiveConfig
from weightgen.training.stream import WeightSource
from zoo.errors import WeightzooError


@dataclass(frozen=True)
class TrainConfig:
    """How a weight generator is trained on weights.

    Attributes:
        denoiser: a key of DENOISERS.
        denoiser_options: its constructor arguments, except the sizes that the data decides.
        steps: training steps, unless a limit in seconds is given.
        batch_size: records of one optimiser step, over all processes.
        accumulate: the number of parts in which each process computes its share of a batch, to save memory.
        precision: that of the forward pass; "auto" is bfloat16 (autocast) on a GPU, float32 elsewhere.
        optimizer: see `weightgen.training.optim.make_optimizers`. Muon is quicker, and quicker to overfit: on some
            hundred networks AdamW generalises better.
        warmup: share of the training over which the learning rate rises; then it falls as a cosine to zero.
        ema_decay: the decay of the averaged weights that are validated and saved; it is lower in the first steps.
        validate_every, checkpoint_every: a number of steps. The best validated weights are kept beside the checkpoints.
        keep_last: keep the last averaged weights instead of those with the best R2: where R2 varies more from one
            validation to the next than it rises, it cannot choose.
        device: "auto" takes a GPU when there is one.
    """

    denoiser: str = "transformer"
    denoiser_options: dict[str, Any] = field(default_factory=dict)
    text_encoder: str = "minilm"
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    steps: int = 1100
    batch_size: int = 32
    accumulate: int = 1
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    optimizer: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    clip_norm: float = 1.0
    ema_decay: float = 0.99
    validate_every: int = 50
    checkpoint_every: int = 100
    keep_checkpoints: int = 2
    keep_last: bool = False
    seed: int = 0
    device: str = "auto"


@dataclass(frozen=True)
class PolishConfig:
    """How a denoiser is polished on pictures; how many concepts and crops a step has is up to the batches.

    Args:
        steps: training steps, unless a limit in seconds is given.
        optimizer: see `weightgen.training.optim.make_optimizers`.
        random_init: forget the first stage and start from random weights (the control).
        warmup: share of the training over which the learning rate rises; then it falls as a cosine to zero.
        max_skipped: updates in a row that may be skipped because a gradient is not finite.
    """

    steps: int = 4000
    optimizer: Literal["adamw", "muon"] = "muon"
    learning_rate: float = 4e-4
    weight_decay: float = 0.05
    warmup: float = 0.03
    clip_norm: float = 1.0
    ema_decay: float = 0.995
    random_init: bool = False
    validate_every: int = 100
    checkpoint_every: int = 100
    keep_checkpoints: int = 2
    max_skipped: int = 5
    seed: int = 0
    device: str = "auto"


@dataclass(frozen=True)
class PairedConfig:
    """How a denoiser learns to read pairs.

    Args:
        steps: training steps, unless a limit in seconds is given.
        edits: of a step; they share their photographs.
        pairs: numbers of examples, one of which a step has.
        text_alone: share of the steps without pairs; these cost a fifth of the others.
        without_text: share of the edits of the other steps whose words are left out.
        random_init: forget what the model has learned from weights and start from random ones.
        shared: branches that all edits share, of `zoo.gans.branches.READS`; a model that has some keeps them.
        optimizer, warmup, max_skipped: see `PolishConfig`.
    """

    steps: int = 6000
    edits: int = 16
    pairs: tuple[int, ...] = (1, 1, 2, 3, 4, 6, 8, 12, 16)
    text_alone: float = 0.4
    without_text: float = 0.4
    random_init: bool = False
    shared: tuple[str, ...] = ("colour", "local", "relative", "whole")
    optimizer: Literal["adamw", "muon"] = "muon"
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    warmup: float = 0.02
    clip_norm: float = 1.0
    ema_decay: float = 0.995
    validate_every: int = 300
    checkpoint_every: int = 100
    keep_checkpoints: int = 2
    max_skipped: int = 5
    seed: int = 0
    device: str = "auto"


def small(denoiser: str = "transformer") -> TrainConfig:
    """Return the config of the embedded model: minutes on a CPU, on hundreds of networks."""
    if denoiser == "unet1d":
        return TrainConfig(denoiser="unet1d", objective=ObjectiveConfig(blocks_per_sample=15), steps=3000)
    return TrainConfig(denoiser=denoiser, denoiser_options={"num_layers": 2, "text_layers": 2})


def tiny(denoiser: str = "transformer") -> TrainConfig:
    """Return the config of a complete training in seconds, to see that everything works."""
    options: dict[str, dict[str, Any]] = {
        "unet1d": {"channels": [32, 32, 32], "width": 64},
        "transformer": {"width": 80, "num_layers": 2},
    }
    quick = replace(small(denoiser), denoiser_options=options.get(denoiser, {}), steps=60, batch_size=16)
    return replace(quick, validate_every=20, checkpoint_every=20)


def paper(denoiser: str = "unet1d") -> TrainConfig:
    """Return a config of the paper's scale, for a GPU: the per-block UNet, CLIP text, many steps."""
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
    """Return the config for a whole catalogue with pseudo-labels: it sees about eight times as many prompts."""
    return replace(
        config,
        steps=4 * config.steps,
        batch_size=2 * config.batch_size,
        optimizer="muon",
        ema_decay=0.995,
        keep_last=True,
    )


PRESETS: dict[str, Callable[..., TrainConfig]] = {"tiny": tiny, "small": small, "paper": paper}


def make_denoiser(config: TrainConfig, source: WeightSource, text_width: int) -> nn.Module:
    """Return the config's denoiser with the data's sizes, as a diffusers model.

    Raises:
        WeightzooError: the denoiser or one of its options is unknown.
    """
    from weightgen.denoisers import DENOISERS

    if config.denoiser not in DENOISERS:
        raise WeightzooError(f"unknown denoiser {config.denoiser!r}; known: {', '.join(DENOISERS)}")
    sizes = {"num_blocks": source.layout.num_blocks, "block_size": source.layout.block_size}
    try:
        return DENOISERS[config.denoiser](**sizes, text_width=text_width, **config.denoiser_options)
    except TypeError as error:
        raise WeightzooError(f"denoiser {config.denoiser}: {error}; check denoiser_options") from error
