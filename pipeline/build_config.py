"""BuildConfig: everything that decides the bytes of a zoo. Frozen in the run folder at the first launch."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.fleets.base_gan import BaseConfig
from zoo.config import from_dict
from zoo.errors import WeightzooError
from zoo.gans import GANS
from zoo.gans.patchgan import PatchGanConfig
from zoo.layout import GROUPINGS
from zoo.shards import FORMATS
from zoo.training.train_gan import GanTrainConfig

OWN_CODE = ("command", "callable")  # teachers that run a person's own programs


@dataclass(frozen=True)
class BuildConfig:
    """How a zoo is built.

    Args:
        name: the zoo's name, as published.
        seed: of the crops; initialisation and batch order have the seeds of `base` and `training`.
        num_concepts: zoo concepts taken from the catalogue (train and validation).
        teacher, teacher_options: a key of `TEACHERS`, and what it is made with.
        train_photos, test_photos: `train` / `test` (the embedded photographs) or a folder; one folder for both
            is split by photograph.
        num_train_crops, num_test_crops: source images to train on and to measure on.
        image_size: side of the crops, pixels.
        gan, generator: a key of `GANS` and the fields of its config that differ from its defaults.
        training: of every concept; `fleet_size` concepts are trained at once and make one shard.
        median_l1: own held-out L1 of the probe's median concept; the gate rejects what has an L1 above
            `gate_factor` times it and above that of copying the source.
        feature_network: what KID is measured on.
        threads: per fleet. One: more would change the order of sums and so the bytes.
    """

    name: str = "weightzoo"
    seed: int = 0
    num_concepts: int = 512
    teacher: str = "filters"
    teacher_options: dict[str, Any] = field(default_factory=dict)
    train_photos: str = "train"
    test_photos: str = "test"
    num_train_crops: int = 256
    num_test_crops: int = 32
    image_size: int = 64
    gan: str = "e2gan"
    generator: dict[str, Any] = field(default_factory=dict)
    discriminator: PatchGanConfig = field(default_factory=PatchGanConfig)
    base: BaseConfig = field(default_factory=BaseConfig)
    training: GanTrainConfig = field(default_factory=GanTrainConfig)
    fleet_size: int = 8
    block_size: int = 256
    grouping: str = "layer"
    shard_format: str = "parquet"
    feature_network: str = "efficientnet-lite0"
    median_l1: float = 0.05
    gate_factor: float = 1.5
    threads: int = 1

    def __post_init__(self) -> None:
        known: dict[str, Iterable[str]] = {"gan": GANS, "grouping": GROUPINGS, "shard_format": FORMATS}
        for key, registry in known.items():
            if getattr(self, key) not in list(registry):
                raise WeightzooError(f"{key} {getattr(self, key)!r} is unknown; use one of {', '.join(registry)}")
        positive = ("num_concepts", "num_train_crops", "num_test_crops", "image_size", "fleet_size", "threads")
        for key in positive:
            if getattr(self, key) < 1:
                raise WeightzooError(f"{key} is {getattr(self, key)}; it must be at least 1")
        if self.num_test_crops < 2:
            raise WeightzooError("num_test_crops is 1; it must be at least 2, which KID compares")
        if self.training.mode != "adapter":
            raise WeightzooError(f"training.mode is {self.training.mode!r}; a zoo stores adapters, use 'adapter'")

    def generator_config(self) -> Any:
        """Return the full config of the generator's architecture, for crops of `image_size`."""
        config: Any = from_dict(GANS[self.gan], self.generator, "generator")
        return replace(config, image_size=self.image_size) if hasattr(config, "image_size") else config

    def gate_limit(self, l1_copy: float) -> float:
        """Return the largest held-out L1 that a concept may have."""
        return max(l1_copy, self.gate_factor * self.median_l1)

    def retry_training(self) -> GanTrainConfig:
        """Return the second attempt: the same initialisation and batch order, half the learning rate."""
        return replace(self.training, learning_rate=self.training.learning_rate / 2)
