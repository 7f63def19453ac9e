"""A file is absent or complete, whatever happens while it is written."""

import errno
import os

import pytest

from zoo.errors import WeightzooError
from zoo.files import atomic_path, read_json, sha256_file, write_json


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"b": 1, "a": 2})
    assert path.read_text() == '{\n  "a": 2,\n  "b": 1\n}\n'
    for error in (KeyboardInterrupt, ValueError):
        with pytest.raises(error), atomic_path(path) as temporary:
            temporary.write_text("half")
            raise error
    assert read_json(path) == {"a": 2, "b": 1}
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_full_disk_is_one_clear_line(tmp_path, monkeypatch, function):
    def fail(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(
        WeightzooError, match="cannot write .*a.json: No space left on device; free some space"
    ):
        write_json(tmp_path / "a.json", {})
    assert os.listdir(tmp_path) == []


def test_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_file(tmp_path / "a").startswith("ba7816bf")
