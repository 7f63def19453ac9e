"""Records of a zoo as training data: a dataset in memory and deterministic, endless batches.

    train, validation = load_zoo("runs/small", "train"), load_zoo("runs/small", "validation")
    train = merge([train, load_zoo("runs/fresh", "train")])
    for batch in batches(train, batch_size=32, seed=0, start_step=0):
        blocks, texts = train.blocks[batch.concepts], batch.texts(train)

Batch number `step` is a function of (seed, step) and the dataset, so training goes on exactly where it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.errors import WeightzooError
from zoo.layout import WeightLayout
from zoo.run import open_zoo


@dataclass(frozen=True, eq=False)
class WeightDataset:
    """The records of one split, in memory.

    Attributes:
        concept_ids: one per record; all lists below have the same order.
        prompts: of each concept its prompt, then its paraphrases.
        attributes: of each concept its attributes, as in the catalogue.
        blocks: float32 [N, num_blocks, block_size], as stored (not normalised).
        base_generator: the base under these adapters (safetensors) and its sha256.
        name: the zoos that the records come from.
        origin: of a derived dataset, what its weights are a function of (their last bits may depend on the number
            of threads); "" for records as stored.
    """

    concept_ids: tuple[str, ...]
    prompts: tuple[tuple[str, ...], ...]
    attributes: tuple[dict[str, Any], ...]
    blocks: Tensor
    layout: WeightLayout
    base_generator: Path
    base_sha256: str
    name: str = ""
    origin: str = ""

    def __len__(self) -> int:
        return len(self.concept_ids)

    def evaluation_prompts(self, count: int = 4) -> tuple[list[str], list[int]]:
        """Up to `count` paraphrases of each concept (its prompt if it has none), and the record of each text."""
        asked = [prompts[1 : 1 + count] or prompts[:1] for prompts in self.prompts]
        return [text for texts in asked for text in texts], [i for i, texts in enumerate(asked) for _ in texts]

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that name this training data: concepts, texts, weights, layout, base."""
        words = f"{self.layout.id} {self.base_sha256} {self.concept_ids} {self.prompts}"
        digest = hashlib.sha256(words.encode())
        digest.update(self.origin.encode() or self.blocks.half().numpy().tobytes())
        return digest.hexdigest()[:16]

    def subset(self, indices: Sequence[int]) -> WeightDataset:
        """The records at `indices`."""
        return replace(
            self,
            concept_ids=tuple(self.concept_ids[i] for i in indices),
            prompts=tuple(self.prompts[i] for i in indices),
            attributes=tuple(self.attributes[i] for i in indices),
            blocks=self.blocks[list(indices)],
        )


def load_zoo(path: str | Path, split: str = "train") -> WeightDataset:
    """Reads every record of `split` of a finished zoo folder; the dataset is empty if the split is."""
    zoo = open_zoo(path)
    records = list(zoo.records(split))
    shape = (len(records), zoo.layout.num_blocks, zoo.layout.block_size)
    blocks = torch.empty(shape)
    for row, record in zip(blocks, records, strict=True):
        row.copy_(torch.from_numpy(np.array(record.blocks)))
    return WeightDataset(
        concept_ids=tuple(r.concept_id for r in records),
        prompts=tuple((r.prompt, *r.paraphrases) for r in records),
        attributes=tuple(r.attributes for r in records),
        blocks=blocks,
        layout=zoo.layout,
        base_generator=zoo.base_path,
        base_sha256=zoo.manifest.base_sha256,
        name=zoo.manifest.name,
    )


def merge(datasets: Sequence[WeightDataset]) -> WeightDataset:
    """One dataset of several zoos over the same base; of records with the same concept id the first stays.

    Raises:
        WeightzooError: layouts or base generators differ, so the weights are not comparable.
    """
    first = datasets[0]
    for other in datasets[1:]:
        if other.layout.id != first.layout.id or other.base_sha256 != first.base_sha256:
            raise WeightzooError(
                f"zoo {other.name} has another layout or base generator than {first.name}; "
                "build it on the same base (its build config's `base`) or train on it alone"
            )
    taken = dict.fromkeys(first.concept_ids)
    parts = [first]
    for other in datasets[1:]:
        part = other.subset([i for i, concept in enumerate(other.concept_ids) if concept not in taken])
        taken.update(dict.fromkeys(part.concept_ids))
        parts.append(part)
    return replace(
        first,
        concept_ids=sum((p.concept_ids for p in parts), ()),
        prompts=sum((p.prompts for p in parts), ()),
        attributes=sum((p.attributes for p in parts), ()),
        blocks=torch.cat([p.blocks for p in parts]),
        name="+".join(dict.fromkeys(p.name for p in datasets)),
    )


def hold_out(dataset: WeightDataset, fraction: float = 0.05) -> tuple[WeightDataset, WeightDataset]:
    """(train, validation) by a hash of the concept id, for data that has no validation split of its own."""
    digests = [int(hashlib.sha256(c.encode()).hexdigest()[:8], 16) / 16**8 for c in dataset.concept_ids]
    count = max(1, round(fraction * len(dataset)))
    chosen = set(np.argsort(digests, kind="stable")[:count].tolist())
    rest = [i for i in range(len(dataset)) if i not in chosen]
    return dataset.subset(rest), dataset.subset(sorted(chosen))


@dataclass(frozen=True)
class Batch:
    """concepts [B]: records of the dataset; prompts [B]: which of each concept's prompts is shown."""

    step: int
    concepts: Tensor
    prompts: Tensor

    def texts(self, dataset: WeightDataset) -> list[str]:
        """The prompts of this batch."""
        rows = zip(self.concepts.tolist(), self.prompts.tolist(), strict=True)
        return [dataset.prompts[concept][prompt] for concept, prompt in rows]


def batches(dataset: WeightDataset, batch_size: int, seed: int, start_step: int = 0) -> Iterator[Batch]:
    """Endless batches from `start_step` on; each epoch is a fresh permutation, batches run across epochs."""
    if len(dataset) == 0:
        raise WeightzooError("the training split is empty; build or download a zoo with training records")
    counts = np.array([len(prompts) for prompts in dataset.prompts])
    step, order, order_epoch = start_step, np.empty(0, int), -1
    while True:
        concepts = np.empty(batch_size, int)
        for i, position in enumerate(range(step * batch_size, (step + 1) * batch_size)):
            epoch, place = divmod(position, len(dataset))
            if epoch != order_epoch:
                order, order_epoch = np.random.default_rng([seed, 0, epoch]).permutation(len(dataset)), epoch
            concepts[i] = order[place]
        prompts = np.random.default_rng([seed, 1, step]).integers(counts[concepts])
        yield Batch(step, torch.from_numpy(concepts), torch.from_numpy(prompts))
        step += 1
