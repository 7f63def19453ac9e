"""Complete build configurations by name. A variant calls one and changes a field or two."""

from collections.abc import Callable
from dataclasses import replace

from pipeline.build_config import BuildConfig
from pipeline.fleets.base_gan import BaseConfig
from zoo.gans.patchgan import PatchGanConfig
from zoo.training.train_gan import GanTrainConfig

BETA1 = 0.9  # of Adam in fleets; the embedded zoo has 0.5 and half of `small`'s learning rate, see docs/LOG.md


def small() -> BuildConfig:
    """Return a zoo of the embedded one's size: 64 px, about two hours on two cores."""
    return BuildConfig(
        name="weightzoo-small",
        num_concepts=528,
        base=BaseConfig(num_concepts=48, steps=1200),
        training=GanTrainConfig(steps=150, learning_rate=2e-2, beta1=BETA1),
        median_l1=0.04,
    )


def tiny() -> BuildConfig:
    """Return a complete build in about a minute on two cores: to see it work, and for the tests."""
    return replace(
        small(),
        name="weightzoo-tiny",
        num_concepts=16,
        num_train_crops=32,
        num_test_crops=16,
        image_size=32,
        generator={"channels": [8, 16, 24, 32], "lora_rank": 4, "attention_rank": 2, "head_width": 8},
        discriminator=PatchGanConfig(channels=(8, 16)),
        base=BaseConfig(num_concepts=8, steps=60),
        training=GanTrainConfig(steps=60, learning_rate=1e-2, beta1=BETA1),
        median_l1=0.15,
    )


def paper() -> BuildConfig:
    """Return the paper's scale, for GPUs: 256 px, 3,900 concepts, adapters of 0.11 M on 7.0 M parameters.

    `filters` stands in for the paper's diffusion editor; `--teacher instruct_pix2pix` names the real one.
    """
    return replace(
        small(),
        name="weightzoo-paper",
        num_concepts=3900,
        num_train_crops=1000,
        num_test_crops=64,
        image_size=256,
        generator={"channels": [64, 128, 256, 320], "lora_rank": 31, "attention_rank": 15, "head_width": 64},
        discriminator=PatchGanConfig(channels=(64, 128, 256, 512)),
        base=BaseConfig(num_concepts=64, steps=10_000, concepts_per_step=16),
        training=GanTrainConfig(steps=1000, learning_rate=1e-2, beta1=BETA1),
        fleet_size=16,
    )


PRESETS: dict[str, Callable[[], BuildConfig]] = {"tiny": tiny, "small": small, "paper": paper}
