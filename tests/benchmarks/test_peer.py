"""Ours beside the peers on tiny pairs: every method gives its rows, and what was measured is not measured again."""

import pytest
import torch
from PIL import Image

from benchmarks import peer
from benchmarks.harness import recipes
from benchmarks.harness.recipes import RECIPES, Clock, TimeIsUp, jittered
from zoo.pictures.metrics import FIGURES
from zoo.pictures.pairs import write_pairs

OPTIONS = ("--size", "32", "--seconds", "0.01")


@pytest.fixture
def pairs(tmp_path):
    folder = tmp_path / "mine"
    sources = torch.rand(5, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    write_pairs(folder, [f"p{k}" for k in range(5)], sources, 1 - sources)
    return folder


def test_every_method_is_measured_on_the_same_held_out_pictures(pairs, rows_of, tmp_path):
    picture = tmp_path / "peers.png"
    peer.main([str(pairs), *OPTIONS, "--ours", "0.01", "0.02", "--methods", *RECIPES, "--picture", str(picture)])
    rows = rows_of("peer")
    assert [row["method"] for row in rows] == ["copying", "ours", "ours", *list(RECIPES)[1:]]
    assert {row["n"] for row in rows} == {1} and {row["count"] for row in rows} == {4}
    assert all(set(FIGURES) <= set(row) for row in rows)
    with Image.open(picture) as sheet:
        assert sheet.width > 32 * 7  # photograph, wanted, ours twice, three peers
    peer.main([str(pairs), *OPTIONS])
    assert rows_of("peer") == rows


def test_pairs_that_were_divided_by_hand_are_taken_as_they_are(pairs, rows_of, tmp_path):
    for part in ("train", "test"):
        sources = torch.rand(2, 3, 32, 32)
        write_pairs(tmp_path / "divided" / part, ["a", "b"], sources, 1 - sources)
    peer.main([str(tmp_path / "divided"), *OPTIONS, "--methods"])
    (row,) = rows_of("peer")
    assert (row["count"], row["n"], row["method"]) == (2, 2, "copying")


def test_the_clock_stands_still_while_it_measures(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(recipes, "processor_seconds", lambda: now[0])
    seen = []

    def measure(mark, edit):
        now[0] += 100  # seconds that measuring takes
        seen.append(mark)

    clock = Clock([10, 5], measure)
    now[0] += 6
    clock.tick(lambda pictures: pictures)
    assert seen == [5] and clock.seconds == 6 and clock.share == 0.6


def test_the_clock_ends_a_training_at_its_last_mark(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(recipes, "processor_seconds", lambda: now[0])
    clock = Clock([5.0], lambda mark, edit: None)
    clock.tick(lambda pictures: pictures)
    now[0] = 5.0
    with pytest.raises(TimeIsUp):
        clock.tick(lambda pictures: pictures)
    assert clock.share == 1


def test_jitter_moves_both_pictures_alike():
    picture = torch.rand(1, 3, 32, 32)
    source, target = jittered(torch.cat([picture, picture]))
    assert torch.equal(source, target) and source.shape == picture.shape
