"""An earlier result is refused or replaced as a whole, and is as it was after anything that goes wrong."""

import os
import subprocess

import pytest

from zoo.errors import Interrupted, WeightzooError
from zoo.results import EVALUATION, MARKS, MODEL, ZOO, check_free, check_free_file, check_kind, fresh_folder


@pytest.fixture
def old(tmp_path):
    folder = tmp_path / "film"
    folder.mkdir()
    (folder / "generator.safetensors").write_text("old")
    (folder / "metrics.jsonl").write_text("old")
    return folder


def contents(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_an_earlier_result_needs_the_option(old, tmp_path):
    check_free(tmp_path / "new" / "one", overwrite=False)
    check_free(old, overwrite=True)
    with pytest.raises(WeightzooError, match="is not empty; add --overwrite to replace it, --resume it or choose"):
        check_free(old, overwrite=False, otherwise="--resume it ")
    (tmp_path / "empty").mkdir()
    check_free(tmp_path / "empty", overwrite=False)
    assert contents(old) == {"generator.safetensors": "old", "metrics.jsonl": "old"}


def test_files_of_a_person_are_never_replaced(old):
    (old / "holiday.jpg").write_text("mine")
    with pytest.raises(WeightzooError, match="holds holiday.jpg, which is no part of a result"):
        check_free(old, overwrite=True)


def test_a_picture_is_not_replaced_and_a_folder_is_no_picture(tmp_path):
    picture = tmp_path / "out.jpg"
    check_free_file(picture, False, "photo.jpg")
    picture.symlink_to("nothing.jpg")  # a broken link is something too
    with pytest.raises(WeightzooError, match="out.jpg exists; add --overwrite"):
        check_free_file(picture, False, "photo.jpg")
    check_free_file(picture, True, "photo.jpg")
    for folder in (str(tmp_path), f"{tmp_path}/absent/"):
        with pytest.raises(WeightzooError, match="is a folder; name the file, for example .*/photo.jpg"):
            check_free_file(folder, True, "photo.jpg")


@pytest.mark.parametrize("mark", MARKS)
def test_no_command_goes_on_in_the_folder_of_another(tmp_path, mark):
    (tmp_path / mark).write_text("x")
    for kind in (ZOO, MODEL, EVALUATION):
        if MARKS[mark] == kind:
            check_kind(tmp_path, kind)
            continue
        with pytest.raises(WeightzooError, match=f"holds {MARKS[mark]} .*, where {kind} is to go; choose another"):
            check_kind(tmp_path, kind)


def test_places_where_nothing_can_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    with pytest.raises(WeightzooError, match="file is a file; give the name of a folder"):
        check_free(tmp_path / "file", overwrite=True)
    with pytest.raises(WeightzooError, match="file is no folder, so .*/file/a/b cannot be written"):
        check_free(tmp_path / "file" / "a" / "b", overwrite=False)
    monkeypatch.setattr("zoo.results.os.access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(WeightzooError, match="may not be written to"):
        check_free_file(tmp_path / "a" / "out.jpg", False, "photo.jpg")


def test_the_new_takes_the_place_of_the_old_as_a_whole(old):
    with fresh_folder(old) as folder:
        (folder / "generator.safetensors").write_text("new")
        assert contents(old)["generator.safetensors"] == "old", "kept until the new one is complete"
    assert contents(old) == {"generator.safetensors": "new"}
    assert [path.name for path in old.parent.iterdir()] == ["film"]


def test_what_killed_processes_left_is_removed(old, tmp_path):
    dead = subprocess.Popen(["true"])
    dead.wait()
    gone = [f".film.{dead.pid}.tmp", f".film.old.{dead.pid}.tmp"]
    kept = [f".film.{os.getppid()}.tmp", f".film.b.{dead.pid}.tmp", f".absent.old.{dead.pid}.tmp", ".film.x.tmp"]
    for name in (*gone, f".absent.{dead.pid}.tmp", *kept):
        (tmp_path / name).mkdir()
        (tmp_path / name / "generator.safetensors").write_text("x")
    for folder in (old, tmp_path / "absent"):
        with fresh_folder(folder) as new:
            (new / "generator.safetensors").write_text("new")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["absent", "film", *kept])


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, WeightzooError])
def test_after_an_error_the_old_is_as_it_was(old, tmp_path, error):
    (tmp_path / "empty").mkdir()
    for folder in (old, tmp_path / "empty", tmp_path / "absent"):
        with pytest.raises(error), fresh_folder(folder) as new:
            (new / "generator.safetensors").write_text("half")
            raise error("x")
    assert contents(old) == {"generator.safetensors": "old", "metrics.jsonl": "old"}
    assert contents(tmp_path / "empty") == {}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "film"]


def test_errors_name_the_folder_that_was_given(old):
    with pytest.raises(WeightzooError) as error, fresh_folder(old) as new:
        raise WeightzooError(f"{new}/x is broken")
    assert str(error.value) == f"{old}/x is broken"


def test_a_training_that_is_ended_early_has_a_result(old):
    with pytest.raises(Interrupted, match=f"stopped; {old} holds"), fresh_folder(old) as new:
        (new / "generator.safetensors").write_text("early")
        raise Interrupted(f"stopped; {new} holds the network as it was then")
    assert contents(old) == {"generator.safetensors": "early"}


def test_a_link_stays_a_link(tmp_path):
    disk, link = tmp_path / "disk", tmp_path / "link"
    disk.mkdir()
    (disk / "base").mkdir()
    link.symlink_to(disk)
    with fresh_folder(link) as folder:
        (folder / "config.json").write_text("new")
    assert link.is_symlink() and contents(disk) == {"config.json": "new"}
