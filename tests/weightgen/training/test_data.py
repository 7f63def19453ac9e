"""Training data: reading a zoo, merging, deterministic batches that resume anywhere, the held-out split."""

import itertools
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import weightgen.training.data
from weightgen.training.data import batches, hold_out, load_zoo, merge
from zoo.errors import WeightzooError
from zoo.records import WeightRecord


def test_batches_resume_anywhere(make_dataset):
    dataset = make_dataset(10)
    whole = list(itertools.islice(batches(dataset, 4, seed=3), 12))
    for start in (1, 5, 11):
        rest = list(itertools.islice(batches(dataset, 4, seed=3, start_step=start), 12 - start))
        for a, b in zip(whole[start:], rest, strict=True):
            assert a.step == b.step
            assert torch.equal(a.concepts, b.concepts) and torch.equal(a.prompts, b.prompts)
    other = next(batches(dataset, 4, seed=4))
    assert not torch.equal(other.concepts, whole[0].concepts)


def test_an_epoch_sees_every_record_once_and_all_wordings_occur(make_dataset):
    dataset = make_dataset(10)
    seen = torch.cat([b.concepts for b in itertools.islice(batches(dataset, 4, seed=0), 5)])
    for epoch in seen.split(10):
        assert sorted(epoch.tolist()) == list(range(10))
    prompts = torch.cat([b.prompts for b in itertools.islice(batches(dataset, 4, seed=0), 20)])
    assert set(prompts.tolist()) == {0, 1, 2}


def test_hold_out_is_stable_and_disjoint(make_dataset):
    dataset = make_dataset(20)
    train, validation = hold_out(dataset, 0.1)
    assert len(validation) == 2 and len(train) == 18
    assert not set(train.concept_ids) & set(validation.concept_ids)
    order = list(reversed(range(20)))
    assert set(hold_out(dataset.subset(order), 0.1)[1].concept_ids) == set(validation.concept_ids)


def test_merge_keeps_the_first_of_a_concept_and_refuses_another_base(make_dataset):
    dataset = make_dataset(12)
    merged = merge([dataset.subset(range(8)), dataset.subset(range(6, 12))])
    assert merged.concept_ids == dataset.concept_ids
    assert torch.equal(merged.blocks, dataset.blocks) and merged.fingerprint == dataset.fingerprint
    with pytest.raises(WeightzooError, match="another layout or base"):
        merge([dataset, replace(dataset, base_sha256="1" * 64)])


def test_load_zoo(make_dataset, monkeypatch):
    dataset = make_dataset(6)
    metrics = {"l1": 0.0, "l1_copy": 0.0, "psnr": 0.0, "kid": 0.0}
    records = [
        WeightRecord(c, p[0], p[1:], {"strength": 1.0}, "train", 0, 1, 1, b.half().numpy(), metrics)
        for c, p, b in zip(dataset.concept_ids, dataset.prompts, dataset.blocks, strict=True)
    ]
    opened = SimpleNamespace(
        name="small",
        layout=dataset.layout,
        manifest=SimpleNamespace(base_sha256="ab", name="small"),
        base_path=Path("base"),
        records=lambda split: iter(records if split == "train" else []),
    )
    monkeypatch.setattr(weightgen.training.data, "open_zoo", lambda path: opened)
    found = load_zoo("anywhere", "train")
    assert found.prompts == dataset.prompts and found.concept_ids == dataset.concept_ids
    assert np.array_equal(found.blocks.numpy(), dataset.blocks.half().float().numpy())
    texts, records = found.evaluation_prompts(1)
    assert texts == [p[1] for p in dataset.prompts] and records == list(range(len(dataset)))
    assert len(load_zoo("anywhere", "validation")) == 0
    with pytest.raises(WeightzooError, match="training split is empty"):
        next(batches(load_zoo("anywhere", "validation"), 4, 0))
