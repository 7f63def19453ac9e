"""Finding models: a folder's role is what training wrote, and only folders from before that are guessed."""

import json

import pytest

from tests.weightgen.tiny_world import make_model, make_zoo
from weightgen.model_roles import ROLES, find_best, find_models
from zoo.errors import WeightzooError


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return make_zoo(tmp_path_factory.mktemp("zoo"))


def note(folder, **metadata):
    """Replaces what the training of a model wrote down."""
    path = folder / "weightgen.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "metadata": metadata}))


def test_the_written_role_counts_more_than_the_folder_and_an_unknown_one_is_refused(zoo, tmp_path):
    folder = make_model(tmp_path / "polished", zoo)
    for role in ROLES:
        note(folder, role=role, stage="polished", zoo="zoo+pseudo-labels")
        assert find_models(tmp_path) == {role: folder}
    note(folder, role="../elsewhere")  # it would name files
    with pytest.raises(WeightzooError, match="unknown role '../elsewhere'; upgrade weightzoo"):
        find_models(tmp_path)


@pytest.mark.parametrize(
    ("name", "metadata", "role"),
    [
        ("generated", {"stage": "polished"}, "generated"),
        ("mine", {"stage": "generated"}, "generated"),
        ("mine", {"stage": "generated", "zoo": "zoo+pseudo-labels"}, "labelled"),
        ("mine", {"stage": "polished", "zoo": "zoo+pseudo-labels"}, "polished"),
        ("mine", {"stage": "polished", "polish": {"config": {"random_init": True}}}, "control"),
    ],
)
def test_a_folder_without_a_role_is_told_by_its_name_then_by_its_training(zoo, tmp_path, name, metadata, role):
    note(make_model(tmp_path / name, zoo), **metadata)
    assert list(find_models(tmp_path)) == [role]


def test_a_second_model_of_a_role_has_its_folders_name(zoo, tmp_path):
    for name in ("a", "b"):
        note(make_model(tmp_path / name, zoo), role="control")
    assert find_models(tmp_path) == {"control": tmp_path / "a", "b": tmp_path / "b"}


def test_of_several_models_the_polished_one_is_best(zoo, tmp_path):
    for name in ("generated", "polished"):
        make_model(tmp_path / name, zoo)
    assert find_best(tmp_path) == ("polished", tmp_path / "polished")
    assert find_best(tmp_path / "generated") == ("generated", tmp_path / "generated")
    with pytest.raises(WeightzooError, match="no weight generator"):
        find_models(tmp_path / "nothing")
