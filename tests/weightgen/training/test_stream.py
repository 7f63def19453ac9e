"""Streaming: every record once an epoch, the same batches however they are divided, and from any step on."""

import itertools
import json
import multiprocessing
import os
import signal
from collections import Counter
from contextlib import closing
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.weightgen.tiny_world import COLOURS, make_zoo
from tests.weightgen.training.team_member import config
from weightgen.training.data import load_zoo
from weightgen.training.loader import divide, load
from weightgen.training.stream import ShardStream, columns, hold_out_shards
from weightgen.training.weights import prepare
from zoo.errors import WeightzooError
from zoo.hub import publish
from zoo.hub.remote import open_named
from zoo.manifest import ShardEntry
from zoo.run import open_zoo


class FakeZoo:
    """Shards of records that hold nothing but their number."""

    def __init__(self, sizes):
        numbers = itertools.count()
        self.rows = {f"{i}": [next(numbers) for _ in range(size)] for i, size in enumerate(sizes)}
        self.opened, self.name = Counter(), "fake"

    def file(self, name):
        return name

    def shard(self, entry):
        self.opened[entry.name] += 1
        for number in self.rows[entry.name]:
            blocks = np.full((1, 2), number, np.float16)
            yield SimpleNamespace(blocks=blocks, prompt=f"{number}", paraphrases=(f"{number} again",))


def stream(sizes, window):
    shards = tuple(ShardEntry(f"{i}", "train", "", 0, size) for i, size in enumerate(sizes) if size)
    return ShardStream(FakeZoo(sizes), shards, window)


def take(data, count, *more):
    """The next ``count`` batches as (step, numbers, texts)."""
    with closing(data.feed(*more)) as feed:
        return [(b.step, b.blocks[:, 0, 0].int().tolist(), b.texts) for b in itertools.islice(feed, count)]


sizes = st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(any)


@settings(max_examples=60, deadline=None)
@given(sizes, st.integers(1, 12), st.sampled_from([1, 6, 2048]), st.integers(0, 3), st.integers(0, 30))
def test_every_record_once_an_epoch_and_any_step_can_be_begun_at(sizes, batch_size, window, seed, start):
    data = stream(sizes, window)
    total, epochs = len(data), 3
    batches = take(data, -(-epochs * total // batch_size), batch_size, seed)
    seen = [number for _, numbers, _ in batches for number in numbers]
    for epoch in range(epochs):
        assert sorted(seen[epoch * total : (epoch + 1) * total]) == list(range(total))
    state = json.loads(
        json.dumps({"step": min(start, len(batches))})
    )  # all that a checkpoint keeps of the data
    rest = take(data, len(batches) - state["step"], batch_size, seed, state["step"])
    assert rest == batches[state["step"] :]


@settings(max_examples=40, deadline=None)
@given(sizes, st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(0, 9))
def test_nodes_and_loader_workers_divide_the_same_batches(sizes, world, workers, rows, start):
    data = stream(sizes, 6)
    batch_size = world * rows
    whole = take(data, 4, batch_size, 0, start)
    parts = [
        take(data, 4, batch_size, 0, start, part)
        for slots in divide(range(batch_size), world)
        for part in divide(slots, workers)
    ]
    for i, (step, numbers, texts) in enumerate(whole):
        assert all(part[i][0] == step for part in parts)
        assert [n for part in parts for n in part[i][1]] == numbers
        assert [t for part in parts for t in part[i][2]] == texts


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 50))
def test_columns_hold_an_epoch(num_records, batch_size, step):
    for slot in range(batch_size):
        column = next(columns(num_records, batch_size, slot, step))
        assert 0 <= column.done < column.count and column.start + column.count <= num_records
    epoch = [
        next(c for c in columns(num_records, batch_size, slot, 0) if c.epoch >= 3)
        for slot in range(batch_size)
    ]
    ranges = sorted((c.start, c.start + c.count) for c in epoch if c.epoch == 3)
    assert ranges[0][0] == 0 and ranges[-1][1] == num_records
    assert all(a[1] == b[0] for a, b in itertools.pairwise(ranges))


