"""The pairs of a fleet: rendered by the teacher, read from a team's folder, or from stored shards of pairs.

    images = fleet_images(context, task)           # what a fleet trains and is measured on

A concept that the teacher cannot do is left out and comes back as a row with the reason.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.executors.attempts import is_machines_fault
from pipeline.fleets.shared import RenderContext, check_own_files
from pipeline.run_folder.fleet_files import row
from pipeline.run_folder.pair_shards import read_targets
from pipeline.run_folder.shard_plan import FleetTask
from pipeline.teachers import OwnPairs
from zoo.concepts import Concept
from zoo.errors import WeightzooError


@dataclass(frozen=True)
class FleetImages:
    """Pairs of K concepts.

    Attributes:
        train_sources, test_sources: [N, 3, S, S] for all concepts, or [K, N, 3, S, S].
        train_targets, test_targets: [K, N, 3, S, S].
        failed: a row for every concept that is left out.
    """

    concepts: list[Concept]
    train_sources: Tensor
    train_targets: Tensor
    test_sources: Tensor
    test_targets: Tensor
    failed: list[dict[str, Any]]

    def pick(self, places: Sequence[int]) -> "FleetImages":
        """Return the pairs of the concepts at `places` only."""
        index = list(places)
        own = self.train_sources.dim() == 5
        return FleetImages(
            [self.concepts[i] for i in index],
            self.train_sources[index] if own else self.train_sources,
            self.train_targets[index],
            self.test_sources[index] if own else self.test_sources,
            self.test_targets[index],
            self.failed,
        )


def fleet_images(context: RenderContext, task: FleetTask) -> FleetImages:
    """Return the pairs of a fleet; stored ones where the teacher is expensive."""
    if not context.teacher.expensive:
        check_own_files(Path(task.run_dir), context.teacher, task.concepts)
        return render(context, task.concepts)
    stored = read_targets(task)
    known = {name: value for name, value in stored.items() if not isinstance(value, str)}
    concepts = [concept for concept in task.concepts if concept.id in known]
    failed = [row(c, "failed", str(stored[c.id])) for c in task.concepts if c.id not in known]
    train, test = (_stack((known[concept.id][part] for concept in concepts), context.train_sources) for part in (0, 1))
    return FleetImages(concepts, context.train_sources, train, context.test_sources, test, failed)


def render(context: RenderContext, concepts: Sequence[Concept]) -> FleetImages:
    """Let the teacher edit all crops for every concept."""
    kept: list[Concept] = []
    images: list[tuple[Tensor, ...]] = []
    failed = []
    for concept in concepts:
        pairs = render_concept(context, concept)
        if isinstance(pairs, str):
            failed.append(row(concept, "failed", pairs))
        else:
            kept.append(concept)
            images.append(pairs)
    device = context.train_sources
    train, test = (_stack((item[part] for item in images), device) for part in (1, 3))
    if not isinstance(context.teacher, OwnPairs):
        return FleetImages(kept, context.train_sources, train, context.test_sources, test, failed)
    own, other = (_stack((item[part] for item in images), device) for part in (0, 2))
    return FleetImages(kept, own, train, other, test, failed)


def render_concept(context: RenderContext, concept: Concept) -> tuple[Tensor, Tensor, Tensor, Tensor] | str:
    """Return train sources, train targets, test sources and test targets [N, 3, S, S], or why there are none."""
    teacher, config = context.teacher, context.config
    try:
        if reason := teacher.refusal(concept):
            return reason
        if isinstance(teacher, OwnPairs):
            size, seed = config.image_size, config.seed
            train = teacher.pairs(concept, "train", config.num_train_crops, size, seed)
            return *train, *teacher.pairs(concept, "test", config.num_test_crops, size, seed + 1)
        train_targets, test_targets = (
            teacher.edit(concept, sources) for sources in (context.train_sources, context.test_sources)
        )
        return context.train_sources, train_targets, context.test_sources, test_targets
    except WeightzooError as error:
        if is_machines_fault(error.__cause__):
            raise
        return f"the teacher failed: {error}"
    except Exception as error:
        if is_machines_fault(error):
            raise  # the fleet is tried again
        return f"the teacher failed: {type(error).__name__}: {error}".splitlines()[0]


def _stack(images: Iterable[Tensor], like: Tensor) -> Tensor:
    images = [image.to(like) for image in images]
    return torch.stack(images) if images else torch.empty(0)
