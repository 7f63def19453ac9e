"""Batches of pictures for polishing: concepts of the catalogue, edited by the zoo's teacher as it goes.

``weightgen`` may not import ``pipeline``; this iterable is the wire between them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

CONCEPTS_PER_BATCH, CROPS_PER_CONCEPT, NUM_CROPS = 8, 4, 1024


def picture_batches(zoo: Path, seed: int = 0, start_step: int = 0) -> Iterator[Any]:
    """Yield endless ``PictureBatch``es; batch number ``step`` depends on (seed, step) only.

    Each has 8 train concepts of the catalogue (no validation or test concept), one wording of each, and 4
    train crops with their targets.

    Args:
        zoo: its config says which teacher, photographs and image size.
    """
    import numpy as np
    import torch

    from pipeline.build_config import BuildConfig
    from pipeline.catalogue import polish_concepts
    from pipeline.fleet import make_teacher
    from pipeline.sources import crops, load_photos
    from weightgen.polish import PictureBatch
    from zoo.config import load_config

    config = load_config(BuildConfig, zoo / "config.json")
    teacher = make_teacher(config.teacher)
    concepts = [concept for concept in polish_concepts() if teacher.refusal(concept) is None]
    photos = crops(load_photos(config.train_photos), NUM_CROPS, config.image_size, config.seed)
    per_epoch = len(concepts) // CONCEPTS_PER_BATCH
    step = start_step
    while True:
        epoch, place = divmod(step, per_epoch)
        order = np.random.default_rng([seed, 0, epoch]).permutation(len(concepts))
        rng = np.random.default_rng([seed, 1, step])
        chosen = [concepts[i] for i in order[place * CONCEPTS_PER_BATCH :][:CONCEPTS_PER_BATCH]]
        prompts, sources, targets = [], [], []
        for concept in chosen:
            wordings = (concept.prompt, *concept.paraphrases)
            prompts.append(wordings[rng.integers(len(wordings))])
            sources.append(photos[rng.choice(len(photos), CROPS_PER_CONCEPT, replace=False)])
            targets.append(teacher.edit(concept, sources[-1]))
        yield PictureBatch(prompts, torch.stack(sources), torch.stack(targets))
        step += 1
