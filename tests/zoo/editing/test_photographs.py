"""Many photographs: every one that can be edited is, names stay, and an interrupted run goes on."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from tests.zoo.pictures.test_apply import generator, photograph
from zoo.adapters.lora import save_base
from zoo.editing import photographs
from zoo.editing.edit import Edit
from zoo.editing.photographs import RECORD, edit_photographs, find_photographs
from zoo.errors import Interrupted, WeightzooError
from zoo.pictures.apply import apply_to_photo
from zoo.pictures.photo_file import read_photo


@pytest.fixture
def folder(tmp_path):
    """Weights, and photographs/ with two good ones, a broken one and what is none."""
    save_base(tmp_path / "g.safetensors", generator())
    place = tmp_path / "photographs"
    (place / "more").mkdir(parents=True)
    Image.fromarray(photograph(60, 80)).save(place / "a.png")
    Image.fromarray(photograph(50, 40)).save(place / "more" / "a.gif")
    (place / "b.jpg").write_text("no picture")
    (place / "notes.txt").write_text("notes")
    return tmp_path


def run(folder, workers=1, out="out", **settings):
    todo = find_photographs([folder / "photographs"], folder / out)
    overwrite = settings.pop("overwrite", False)
    return edit_photographs(Edit(folder / "g.safetensors", **settings), todo, folder / out, workers, overwrite)


def results(folder, out="out"):
    return {str(path.relative_to(folder / out)) for path in (folder / out).rglob("*") if path.is_file()} - {RECORD}


def test_good_photographs_are_edited_and_bad_ones_named(folder):
    todo = find_photographs([folder / "photographs"], folder / "out")
    assert todo.left_out == ["1 file is left out: notes.txt (no picture)"]
    edited = run(folder)
    assert results(folder) == {"a.png", "more/a.png"} and len(edited.done) == 2
    [failed] = edited.failed
    assert failed.photo.endswith("b.jpg") and "b.jpg is not a readable image" in failed.reason
    apply_to_photo(folder / "g.safetensors", folder / "photographs" / "a.png", folder / "alone.png")
    assert (
        np.abs(read_photo(folder / "alone.png").pixels.astype(int) - read_photo(folder / "out/a.png").pixels).max() <= 1
    )


def test_pictures_do_not_depend_on_the_number_of_processes(folder):
    run(folder)
    threads = torch.get_num_threads()
    assert len(run(folder, workers=2, out="other").failed) == 1
    for name in results(folder):
        assert (folder / "out" / name).read_bytes() == (folder / "other" / name).read_bytes()
    assert torch.get_num_threads() == threads


def test_what_is_done_is_skipped_until_the_photograph_changes(folder):
    run(folder)
    written = (folder / "out" / "a.png").stat().st_mtime_ns
    (folder / "out" / "more" / "a.png").unlink()
    again = run(folder)
    assert (again.skipped, len(again.done)) == (1, 1) and (folder / "out/a.png").stat().st_mtime_ns == written
    later = (folder / "out" / "a.png").stat().st_mtime + 10
    os.utime(folder / "photographs" / "a.png", (later, later))
    assert [path.name for path in run(folder).done] == ["a.png"]


def test_pictures_of_other_settings_are_neither_taken_nor_lost(folder):
    run(folder)
    before = (folder / "out" / "a.png").read_bytes()
    with pytest.raises(WeightzooError, match="were made with another strength; choose another -o"):
        run(folder, strength=0.5)
    assert (folder / "out" / "a.png").read_bytes() == before
    assert len(run(folder, strength=0.5, overwrite=True).done) == 2
    assert (folder / "out" / "a.png").read_bytes() != before
    (folder / "mine").mkdir()
    (folder / "mine" / "a.png").write_text("mine")
    with pytest.raises(WeightzooError, match="a.png exists"):
        run(folder, out="mine")
    assert (folder / "mine" / "a.png").read_text() == "mine"


def test_after_an_interruption_the_same_command_goes_on(folder, monkeypatch):
    edit = photographs.edit_file

    def stop_at_the_second(network, photo, *rest):
        if photo.suffix == ".gif":
            raise KeyboardInterrupt
        return edit(network, photo, *rest)

    monkeypatch.setattr(photographs, "edit_file", stop_at_the_second)
    with pytest.raises(Interrupted, match="run the same command again for the rest"):
        run(folder)
    assert results(folder) == {"a.png"}
    monkeypatch.setattr(photographs, "edit_file", edit)
    rest = run(folder)
    assert rest.skipped == 1 and [path.suffix for path in rest.done] == [".png"]


def test_a_folder_of_results_within_the_photographs_is_no_source(folder):
    run(folder, out="photographs/out")
    assert len(find_photographs([folder / "photographs"], folder / "photographs" / "out").pictures) == 3


def test_wrong_input(folder):
    a, out = folder / "photographs" / "a.png", folder / "out"
    (folder / "empty").mkdir()
    (folder / "copies").mkdir()
    Image.open(a).save(folder / "copies" / "a.png")
    for sources, text in (
        ([folder / "absent.jpg"], "no such file"),
        ([folder / "empty"], "holds no photograph"),
        ([a, folder / "copies" / "a.png"], "would both become"),
    ):
        with pytest.raises(WeightzooError, match=text):
            find_photographs(sources, out)
    itself = find_photographs([a], folder / "photographs")
    with pytest.raises(WeightzooError, match="is the photograph itself"):
        edit_photographs(Edit(folder / "g.safetensors"), itself, folder / "photographs", overwrite=True)
    with pytest.raises(WeightzooError, match="is a file"):
        run(folder, out="g.safetensors")
    with pytest.raises(WeightzooError, match="a strength of 3 is out of range"):
        run(folder, strength=3)
    assert not out.exists()
