"""Records of a zoo as training data: a dataset in memory and deterministic, endless batches.

    train, validation = load_zoo("runs/small", "train"), load_zoo("runs/small", "validation")
    train = merge([train, load_zoo("runs/fresh", "train")])
    for batch in train.feed(batch_size=32, seed=0, start_step=0):
        batch.blocks, batch.texts

Batch number `step` is a function of (seed, step) and the dataset, so training goes on exactly where it was.
`weightgen.training.stream` gives the same kind of batches without holding the records in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from weightgen.normalize import BlockStatistics
from zoo.errors import WeightzooError
from zoo.layout import WeightLayout
from zoo.records import WeightRecord
from zoo.run import Zoo, open_zoo


@dataclass(frozen=True)
class WeightBatch:
    """Rows of one training batch: a text of each, and blocks float32 [b, num_blocks, block_size] as stored."""

    step: int
    blocks: Tensor
    texts: list[str]


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
        has_pseudo_labels: some of the weights were inferred from edits (`weightgen.training.pseudo_labels`).
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
    has_pseudo_labels: bool = False

    def __len__(self) -> int:
        return len(self.concept_ids)

    def evaluation_prompts(self, count: int = 4) -> tuple[list[str], list[int]]:
        """Return up to `count` paraphrases of each concept (its prompt if it has none), and the record of each text."""
        texts_of = [prompts[1 : 1 + count] or prompts[:1] for prompts in self.prompts]
        rows = [i for i, texts in enumerate(texts_of) for _ in texts]
        return [text for texts in texts_of for text in texts], rows

    @property
    def fingerprint(self) -> str:
        """Return 16 hexadecimal digits that name this training data: concepts, texts, weights, layout, base."""
        words = f"{self.layout.id} {self.base_sha256} {self.concept_ids} {self.prompts}"
        digest = hashlib.sha256(words.encode())
        digest.update(self.origin.encode() or self.blocks.half().numpy().tobytes())
        return digest.hexdigest()[:16]

    def statistics(self) -> BlockStatistics:
        """Return the statistics of these records."""
        return BlockStatistics.from_blocks(self.blocks, self.layout.mask)

    def wordings(self, count: int) -> list[tuple[str, ...]]:
        """Return the prompt and the paraphrases of up to `count` concepts, at random."""
        return [self.prompts[i] for i in np.random.default_rng(0).permutation(len(self))[:count]]

    def feed(
        self, batch_size: int, seed: int, start_step: int = 0, slots: range | None = None
    ) -> Generator[WeightBatch]:
        """Yield endless batches from `start_step` on; `slots` are the rows of the whole batch that are wanted."""
        rows = slice(slots.start, slots.stop) if slots else slice(None)
        for batch in batches(self, batch_size, seed, start_step):
            yield WeightBatch(batch.step, self.blocks[batch.concepts[rows]], batch.texts(self)[rows])

    def subset(self, indices: Sequence[int]) -> WeightDataset:
        """Return the records at `indices`."""
        return replace(
            self,
            concept_ids=tuple(self.concept_ids[i] for i in indices),
            prompts=tuple(self.prompts[i] for i in indices),
            attributes=tuple(self.attributes[i] for i in indices),
            blocks=self.blocks[list(indices)],
        )


def load_zoo(zoo: Zoo | str | Path, split: str = "train") -> WeightDataset:
    """Read every record of `split` of a finished zoo; the dataset is empty if the split is."""
    zoo = zoo if isinstance(zoo, Zoo) else open_zoo(zoo)
    return load_records(zoo, zoo.records(split))


def load_records(zoo: Zoo, rows: Iterable[WeightRecord]) -> WeightDataset:
    """Return these records of a zoo as a dataset."""
    records = list(rows)
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
        name=zoo.name,
    )


def merge(datasets: Sequence[WeightDataset]) -> WeightDataset:
    """Return one dataset of several zoos over the same base; of records with the same concept id the first stays.

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
    """Return (train, validation) by a hash of the concept id, for data without a validation split of its own."""
    digests = [int(hashlib.sha256(c.encode()).hexdigest()[:8], 16) / 16**8 for c in dataset.concept_ids]
    count = max(1, round(fraction * len(dataset)))
    chosen = set(np.argsort(digests, kind="stable")[:count].tolist())
    rest = [i for i in range(len(dataset)) if i not in chosen]
    return dataset.subset(rest), dataset.subset(sorted(chosen))


@dataclass(frozen=True)
class Batch:
    """One training batch of B records, by their numbers.

    Attributes:
        concepts: [B], records of the dataset.
        prompts: [B], which of each concept's prompts is shown.
    """

    step: int
    concepts: Tensor
    prompts: Tensor

    def texts(self, dataset: WeightDataset) -> list[str]:
        """Return the prompts of this batch."""
        rows = zip(self.concepts.tolist(), self.prompts.tolist(), strict=True)
        return [dataset.prompts[concept][prompt] for concept, prompt in rows]


def wording(seed: int, step: int, batch_size: int) -> np.ndarray:
    """Return numbers in [0, 1), [batch_size], which choose the wording that each record of a batch is shown with."""
    return np.random.default_rng([seed, 1, step]).random(batch_size)


def batches(dataset: WeightDataset, batch_size: int, seed: int, start_step: int = 0) -> Iterator[Batch]:
    """Yield endless batches from `start_step` on; each epoch is a fresh permutation, batches run across epochs.

    Raises:
        WeightzooError: the dataset is empty.
    """
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
