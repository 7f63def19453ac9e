"""The embedded model goes by its name, unless a folder of that name is there."""

import pytest

from cli.console.embedded import EMBEDDED, MODELS, model_folder, model_source
from zoo.errors import WeightzooError


def test_the_embedded_model_is_called_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (None, EMBEDDED):
        assert model_folder(name) == MODELS / EMBEDDED and model_source(name) == str(MODELS / EMBEDDED)
    (tmp_path / EMBEDDED).mkdir()
    assert str(model_folder(tmp_path / EMBEDDED)) == str(tmp_path / EMBEDDED)
    assert model_source(EMBEDDED) == EMBEDDED
    with pytest.raises(WeightzooError, match="absent does not exist"):
        model_folder(tmp_path / "absent")
