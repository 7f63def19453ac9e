"""What every benchmark shares: the order of repetitions, ratios within them, the result file."""

import pytest
import torch

from benchmarks.harness import machine
from zoo.files import read_json


def test_loops_take_turns_and_none_is_always_first():
    called = []

    def loop(name, value):
        return lambda: called.append(name) or value

    found = machine.interleave({"a": loop("a", 1.0), "b": loop("b", 2.0)}, repetitions=4)
    assert found == {"a": [1.0] * 4, "b": [2.0] * 4}
    assert called == ["a", "b", "b", "a"] * 2


def test_ratios_are_taken_within_a_repetition():
    assert machine.ratio([2.0, 9.0, 4.0], [1.0, 3.0, 4.0]) == {"median": 2.0, "min": 1.0, "max": 3.0}
    with pytest.raises(ValueError):
        machine.ratio([1.0], [1.0, 2.0])


def test_rates_are_of_the_order_of_a_machine():
    assert 1e8 < machine.copy_rate(2**22) < 1e12
    assert 1e8 < machine.matrix_rate(size=128) < 1e14
    assert machine.matrix_rate(size=128, dtype=torch.bfloat16) > 0


def test_a_result_says_where_it_was_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(machine, "RESULTS", tmp_path)
    machine.write_result("toy", [{"loop": "ours", "seconds": machine.spread([1.0, 3.0, 2.0])}], {"bytes": 5.0})
    result = read_json(tmp_path / "toy.json")
    assert result["rows"][0]["seconds"] == {"median": 2.0, "min": 1.0, "max": 3.0}
    assert result["limits"] == {"bytes": 5.0}
    assert result["machine"]["torch"] == torch.__version__ and result["machine"]["processor"]
    assert capsys.readouterr().out == "loop ours  seconds 2 (1 to 3)\n"
