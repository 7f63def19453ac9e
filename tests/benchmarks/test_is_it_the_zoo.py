"""What parts of a weight generator are worth: variants lack what their names say, and are compared edit by edit."""

import math

import pytest

from benchmarks import is_it_the_zoo
from benchmarks.is_it_the_zoo import SomeKinds, main, summary, units_of
from pipeline import edit_groups
from pipeline.edit_groups import open_edit_groups
from weightgen.training import paired
from zoo.files import read_json

SIZES = {"EDITS": 8, "CONCEPTS": 3, "BY_PROGRAMS": 2, "PHOTOGRAPHS": {1.0: 5, 1.5: 5}, "HELD_OUT": 2}


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    for name, value in SIZES.items():
        monkeypatch.setattr(edit_groups, name, value)
    monkeypatch.setattr(paired, "VALIDATION_PAIRS", (1,))
    monkeypatch.setattr(is_it_the_zoo, "VALIDATION_PAIRS", (1,))


def run(zoo, runs, *more):
    small = ["--groups", "2", "--steps", "2", "--preset", "tiny", "--first-steps", "4", "--more-concepts", "0"]
    main([str(runs), "--zoo", str(zoo), "--programs", "pillow", "kornia", *small, *more])


def test_every_variant_is_trained_measured_and_not_done_again(catalogue_zoo, tmp_path, rows_of, monkeypatch):
    run(catalogue_zoo, tmp_path / "runs")
    rows = rows_of("is_it_the_zoo")
    assert {row["variant"] for row in rows} == set(is_it_the_zoo.VARIANTS)
    assert {(row["edits"], row["pairs"]) for row in rows} == {
        *((edits, 1) for edits in is_it_the_zoo.READ),
        ("concepts, text alone", 0),
    }
    assert all(row["ratio_low"] <= row["ratio"] <= row["ratio_high"] for row in rows)
    assert all(("over_full" in row) == (row["variant"] != "full") for row in rows)
    models = {name: tmp_path / "runs" / f"{name.replace(' ', '-')}-0-2" for name in is_it_the_zoo.VARIANTS}
    changes = {name: read_json(path / "config.json")["paired"] for name, path in models.items()}
    assert [name for name, config in changes.items() if config["random_init"]] == ["without weights"]
    assert [name for name, config in changes.items() if config["without_text"] == 1] == ["without text"]
    monkeypatch.setattr(is_it_the_zoo, "held_out_errors", None)
    run(catalogue_zoo, tmp_path / "runs", "--model", str(models["full"]))
    again = rows_of("is_it_the_zoo")
    assert [row for row in again if row["variant"] in is_it_the_zoo.VARIANTS] == rows
    assert len(again) > len(rows)


def test_groups_of_some_kinds_have_only_these(catalogue_zoo, tmp_path):
    groups = open_edit_groups(catalogue_zoo, tmp_path / "edits", count=1)
    whole, random = groups[0], SomeKinds(groups, ("random",))[0]
    assert len(whole.prompts) == 8
    assert random.prompts == ((), (), ())
    assert random.targets.equal(whole.targets[5:])
    assert random.maps.equal(whole.maps)


def test_a_concept_of_several_groups_counts_once(catalogue_zoo, tmp_path):
    groups = open_edit_groups(catalogue_zoo, tmp_path / "edits", count=1)
    units = [units_of(groups, k) for k in range(2)]
    concepts = sum(kind == "concept" for kind, _ in units[0])
    closed = {"group": 0, "pairs": 1, "closed": [0.0] * 8}
    own = [
        {**closed, "group": k, "words": [math.log(0.5)] * 8, "alone": [math.log(0.25 if k else 1)] * 8}
        for k in range(2)
    ]
    rows = {row["edits"]: row for row in summary({}, own, units, own)}
    assert rows["concepts, with words"]["ratio"] == pytest.approx(0.5)
    assert rows["concepts"]["n"] == concepts and rows["random"]["n"] == 2 * (8 - 2 - concepts)
    assert rows["concepts"]["ratio"] == rows["random"]["ratio"] == pytest.approx(0.5)
    assert rows["random"]["over_full"] == 1
