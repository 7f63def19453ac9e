"""The clock of `benchmarks.usable`: what it reads of a command's metrics, and when a quality is reached."""

import json
import math
from types import SimpleNamespace

import pytest

from benchmarks import usable
from benchmarks.usable import clocked, compare, reached


def test_one_evaluation_is_on_every_clock(tmp_path):
    metrics = tmp_path / "metrics.jsonl"
    rows = [{"seconds": seconds, "l1": l1} for seconds, l1 in ((0.5, 0.5), (1.0, 0.25), (4.5, 0.1))]
    metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert clocked(metrics, 10.0) == [(10.0, 0.5), (10.5, 0.25), (14.0, 0.1)]


def test_sooner_than_scratch_was_there_itself(tmp_path, monkeypatch):
    curves = {
        "scratch": [(1.0, 0.5), (4.0, 0.105), (6.0, 0.1), (9.0, 0.1)],
        "polished": [(2.0, 0.11), (5.0, 0.101)],
    }
    monkeypatch.setattr(usable, "type_command", lambda pairs, concept, init, *_: curves[init])
    row = compare(tmp_path, SimpleNamespace(id="a"), {"scratch": 4, "polished": 2}, "polished", tmp_path)
    assert row["scratch_seconds"] == 9.0 and row["scratch_seconds_to_1"] == 6.0
    assert row["polished_seconds_to_1"] is None and row["times_sooner_to_1"] == 0
    assert row["times_sooner_to_1.1"] == pytest.approx(4.0 / 2.0)


def test_a_quality_is_reached_at_the_first_row_that_has_it():
    curve = [(1.0, 0.5), (2.0, 0.2), (3.0, 0.3)]
    assert reached(curve, 0.5) == 1.0 and reached(curve, 0.3) == 2.0 and reached(curve, 0.1) == math.inf