def test_the_seed_and_the_epoch_shuffle():
    data = stream([8] * 8, 2048)
    first, again, other = (take(data, 16, 4, seed) for seed in (0, 0, 1))
    assert first == again != other
    assert first[:8] != [(s - 8, n, t) for s, n, t in take(data, 8, 4, 0, 16)]
    numbers = [n for _, batch, _ in first for n in batch]
    assert numbers[:64] != sorted(numbers[:64]) and {t.endswith("again") for _, _, b in first for t in b} == {
        True,
        False,
    }
    spread = [len({n // 8 for n in batch}) for _, batch, _ in first]
    assert sum(spread) / len(spread) > 3.5  # of 4 rows of a batch hardly two are of one shard


def test_a_worker_reads_its_own_shards_only():
    data = stream([8] * 8, 2048)
    take(data, 8, 8, 0, 0, range(4))  # half of the slots, half of an epoch's records
    assert sum(data.zoo.opened.values()) <= 5


def test_a_shard_with_fewer_records_than_the_manifest_says():
    data = stream([4, 4], 2048)
    data.zoo.rows["1"].pop()
    with pytest.raises(WeightzooError, match="1 has 3 records, its manifest says 4"):
        take(data, 4, 4, 0)
    with pytest.raises(WeightzooError, match="training split is empty"):
        take(stream([0], 4), 1, 4, 0)


def test_hold_out_is_whole_shards():
    data = stream([4] * 10, 8)
    train, validation = hold_out_shards(data, 0.15)
    assert len(validation) == 8 and len(train) == 32 and not set(train.shards) & set(validation.shards)
    with pytest.raises(WeightzooError, match="a single shard"):
        hold_out_shards(stream([4], 8))


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return make_zoo(tmp_path_factory.mktemp("zoo"))


def test_real_shards_on_disk_and_on_the_hub(zoo, hub):
    publish(zoo, "user/zoo", {"README.md": b"---\nlicense: apache-2.0\n---\n"})
    dataset = load_zoo(zoo)
    here, there = (ShardStream.open(open_named(name)) for name in (str(zoo), "user/zoo"))
    assert here.fingerprint == there.fingerprint and len(here) == len(COLOURS)
    with closing(here.feed(4, 0)) as a, closing(there.feed(4, 0)) as b:
        for _ in range(4):
            one, two = next(a), next(b)
            assert torch.equal(one.blocks, two.blocks) and one.texts == two.texts
            for blocks, text in zip(one.blocks, one.texts, strict=True):
                owner = next(i for i, prompts in enumerate(dataset.prompts) if text in prompts)
                assert torch.equal(dataset.blocks[owner], blocks)
    expected = dataset.statistics()
    torch.testing.assert_close(there.statistics().mean, expected.mean)
    torch.testing.assert_close(there.statistics().std, expected.std)


def test_loader_processes_give_the_same_batches(zoo, tmp_path):
    data, validation = ShardStream.open(open_zoo(zoo)), load_zoo(zoo, "validation")
    for source in (data, load_zoo(zoo)):
        runs = [prepare(config(), source, validation, tmp_path, loader_workers=workers) for workers in (0, 2)]
        with closing(runs[0].stage.batches(3)) as plain:
            expected = list(itertools.islice(plain, 3))
        with closing(runs[1].stage.batches(3)) as divided:
            for one, two in zip(expected, divided, strict=False):
                assert (one.step, one.texts) == (two.step, two.texts)
                assert torch.equal(one.blocks, two.blocks)


def test_loader_processes_leave_ctrl_c_to_the_one_that_trains(zoo):
    others = set(multiprocessing.active_children())
    with closing(load(load_zoo(zoo), 4, 0, workers=1)) as batches:
        next(batches)
        (process,) = set(multiprocessing.active_children()) - others
        os.kill(process.pid, signal.SIGINT)
        assert [next(batches).step for _ in range(20)] == list(range(1, 21))


def test_an_error_of_a_loader_process_is_the_error(zoo, tmp_path):
    import shutil

    shutil.copytree(zoo, tmp_path / "zoo")
    shard = next((tmp_path / "zoo" / "weights").glob("train-*"))
    shard.write_bytes(shard.read_bytes()[:-100])
    data = ShardStream.open(open_zoo(tmp_path / "zoo"))
    for workers in (0, 1):
        with (
            pytest.raises(WeightzooError, match="truncated or corrupt"),
            closing(load(data, 4, 0, workers=workers)) as batches,
        ):
            next(batches)
