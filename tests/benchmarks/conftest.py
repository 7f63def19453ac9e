"""Benchmarks at their smallest size; their results go to the test's own folder."""

import json

import pytest

from benchmarks.harness import machine


@pytest.fixture
def rows_of(tmp_path, monkeypatch):
    """The rows that a benchmark has written, by its name."""
    monkeypatch.setattr(machine, "RESULTS", tmp_path)
    return lambda name: json.loads((tmp_path / f"{name}.json").read_text())["rows"]
