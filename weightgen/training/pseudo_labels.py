"""Pseudo-labels: weights for concepts that no GAN was trained for, from what their edits do to photographs.

    dataset = with_pseudo_labels(load_zoo("runs/small"), concepts, crops, teacher.edit)

How an edit changes a few photographs says far more about the weights that do it than its words do, and a teacher
renders it in milliseconds. So kernel ridge regression from changes to weights, fitted on a zoo's networks, gives
every concept of a catalogue a network that is good enough to learn the meaning of its prompts from; polishing then
mends the rest. Prompts are not used here, and the labels never count as records of the zoo.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from weightgen.training.data import WeightDataset, merge
from zoo.concepts import Concept
from zoo.errors import WeightzooError
from zoo.progress import say, track
from zoo.words import plural

SIDE = 16  # pixels of a changed photograph in a descriptor; 64 gave the same R2
EDITED_AT = 64  # pixels; an edit at 256 takes 16 times as long
BANDWIDTH, PENALTY = 2.0, 0.03  # of the median distance; the best of 4 kernels x 7 penalties by 5 folds
DESCRIPTOR_CROPS = 12  # photographs that a concept's edit is described by
MEASURED_FROM = 20  # networks: fewer say nothing about the labels of others

Edit = Callable[[Concept, Tensor], Tensor]
Predict = Callable[[Tensor], Tensor]


def with_pseudo_labels(
    dataset: WeightDataset, concepts: Sequence[Concept], photos: Tensor, edit: Edit
) -> WeightDataset:
    """Return `dataset` and, after its own records, those of `concepts` that it lacks, with pseudo-labels.

    Args:
        photos: [N, 3, S, S] in [0, 1]; every concept is described by what `edit` makes of the first ones.
        edit: a teacher's edit of photographs for a concept.

    Raises:
        WeightzooError: the dataset has fewer than two records.
    """
    columns = zip(dataset.concept_ids, dataset.prompts, dataset.attributes, strict=True)
    own = [Concept(name, texts[0], texts[1:], attributes) for name, texts, attributes in columns]
    known = set(dataset.concept_ids)
    others = [concept for concept in concepts if concept.id not in known]
    sources = small(photos[:DESCRIPTOR_CROPS])
    descriptors = torch.cat(
        [
            edit_descriptors(sources, edit(concept, sources)[None])
            for concept in track([*own, *others], "rendering the edits of the catalogue", "concepts")
        ]
    )
    described, rest = descriptors.split([len(own), len(others)])
    if len(own) >= MEASURED_FROM:
        r2 = held_out_r2(described, dataset.blocks)
        say(f"pseudo-labels for {plural(len(others), 'concept')}; R2 on left-out networks {r2:.2f}")
    wordings = tuple((concept.prompt, *concept.paraphrases) for concept in others)
    return label(dataset, described, tuple(concept.id for concept in others), wordings, rest)


def small(photos: Tensor) -> Tensor:
    """Return photographs [N, 3, S, S] at a side of `EDITED_AT` pixels at most: what edits do there is what counts."""
    side = min(EDITED_AT, photos.shape[-1])
    return F.interpolate(photos, (side, side), mode="area")


def edit_descriptors(sources: Tensor, targets: Tensor) -> Tensor:
    """Return what edits change, at a small size: sources [n, 3, S, S], targets [C, n, 3, S, S] -> [C, n * 3 * 256]."""
    size = (min(SIDE, sources.shape[-2]), min(SIDE, sources.shape[-1]))
    change = F.interpolate((targets - sources).flatten(0, 1), size=size, mode="area")
    return change.reshape(len(targets), -1)


def fit(descriptors: Tensor, blocks: Tensor) -> Predict:
    """Fit kernel ridge regression (exponential kernel) from descriptors [N, D] to blocks [N, num_blocks, block_size].

    Raises:
        WeightzooError: fewer than two networks, or numbers of rows that differ.
    """
    if len(descriptors) != len(blocks) or len(blocks) < 2:
        raise WeightzooError(
            f"{plural(len(descriptors), 'edit')} for {plural(len(blocks), 'network')}; "
            "give each network its edit, and at least two networks"
        )
    apart = torch.pdist(descriptors)  # cdist's distance of a row to itself is rounding noise
    scale = BANDWIDTH * apart[apart > 1e-6].median().clamp_min(1e-6)
    distances = torch.cdist(descriptors, descriptors)
    mean = blocks.mean(0)
    kernel = (-distances / scale).exp() + PENALTY * torch.eye(len(blocks))
    solution = torch.linalg.solve(kernel, (blocks - mean).flatten(1))

    def predict(edits: Tensor) -> Tensor:
        weights = (-torch.cdist(edits, descriptors) / scale).exp() @ solution
        return mean + weights.unflatten(1, mean.shape)

    return predict


def held_out_r2(descriptors: Tensor, blocks: Tensor, folds: int = 5) -> float:
    """Return the R2 of labels for networks that were left out of the fit, over `folds` folds."""
    fold = torch.arange(len(blocks)) % folds
    predicted = torch.empty_like(blocks)
    for index in range(folds):
        rest = fold != index
        predicted[~rest] = fit(descriptors[rest], blocks[rest])(descriptors[~rest])
    return float(1 - (predicted - blocks).square().sum() / (blocks - blocks.mean(0)).square().sum())


def label(
    dataset: WeightDataset,
    descriptors: Tensor,
    concept_ids: tuple[str, ...],
    prompts: tuple[tuple[str, ...], ...],
    others: Tensor,
) -> WeightDataset:
    """Return `dataset` and, after its own records, labelled concepts that it lacks.

    Args:
        descriptors: of the dataset's concepts, [N, D].
        concept_ids, prompts, others: more concepts, their wordings and descriptors [M, D].
    """
    predict = fit(descriptors, dataset.blocks)
    labelled = replace(
        dataset,
        concept_ids=concept_ids,
        prompts=prompts,
        attributes=tuple({} for _ in concept_ids),
        blocks=predict(others),
        name="pseudo-labels",
    )
    origin = f"{dataset.fingerprint} {BANDWIDTH} {PENALTY} {tuple(others.shape)}"
    return replace(merge([dataset, labelled]), origin=origin, has_pseudo_labels=True)
