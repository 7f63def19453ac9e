"""Not a copy: a copy of the examples' content is found, chance is not, and the whole path runs."""

import pytest
import torch

from benchmarks import not_a_copy
from benchmarks.not_a_copy import BANDS, correlations, main, sets_of
from pipeline import edit_groups
from tests.weightgen.tiny_world import make_paired_model
from zoo.errors import WeightzooError


def test_every_part_is_measured_and_not_measured_again(catalogue_zoo, tmp_path, rows_of, monkeypatch):
    model = make_paired_model(tmp_path / "paired", catalogue_zoo)
    monkeypatch.setattr(not_a_copy, "SETS", {})
    for name, value in {"EDITS": 6, "CONCEPTS": 2, "BY_PROGRAMS": 2}.items():
        monkeypatch.setattr(edit_groups, name, value)
    sizes = ["--edits", "2", "--pairs", "1", "2", "--programs", "pillow", "kornia"]
    command = [str(tmp_path / "out"), *sizes, "--model", str(model), "--zoo", str(catalogue_zoo)]
    main(command)
    rows = rows_of("not_a_copy")
    weights, pictures, content = (
        [row for row in rows if row["measure"] == measure] for measure in ("weights", "pictures", "content")
    )
    networks = [(row["network"], row["pairs"]) for row in weights]
    assert networks == [(network, pairs) for network in ("generated", "solved", "branch") for pairs in (1, 2)]
    assert [row["pairs"] for row in pictures] == [1, 2]
    assert all(row["zoo_nearest_median"] > 0 and row["of_target_median"] > 0 for row in pictures)
    assert len(content) == 2 * 2 * 2 * 2
    assert all(row["n"] == 2 and row["low"] <= row["difference"] <= row["high"] for row in content)
    monkeypatch.setattr(not_a_copy, "measured", None)
    main(command)
    assert rows_of("not_a_copy") == rows


@pytest.mark.parametrize("band", BANDS)
def test_content_that_comes_through_is_found_and_errors_of_other_kinds_are_not(band):
    draw = torch.Generator().manual_seed(0)
    targets, own, other, noise = (BANDS[band](torch.rand(8, 3, 64, 64, generator=draw)) for _ in range(4))
    clean = correlations(targets + 0.1 * noise, targets, own, other, own)
    leaking = correlations(targets + 0.1 * noise + 0.1 * own.mean(0), targets, own, other, own)
    assert abs(clean["own"] - clean["control"]) < 0.05 < clean["planted"] - clean["control"]
    assert leaking["own"] - leaking["control"] > 0.1


def test_every_set_of_examples_is_the_control_of_another_one():
    sets = sets_of(36, 4, 0)
    assert len(sets) == 4
    for own, other in sets:
        assert len({*own, *other}) == 8
        assert (other, own) in sets
    assert sets_of(36, 4, 1) != sets
    assert len(sets_of(36, 16, 0)) == 2
    with pytest.raises(WeightzooError, match="40 photographs and there are 36"):
        sets_of(36, 20, 0)
