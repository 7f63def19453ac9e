"""An embedded zoo is copied by name, verified, and repaired by the same call."""

import shutil

import pytest

from zoo.errors import WeightzooError
from zoo.hub import download, find_zoo
from zoo.hub import embedded as embedded_zoos
from zoo.manifest import MANIFEST_FILE, shard_paths
from zoo.verify import verify_run


@pytest.fixture
def embedded(run_dir, tmp_path, monkeypatch):
    shutil.copytree(run_dir, tmp_path / "embedded" / "weightzoo-small")
    monkeypatch.setattr(embedded_zoos, "EMBEDDED_DIR", tmp_path / "embedded")


def test_download_copies_and_repairs(embedded, tmp_path):
    out = download("weightzoo-small", tmp_path / "out")
    assert verify_run(out) == []
    shard = shard_paths(out)[0]
    shard.write_bytes(b"broken")
    (out / MANIFEST_FILE).unlink()
    download("weightzoo-small", out)
    assert verify_run(out) == []


def test_names_and_folders_are_found(embedded, run_dir, tmp_path):
    assert find_zoo(run_dir) == run_dir
    assert find_zoo("weightzoo-small").name == "weightzoo-small"
    with pytest.raises(WeightzooError, match="neither a folder nor an embedded zoo"):
        find_zoo("weightzoo-large")


def test_another_zoo_is_not_overwritten(embedded, run_dir, tmp_path):
    (tmp_path / "out").mkdir()
    text = (run_dir / MANIFEST_FILE).read_text().replace('"fake"', '"mine"')
    (tmp_path / "out" / MANIFEST_FILE).write_text(text)
    with pytest.raises(WeightzooError, match="holds another zoo"):
        download("weightzoo-small", tmp_path / "out")
