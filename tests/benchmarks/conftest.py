"""Benchmarks at their smallest size; their results go to the test's own folder."""

import json

import pytest

from benchmarks.harness import machine
from tests.pipeline.conftest import build_catalogue_zoo


@pytest.fixture(scope="session")
def catalogue_zoo(tmp_path_factory):
    """A finished zoo of solved networks of 16 px on concepts of the catalogue; read only."""
    return build_catalogue_zoo(tmp_path_factory.mktemp("catalogue") / "zoo")


@pytest.fixture
def rows_of(tmp_path, monkeypatch):
    """The rows that a benchmark has written, by its name."""
    monkeypatch.setattr(machine, "RESULTS", tmp_path)
    return lambda name: json.loads((tmp_path / f"{name}.json").read_text())["rows"]
