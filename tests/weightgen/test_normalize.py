"""Block statistics: exact inverses, unit deviation, padding stays zero, the floor, the zoo's own figures."""

import numpy as np
import pytest
import torch

from weightgen.normalize import STD_FLOOR, BlockStatistics
from zoo.errors import WeightzooError
from zoo.records import WeightRecord
from zoo.statistics import block_statistics
from zoo.tensors import write_tensors


def test_normalize_and_back(make_dataset):
    dataset = make_dataset(24, 4, 32)
    statistics = BlockStatistics.from_blocks(dataset.blocks, dataset.layout.mask)
    normalized = statistics.normalize(dataset.blocks)
    torch.testing.assert_close(statistics.denormalize(normalized), dataset.blocks, atol=1e-6, rtol=1e-5)
    assert not normalized[:, ~dataset.layout.mask].any()
    squares = (normalized**2).sum((0, 2)) / (len(dataset) * dataset.layout.mask.sum(1))
    torch.testing.assert_close(squares, torch.ones(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(normalized.mean(0), torch.zeros(4, 32), atol=1e-5, rtol=0)


def test_a_block_that_hardly_moves_is_not_blown_up():
    blocks = torch.randn(10, 3, 8)
    blocks[:, 1] *= 1e-9
    statistics = BlockStatistics.from_blocks(blocks, torch.ones(3, 8, dtype=torch.bool))
    assert statistics.std[1] == pytest.approx(STD_FLOOR * float(statistics.std.median()), rel=1e-5)
    assert statistics.normalize(blocks)[:, 1].abs().max() < 1e-5


def test_save_and_load(tmp_path, make_dataset):
    dataset = make_dataset()
    statistics = BlockStatistics.from_blocks(dataset.blocks, dataset.layout.mask)
    statistics.save(tmp_path / "statistics.safetensors")
    loaded = BlockStatistics.load(tmp_path / "statistics.safetensors")
    for name in ("mean", "std", "mask"):
        assert torch.equal(getattr(loaded, name), getattr(statistics, name))


def test_a_zoo_s_statistics_are_those_of_its_records(make_dataset):
    dataset = make_dataset()
    halves = dataset.blocks.half()
    metrics = {"l1": 0.0, "l1_copy": 0.0, "psnr": 0.0, "kid": 0.0}
    records = [
        WeightRecord(c, "p", (), {}, "train", 0, 1, 1, np.asarray(b.numpy()), metrics)
        for c, b in zip(dataset.concept_ids, halves, strict=True)
    ]
    found = BlockStatistics.from_zoo(block_statistics(records, dataset.layout), dataset.layout)
    expected = BlockStatistics.from_blocks(halves.float(), dataset.layout.mask)
    torch.testing.assert_close(found.mean, expected.mean)
    torch.testing.assert_close(found.std, expected.std)


def test_errors(tmp_path):
    with pytest.raises(WeightzooError, match="no weights to compute statistics from"):
        BlockStatistics.from_blocks(torch.empty(0, 2, 4), torch.ones(2, 4, dtype=torch.bool))
    (tmp_path / "s.safetensors").write_bytes(b"short")
    with pytest.raises(WeightzooError, match="is not a readable safetensors file"):
        BlockStatistics.load(tmp_path / "s.safetensors")
    write_tensors(tmp_path / "s.safetensors", {"mean": torch.zeros(2)})
    with pytest.raises(WeightzooError, match="holds no block statistics"):
        BlockStatistics.load(tmp_path / "s.safetensors")
