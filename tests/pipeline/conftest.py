"""A zoo small enough to be built in seconds, inside the test's own process."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import pipeline.build
from pipeline.build import build
from pipeline.build_config import BuildConfig
from pipeline.concepts.catalogue import zoo_concepts
from pipeline.executors.attempts import Outcome
from pipeline.executors.ray import EXECUTORS
from pipeline.fleets.base_gan import BaseConfig
from pipeline.presets import tiny
from pipeline.teachers import TEACHERS
from pipeline.teachers.filters import FiltersTeacher
from zoo.concepts import Concept
from zoo.errors import WeightzooError


def run_inline(tasks: Iterable[Any], fn: Callable[[Any], Any], workers: int = 1) -> Iterator[Outcome]:
    """An executor without processes."""
    for task in tasks:
        try:
            yield Outcome(task, fn(task))
        except WeightzooError as error:
            yield Outcome(task, error=str(error))


def micro_config() -> BuildConfig:
    """Seconds instead of a minute: 16 px, 3 steps, fleets of two."""
    preset = tiny()
    return replace(
        preset,
        name="micro",
        num_concepts=6,
        image_size=16,
        num_train_crops=8,
        num_test_crops=4,
        base=BaseConfig(num_concepts=2, steps=2),
        training=replace(preset.training, steps=3),
        fleet_size=2,
        median_l1=10.0,
    )


def micro_concepts() -> list[Concept]:
    """Three train concepts of different strength and two for validation."""
    recipe = [{"op": "invert"}]
    train = [
        Concept(f"invert-{i}", f"Invert it {i}", ("negative",), _attributes(recipe, i / 4)) for i in (2, 3, 4)
    ]
    own = [Concept(f"check-{i}", f"Check {i}", (), _attributes(recipe, i / 4), "validation") for i in (1, 2)]
    return train[:2] + own[:1] + train[2:] + own[1:]


def _attributes(recipe: list[dict[str, Any]], strength: float) -> dict[str, Any]:
    return {"recipe": recipe, "strength": strength}


class BreakableTeacher(FiltersTeacher):
    """The filters teacher, which obeys ``break`` in a concept's attributes."""

    def refusal(self, concept: Concept) -> str | None:
        return "not this one" if concept.attributes.get("break") == "refuse" else super().refusal(concept)

    def edit(self, concept: Concept, photos: torch.Tensor) -> torch.Tensor:
        broken = concept.attributes.get("break")
        if broken == "raise":
            raise ValueError("cannot")
        return super().edit(concept, photos) * (float("nan") if broken == "nan" else 1.0)


@pytest.fixture(scope="session")
def micro() -> BuildConfig:
    return micro_config()


@contextmanager
def building_inline() -> Iterator[None]:
    """Builds inside this process with a teacher that can fail."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(EXECUTORS, "local", run_inline)
        patch.setattr(pipeline.build, "run_local", run_inline)
        patch.setitem(TEACHERS, "filters", BreakableTeacher)
        yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def inline() -> Iterator[None]:
    with building_inline():
        yield


@pytest.fixture(scope="session")
def micro_zoo(micro, tmp_path_factory):
    """A finished run folder; read only."""
    run_dir = tmp_path_factory.mktemp("zoo") / "micro"
    with building_inline():
        build(run_dir, micro, micro_concepts())
    return run_dir


def build_catalogue_zoo(run_dir: Path) -> Path:
    """Build a zoo of seconds on catalogue concepts, one of them for validation."""
    pool = zoo_concepts(60)
    concepts = pool[:5] + [next(concept for concept in pool if concept.split == "validation")]
    with building_inline():
        build(run_dir, micro_config(), concepts)
    return run_dir
