"""Complete build configurations by name. A variant calls one and changes a field or two."""

from collections.abc import Callable
from dataclasses import replace

from pipeline.build_config import BuildConfig
from pipeline.fleets.base_gan import BaseConfig
from zoo.gans.patchgan import PatchGanConfig
from zoo.training.train_gan import GanTrainConfig

BETA1 = 0.9  # of Adam in fleets, see docs/LOG.md


def small() -> BuildConfig:
    """Return the embedded zoo: 528 concepts at 256 px, about an hour and a half on two cores."""
    return BuildConfig(
        name="weightzoo-small",
        num_concepts=528,
        train_photos="learning",
        num_train_crops=128,
        num_test_crops=24,
        image_size=256,
        gan="solved",
        generator={"branches": ["whole"], "hidden": 64, "lora_rank": 15},
        base=BaseConfig(num_concepts=48, steps=2000, output_rate=0.2),
        training=GanTrainConfig(steps=300, learning_rate=1e-2, beta1=BETA1, ema=0.98, output_rate=0.2),
        median_l1=0.03,
    )


def tiny() -> BuildConfig:
    """Return a complete build in about a minute on two cores: to see it work, and for the tests."""
    return replace(
        small(),
        name="weightzoo-tiny",
        num_concepts=16,
        num_train_crops=32,
        num_test_crops=16,
        image_size=64,
        generator={"branches": ["whole"], "hidden": 16, "lora_rank": 3},
        discriminator=PatchGanConfig(channels=(8, 16)),
        base=BaseConfig(num_concepts=8, steps=60, output_rate=0.2),
        training=GanTrainConfig(steps=60, learning_rate=1e-2, beta1=BETA1, ema=0.98, output_rate=0.2),
        median_l1=0.15,
    )


def paper() -> BuildConfig:
    """Return the paper's scale and architecture (`zoo.gans.e2gan`), for GPUs: adapters of 0.11 M on 7.0 M parameters.

    `filters` stands in for the paper's diffusion editor; `--teacher instruct_pix2pix` names the real one.
    """
    return BuildConfig(
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
        median_l1=0.04,
    )


PRESETS: dict[str, Callable[[], BuildConfig]] = {"tiny": tiny, "small": small, "paper": paper}
