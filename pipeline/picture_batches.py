"""Batches of pictures for polishing: concepts of the catalogue, edited by a zoo's teacher as they are needed.

edits = open_catalogue_edits(Path("runs/small"), more_concepts=8000)
for batch in edits.batches(start_step=0):
    batch.prompts, batch.sources, batch.targets          # a `zoo.pictures.picture_batches.PictureBatch`
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.concepts import catalogue
from pipeline.fleets.shared import make_teacher, photographs
from pipeline.run_folder.private_paths import read_config
from pipeline.sources import crops
from pipeline.teachers import OwnFiles, OwnPairs, Teacher
from zoo.concepts import Concept, concepts_text
from zoo.errors import WeightzooError
from zoo.pictures.picture_batches import PictureBatch
from zoo.run import open_zoo

CONCEPTS_PER_BATCH, CROPS_PER_CONCEPT = 32, 1  # 8 x 4 costs as much and shows a quarter of the concepts
VALIDATION_CONCEPTS, VALIDATION_CROPS = 8, 4
NUM_CROPS = 512


@dataclass(frozen=True, eq=False)
class CatalogueEdits:
    """Concepts, photographs, and the teacher that edits the photographs for the concepts.

    Attributes:
        crops: [NUM_CROPS, 3, S, S] of the zoo's train photographs.
        concepts: train concepts, the zoo's and those beyond it.
        validation: the zoo's validation concepts.
    """

    crops: Tensor
    teacher: Teacher
    concepts: list[Concept]
    validation: list[Concept]
    seed: int = 0

    @property
    def fingerprint(self) -> str:
        """Return a digest of all that batches are made from except the seed; a training goes on only with the same."""
        digest = hashlib.sha256(self.crops.numpy().tobytes())
        for concepts in (self.concepts, self.validation):
            digest.update(concepts_text(concepts).encode())
        digest.update(self.teacher.name.encode())
        return digest.hexdigest()

    def batches(self, start_step: int = 0) -> Iterator[PictureBatch]:
        """Yield endless batches from `start_step` on; batch number `step` depends on (seed, step) only.

        Each has 32 train concepts, one wording of each, and a train crop with its target.
        """
        per_epoch = max(len(self.concepts) // CONCEPTS_PER_BATCH, 1)
        step = start_step
        while True:
            epoch, place = divmod(step, per_epoch)
            order = np.random.default_rng([self.seed, 0, epoch]).permutation(len(self.concepts))
            rng = np.random.default_rng([self.seed, 1, step])
            chosen = [self.concepts[i] for i in order[place * CONCEPTS_PER_BATCH :][:CONCEPTS_PER_BATCH]]
            wordings = [(concept.prompt, *concept.paraphrases) for concept in chosen]
            prompts = [texts[rng.integers(len(texts))] for texts in wordings]
            picks = [rng.choice(len(self.crops), CROPS_PER_CONCEPT, replace=False) for _ in chosen]
            yield self._batch(chosen, prompts, picks)
            step += 1

    def validation_batches(self) -> list[PictureBatch]:
        """Return the validation concepts on the first train crops, each worded as one of its paraphrases.

        The crops are among those that batches are made of: what is new here are concepts and words. A concept
        without paraphrases is worded as its prompt.
        """
        groups = [
            self.validation[i : i + VALIDATION_CONCEPTS] for i in range(0, len(self.validation), VALIDATION_CONCEPTS)
        ]
        picks = np.arange(VALIDATION_CROPS)
        return [
            self._batch(group, [(*c.paraphrases, c.prompt)[0] for c in group], [picks] * len(group)) for group in groups
        ]

    def _batch(self, concepts: Sequence[Concept], prompts: list[str], picks: Sequence[np.ndarray]) -> PictureBatch:
        sources = torch.stack([self.crops[pick] for pick in picks])
        targets = [self.teacher.edit(c, source) for c, source in zip(concepts, sources, strict=True)]
        return PictureBatch(prompts, sources, torch.stack(targets))


def open_catalogue_edits(zoo: Path, seed: int = 0, more_concepts: int = 0) -> CatalogueEdits:
    """Open what the config of a zoo names: its teacher, photographs and image size.

    Args:
        more_concepts: train concepts beyond the catalogue.

    Raises:
        WeightzooError: the teacher edits no other photographs, or none of the concepts.
    """
    config = read_config(zoo)
    teacher = make_teacher(config.teacher, config.teacher_options)
    if isinstance(teacher, OwnPairs):
        raise WeightzooError(
            f"the teacher {config.teacher!r} of {zoo} cannot edit other photographs, as polishing and --pseudo-labels "
            "need; leave them out, or use a zoo of another teacher"
        )
    is_own = isinstance(teacher, OwnFiles)
    if is_own and more_concepts:
        raise WeightzooError(
            f"the teacher {config.teacher!r} of {zoo} does the zoo's own concepts only; leave --more-concepts out"
        )
    opened = open_zoo(zoo)
    validation = [c for c in opened.concepts("validation") if teacher.refusal(c) is None]
    members = opened.concepts("train")
    train = members if is_own else train_concepts(members, validation, more_concepts)
    concepts = [concept for concept in train if teacher.refusal(concept) is None]
    if not concepts:
        raise WeightzooError(
            f"the teacher {config.teacher!r} of {zoo} can edit no train concept; use a zoo of another teacher"
        )
    sources = crops(photographs(config, "train"), NUM_CROPS, config.image_size, config.seed)
    return CatalogueEdits(sources, teacher, concepts, validation, seed)


def train_concepts(members: Sequence[Concept], validation: Sequence[Concept], more_concepts: int) -> list[Concept]:
    """Return the catalogue's train concepts, those beyond it, and the zoo's `members` that are neither."""
    concepts = [*catalogue.polish_concepts(), *catalogue.more_concepts(more_concepts)]
    known = {concept.id for concept in concepts}
    concepts += [concept for concept in members if concept.id not in known]
    held = {concept.id for concept in validation}
    return [concept for concept in concepts if concept.id not in held]
