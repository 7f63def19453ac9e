"""Groups of edits: the same whenever they are rendered, of different photographs, and held-out ones for themselves."""

import pytest
import torch

from pipeline import edit_groups
from pipeline.edit_groups import HELD_OUT, READING, distinct, open_edit_groups
from pipeline.sources import photo_paths
from tests.pipeline.conftest import build_catalogue_zoo
from tests.weightgen.tiny_world import make_zoo
from zoo.errors import WeightzooError


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return build_catalogue_zoo(tmp_path_factory.mktemp("groups") / "zoo")


@pytest.fixture
def groups(zoo, tmp_path, monkeypatch):
    monkeypatch.setattr(edit_groups, "EDITS", 8)
    monkeypatch.setattr(edit_groups, "CONCEPTS", 3)
    monkeypatch.setattr(edit_groups, "BY_PROGRAMS", 2)
    monkeypatch.setattr(edit_groups, "PHOTOGRAPHS", {1.0: 5, 1.5: 4})
    return open_edit_groups(zoo, tmp_path / "edits", count=3)


def test_a_group_is_the_same_whenever_it_is_rendered(groups):
    first = groups[1]
    groups._path(1).unlink()
    again = groups[1]
    assert torch.equal(first.maps, again.maps)
    assert torch.equal(first.targets, again.targets)
    assert first.prompts == again.prompts


def test_concepts_and_edits_by_programs_have_words_and_random_ones_have_none(groups):
    group = groups[0]
    assert len(group.prompts) == len(group.targets) == 8
    assert [bool(texts) for texts in group.prompts] == [True] * 5 + [False] * 3
    assert group.targets.shape[1:3] == group.maps.shape[:2]
    assert group.maps.isfinite().all()


def test_rendering_goes_on_where_it_was(groups):
    groups[0]
    before = groups._path(0).stat().st_mtime_ns
    groups.render()
    assert groups._path(0).stat().st_mtime_ns == before
    assert len(list(groups.folder.iterdir())) == 3 + HELD_OUT


def test_held_out_concepts_are_the_validation_split(groups):
    trained = {texts for number in range(3) for texts in groups[number].prompts[:3]}
    held_out = {texts for group in groups.held_out() for texts in group.prompts[: min(3, len(groups.validation))]}
    assert held_out == {(concept.prompt, *concept.paraphrases) for concept in groups.validation}
    assert not trained & held_out


def test_held_out_photographs_are_in_no_other_group(groups):
    assert len(groups.held_out_photographs) > 4
    assert not set(groups.photographs) & set(groups.held_out_photographs)


def test_each_photograph_is_there_once_and_keeps_its_own_name(tmp_path):
    files = {"a/sea.jpg": b"blue", "a/hill.jpg": b"green", "b/sea.jpg": b"grey", "b/copy.jpg": b"green"}
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    found = distinct([tmp_path / name for name in files])
    assert [path.read_bytes() for path in found.values()] == [b"blue", b"green", b"grey"]
    assert list(found)[:2] == ["sea.jpg", "hill.jpg"] and list(found)[2].startswith("sea.jpg ")


def test_a_zoo_s_photograph_does_not_replace_one_that_comes_with_the_package(zoo, tmp_path, monkeypatch):
    before = open_edit_groups(zoo, tmp_path, count=1)
    reading = photo_paths(READING)[0]
    namesake = tmp_path / reading.name
    namesake.write_bytes(photo_paths("test")[0].read_bytes())
    own = edit_groups.photographs
    monkeypatch.setattr(edit_groups, "photographs", lambda config, part: [*own(config, part), namesake])
    after = open_edit_groups(zoo, tmp_path, count=1)
    assert {reading, namesake} <= {*after.photographs, *after.held_out_photographs}
    assert after.made_from != before.made_from


def test_a_folder_of_other_edits_is_refused(groups, zoo, tmp_path):
    groups[0]
    other = open_edit_groups(zoo, tmp_path / "edits", count=3, seed=1)
    with pytest.raises(WeightzooError, match="remove it to render it again"):
        other[0]


def test_a_zoo_without_solved_networks_is_refused(tmp_path):
    with pytest.raises(WeightzooError, match="gan = solved"):
        open_edit_groups(make_zoo(tmp_path / "zoo"), tmp_path, count=1)
