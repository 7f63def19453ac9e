"""Batches of pictures for polishing: concepts of the catalogue, edited by the zoo's teacher as it goes.

``weightgen`` may not import ``pipeline``; these batches are the wire between them.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONCEPTS_PER_BATCH, CROPS_PER_CONCEPT = 32, 1  # 8 x 4 costs as much and shows a quarter of the concepts
VALIDATION_CONCEPTS, VALIDATION_CROPS = 8, 4
NUM_CROPS, DESCRIPTOR_CROPS = 1024, 12
MEASURED_FROM = 20  # networks: fewer say nothing about the labels of others


@dataclass(frozen=True, eq=False)
class Studio:
    """What batches are made of: train photographs, a teacher, concepts.

    Args:
        crops: [NUM_CROPS, 3, S, S] of the zoo's train photographs.
        concepts: train concepts, the zoo's and those beyond it.
        validation: the zoo's validation concepts.
    """

    crops: Any
    teacher: Any
    concepts: list[Any]
    validation: list[Any]
    seed: int = 0

    @property
    def fingerprint(self) -> str:
        """What batches and validation are made from, but for the seed: a training is continued with the same only."""
        from zoo.concepts import concepts_text

        digest = hashlib.sha256(self.crops.numpy().tobytes())
        for concepts in (self.concepts, self.validation):
            digest.update(concepts_text(concepts).encode())
        digest.update(self.teacher.name.encode())
        return digest.hexdigest()

    def batches(self, start_step: int = 0) -> Iterator[Any]:
        """Yield endless ``PictureBatch``es; batch number ``step`` depends on (seed, step) only.

        Each has 32 train concepts, one wording of each, and a train crop with its target.
        """
        import numpy as np

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

    def validation_batches(self) -> list[Any]:
        """The validation concepts on the first of the train crops, asked for by a wording that is not the prompt.

        The crops are among those that batches are made of: what is new here are concepts and words. A concept
        without paraphrases is asked for by its prompt.
        """
        groups = [
            self.validation[i : i + VALIDATION_CONCEPTS]
            for i in range(0, len(self.validation), VALIDATION_CONCEPTS)
        ]
        picks = list(range(VALIDATION_CROPS))
        return [
            self._batch(group, [(*c.paraphrases, c.prompt)[0] for c in group], [picks] * len(group))
            for group in groups
        ]

    def pseudo_labelled(self, dataset: Any) -> Any:
        """The dataset and, after it, the catalogue's train concepts that it lacks, with pseudo-labels.

        Each is judged by what the teacher makes of the same few train crops.
        """
        from weightgen.pseudo_labels import held_out_r2, label
        from zoo.concepts import Concept
        from zoo.progress import say
        from zoo.words import plural

        own = [
            Concept(name, prompts[0], prompts[1:], attributes, "train")
            for name, prompts, attributes in zip(
                dataset.concept_ids, dataset.prompts, dataset.attributes, strict=True
            )
        ]
        known = set(dataset.concept_ids)
        others = [concept for concept in self.concepts if concept.id not in known]
        descriptors = self._descriptors([*own, *others])
        if len(own) >= MEASURED_FROM:
            r2 = held_out_r2(descriptors[: len(own)], dataset.blocks)
            say(f"pseudo-labels for {plural(len(others), 'concept')}; R2 on left-out networks {r2:.2f}")
        return label(
            dataset,
            descriptors[: len(own)],
            tuple(concept.id for concept in others),
            tuple((concept.prompt, *concept.paraphrases) for concept in others),
            descriptors[len(own) :],
        )

    def _descriptors(self, concepts: list[Any]) -> Any:
        import torch

        from weightgen.pseudo_labels import edit_descriptors
        from zoo.progress import track

        sources = self.crops[:DESCRIPTOR_CROPS]
        rows = [
            edit_descriptors(sources, self.teacher.edit(concept, sources)[None])
            for concept in track(concepts, "rendering the edits of the catalogue", "concepts")
        ]
        return torch.cat(rows)

    def _batch(self, concepts: list[Any], prompts: list[str], picks: list[Any]) -> Any:
        import torch

        from weightgen.pictures import PictureBatch

        sources = torch.stack([self.crops[pick] for pick in picks])
        targets = [self.teacher.edit(c, source) for c, source in zip(concepts, sources, strict=True)]
        return PictureBatch(prompts, sources, torch.stack(targets))


def open_studio(zoo: Path, seed: int = 0, more_concepts: int = 0) -> Studio:
    """Open what the config of a zoo names: its teacher, photographs and image size.

    Args:
        more_concepts: train concepts beyond the catalogue.
    """
    from pipeline.places import read_config
    from pipeline.sources import crops
    from pipeline.teachers import OwnPairs
    from pipeline.workbench import make_teacher, photographs
    from zoo.errors import WeightzooError
    from zoo.run import open_zoo

    config = read_config(zoo)
    teacher = make_teacher(config.teacher, config.teacher_options)
    if isinstance(teacher, OwnPairs):
        raise WeightzooError(
            f"the teacher {config.teacher!r} of {zoo} cannot edit other photographs, as --polish and --pseudo-labels "
            "need; leave them out, or use a zoo of another teacher"
        )
    opened = open_zoo(zoo)
    members = opened.concepts("train")
    validation = [c for c in opened.concepts("validation") if teacher.refusal(c) is None]
    concepts = [
        c for c in train_concepts(members, validation, more_concepts) if teacher.refusal(c) is None
    ]
    if not concepts:
        raise WeightzooError(
            f"the teacher {config.teacher!r} of {zoo} can edit no train concept; use a zoo of another teacher"
        )
    return Studio(
        crops=crops(photographs(config, "train"), NUM_CROPS, config.image_size, config.seed),
        teacher=teacher,
        concepts=concepts,
        validation=validation,
        seed=seed,
    )


def train_concepts(members: list[Any], validation: list[Any], more_concepts: int) -> list[Any]:
    """Return the catalogue's train concepts, those beyond it, and of the zoo's ``members`` what is neither."""
    from pipeline import catalogue

    concepts = [*catalogue.polish_concepts(), *catalogue.more_concepts(more_concepts)]
    known = {concept.id for concept in concepts}
    concepts += [concept for concept in members if concept.id not in known]
    held = {concept.id for concept in validation}
    return [concept for concept in concepts if concept.id not in held]
