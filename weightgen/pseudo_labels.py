"""Pseudo-labels: weights for concepts that no GAN was trained for, from what their edits do to photographs.

    labels = fit(edit_descriptors(sources, zoo_targets), zoo.blocks)
    blocks = labels(edit_descriptors(sources, other_targets))       # [M, num_blocks, block_size]

How an edit changes a few photographs says far more about the weights that do it than its words do, and a teacher
renders it in milliseconds. So kernel ridge regression from changes to weights, fitted on a zoo's networks, gives
every concept of a catalogue a network that is good enough to learn the meaning of its prompts from; polishing then
mends the rest. Prompts are not used here, and the labels never count as records of the zoo.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from weightgen.data import WeightDataset, merge
from zoo.errors import WeightzooError
from zoo.words import plural

SIDE = 16  # pixels of a changed photograph in a descriptor; 64 gave the same R2
BANDWIDTH, PENALTY = 2.0, 0.03  # of the median distance; the best of 4 kernels x 7 penalties by 5 folds

Predict = Callable[[Tensor], Tensor]


def edit_descriptors(sources: Tensor, targets: Tensor) -> Tensor:
    """What edits do to photographs, small: sources [n, 3, S, S], targets [C, n, 3, S, S] -> [C, n * 3 * 256]."""
    size = (min(SIDE, sources.shape[-2]), min(SIDE, sources.shape[-1]))
    change = F.interpolate((targets - sources).flatten(0, 1), size=size, mode="area")
    return change.reshape(len(targets), -1)


def fit(descriptors: Tensor, blocks: Tensor) -> Predict:
    """Kernel ridge regression (exponential kernel) from descriptors [N, D] to blocks [N, num_blocks, block_size].

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
    """R2 of labels for networks that were left out of the fit, over `folds` folds."""
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
    """`dataset` and, after its own records, labelled concepts that it lacks.

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
    return replace(merge([dataset, labelled]), origin=origin)
