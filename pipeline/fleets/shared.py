"""What the workers of a run share: photographs, teacher, base generator. Loaded once per process.

A :class:`RenderContext` renders pairs; a :class:`TrainingContext` trains on them as well and so needs a base.
"""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from pipeline.build_config import BuildConfig
from pipeline.run_folder.private_paths import read_config
from pipeline.sources import crops, photo_sets, photos_left_out
from pipeline.teachers import TEACHERS, OwnFiles, OwnPairs, Teacher
from zoo.adapters.lora import load_base
from zoo.concepts import Concept
from zoo.config import config_diff
from zoo.errors import WeightzooError, WeightzooWarning
from zoo.files import read_json, sha256_file
from zoo.layout import WeightLayout
from zoo.pictures.features import load_features
from zoo.tensors import load_discriminator
from zoo.training.batches import Looked, seen_by

PHOTOGRAPHS_FILE = "photographs.json"


@dataclass(frozen=True)
class RenderContext:
    """Photographs and who edits them; `train_sources` and `test_sources` are [N, 3, S, S]."""

    config: BuildConfig
    teacher: Teacher
    train_sources: Tensor
    test_sources: Tensor


@dataclass(frozen=True)
class TrainingContext(RenderContext):
    """What all fleets of a run share; `seen` is what the generator is trained on of the train photographs."""

    seen: Tensor | Looked
    layout: WeightLayout
    generator: nn.Module
    discriminator: nn.Module
    features: nn.Module


def load_render_context(run_dir: str, device: str = "cpu") -> RenderContext:
    """Load what renders the pairs of a frozen run folder."""
    config = read_config(run_dir)
    check_photographs(Path(run_dir), config)
    train, test = source_crops(config)
    teacher = make_teacher(config.teacher, config.teacher_options)
    if not teacher.expensive:  # an expensive one is loaded by those who render, not by those who read what it did
        teacher.prepare(device)
    return RenderContext(config, teacher, train.to(device), test.to(device))


def load_training_context(run_dir: str, device: str = "cpu") -> TrainingContext:
    """Load what all fleets of a frozen run folder with a base share."""
    context, folder = load_render_context(run_dir, device), Path(run_dir)
    generator = load_base(folder / "base" / "generator.safetensors").to(device)
    own = isinstance(context.teacher, OwnPairs)  # it brings other photographs with every concept
    return TrainingContext(
        **vars(context),
        seen=context.train_sources if own else seen_by(generator, context.train_sources, context.config.training.seed),
        layout=WeightLayout.load(folder / "layout.json"),
        generator=generator,
        discriminator=load_discriminator(folder / "base" / "discriminator.safetensors").to(device),
        features=load_features(context.config.feature_network).to(device),
    )


def source_crops(config: BuildConfig) -> tuple[Tensor, Tensor]:
    """Return source images to train on and to measure on, [N, 3, S, S] each, from different photographs."""
    train, test = (photographs(config, part) for part in ("train", "test"))
    return (
        crops(train, config.num_train_crops, config.image_size, config.seed),
        crops(test, config.num_test_crops, config.image_size, config.seed + 1),
    )


def photographs(config: BuildConfig, part: str) -> list[Path]:
    """Return the photographs of `part`, "train" or "test": none is in both, even where one folder holds them all."""
    return photo_sets(config.train_photos, config.test_photos)[("train", "test").index(part)]


def source_notes(config: BuildConfig, concepts: Iterable[Concept]) -> list[str]:
    """Return what a team's own pairs are taken for, and which files of its own pairs or photographs are left out."""
    teacher = make_teacher(config.teacher, config.teacher_options)
    own = teacher.notes(concepts) if isinstance(teacher, OwnPairs) else []
    folders = dict.fromkeys((config.train_photos, config.test_photos))  # they may be one
    return own + [line for folder in folders for line in photos_left_out(folder)]


def warn_of_pairs(teacher: Teacher, concepts: Iterable[Concept]) -> None:
    """Warn of what looks wrong with a team's own pairs; nothing for other teachers.

    Raises:
        WeightzooError: a picture that cannot be read, or pairs that are none.
    """
    for line in teacher.doubts(concepts) if isinstance(teacher, OwnPairs) else ():
        warnings.warn(line, WeightzooWarning, stacklevel=2)


def photograph_hashes(config: BuildConfig) -> dict[str, dict[str, str]]:
    """Return the sha256 of every source photograph by file name, for train and test."""
    sets = photo_sets(config.train_photos, config.test_photos)
    return {
        key: {path.name: sha256_file(path) for path in paths}
        for key, paths in zip(("train", "test"), sets, strict=True)
    }


def own_hashes(teacher: Teacher, concepts: Iterable[Concept]) -> dict[str, dict[str, dict[str, str]]]:
    """Return the sha256 of every file of a team's own that its teacher works with, by concept.

    They stand under "pairs" where they are pairs, under "teacher" otherwise; nothing for teachers without such files.
    """
    if not isinstance(teacher, OwnFiles):
        return {}
    hashed = cache(sha256_file)  # a program is that of many concepts
    files = {concept.id: {name: hashed(path) for name, path in teacher.files(concept).items()} for concept in concepts}
    return {"pairs" if isinstance(teacher, OwnPairs) else "teacher": files}


def check_photographs(run_dir: Path, config: BuildConfig) -> None:
    """Raise `WeightzooError` when the photographs are not those that the run was started with."""
    frozen = read_json(run_dir / PHOTOGRAPHS_FILE)
    _check_same(run_dir, {key: frozen.get(key, {}) for key in ("train", "test")}, photograph_hashes(config))


def check_own_files(run_dir: Path, teacher: Teacher, concepts: Iterable[Concept]) -> None:
    """Raise `WeightzooError` when a team's own files of `concepts` are not those that the run was started with."""
    for key, now in own_hashes(teacher, concepts).items():
        frozen = read_json(run_dir / PHOTOGRAPHS_FILE).get(key, {})
        what = "photographs" if key == "pairs" else "files that the teacher works with"
        _check_same(run_dir, {key: {name: frozen.get(name, {}) for name in now}}, {key: now}, what)


def _check_same(run_dir: Path, frozen: Any, now: Any, what: str = "photographs") -> None:
    if difference := config_diff(frozen, now):
        raise WeightzooError(
            f"the {what} differ from those that {run_dir} was started with: "
            f"{difference.splitlines()[0].partition(':')[0]}; restore them or build into another folder"
        )


def make_teacher(name: str, options: dict[str, Any] | None = None) -> Teacher:
    """Return the teacher called `name`, made with `options`.

    Raises:
        WeightzooError: unknown, or an option that it does not have.
    """
    if name not in TEACHERS:
        raise WeightzooError(f"teacher {name!r} is unknown; use one of {', '.join(TEACHERS)}")
    try:
        return TEACHERS[name](**options or {})
    except TypeError as error:
        raise WeightzooError(f"teacher {name!r}: {error}; check teacher_options") from None
