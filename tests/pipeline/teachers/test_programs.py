"""Edits by other programs: a seed is an edit with words, and none is by an operator that is kept for measuring."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.external import pairs as external
from pipeline.teachers import programs
from pipeline.teachers.programs import COMMANDS, LIBRARIES, check_installed, ffmpeg, imagemagick, program_edit, run
from zoo.errors import WeightzooError

OPERATORS = [(name, k) for name, table in LIBRARIES.items() for k in range(len(table))]
# operators that prepare a picture for another one or that pictures are written with
HELPERS = {"-colorspace", "-type", "-fill", "format"}
MEASURED = {
    "-charcoal",
    "-emboss",
    "-normalize",
    "-edge",
    "-blur",
    "-modulate",
    "-posterize",
    "-sepia-tone",
    "-unsharp",
    "-paint",
}


@pytest.fixture
def photos():
    return torch.rand(2, 3, 40, 56, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("library", "number"), OPERATORS)
def test_every_operator_of_a_library_keeps_shape_and_is_finite(library, number, photos):
    for seed in range(3):
        edited = LIBRARIES[library][number].draw(np.random.default_rng(seed))(photos)
        assert edited.shape == photos.shape and edited.isfinite().all()


def test_a_seed_is_an_edit_with_words(photos):
    for seed in range(20):
        edit, again = (program_edit(seed, tuple(LIBRARIES)) for _ in range(2))
        assert edit.wordings == again.wordings and all(edit.wordings)
        assert torch.equal(edit(photos), again(photos))
        assert 0 <= edit(photos).min() and edit(photos).max() <= 1


def test_two_operations_are_worded_one_after_the_other():
    worded = {len(program_edit(seed, ("kornia",)).wordings[0].split(", then ")) for seed in range(20)}
    assert worded == {1, 2}


def names_of(program, text):
    """Return the operators that a command line of a program names."""
    if program == "ffmpeg":
        return {re.split("[=@]", part)[0] for part in re.sub(r"'[^']*'", "", text).split(",")}
    return {word for word in shlex.split(text) if re.match(r"[-+][a-z]", word)}


def test_no_operator_is_one_that_is_kept_for_measuring():
    rows = json.loads((external.HERE / "edits.json").read_text(encoding="utf-8"))
    for program, module in COMMANDS.items():
        measured = [" ".join(map(shlex.quote, row["args"])) for row in rows if row["tool"] == program]
        if program == "ffmpeg":
            measured = [row["args"][0] for row in rows if row["tool"] == program]
        kept = set.union(*(names_of(program, text) for text in measured)) | MEASURED - HELPERS
        used = {name for op in module.OPERATORS for name in names_of(program, op.draw(np.random.default_rng(0)))}
        assert used and not used & kept - HELPERS, used & kept - HELPERS


def test_all_pictures_are_edited_in_one_launch(photos, tmp_path, monkeypatch):
    """A stand-in for ImageMagick notes its words and inverts nothing: it copies the pictures."""
    program = tmp_path / "convert"
    program.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >> {tmp_path}/said\n'
        'pattern="$1"; for last; do :; done; last="${last#PNG24:}"; k=0\n'
        'for file in $pattern; do cp "$file" "$(printf "$last" $k)"; k=$((k + 1)); done\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    edited = run(imagemagick.command_line(["-equalize", "-fill '#ff0000' -tint 40"]), photos)
    assert torch.allclose(edited, photos, atol=1 / 255)
    said = Path(tmp_path / "said").read_text().splitlines()
    assert len(said) == 1 and "-equalize -fill #ff0000 -tint 40" in said[0]


def test_the_filters_of_ffmpeg_are_one_chain():
    words = shlex.split(ffmpeg.command_line(["grayworld", "convolution='0 1 0'"]))
    assert "format=gbrp,grayworld,format=gbrp,convolution='0 1 0',format=gbrp,format=rgb24" in words


def test_a_missing_program_is_named(monkeypatch):
    monkeypatch.setattr(programs.shutil, "which", lambda name: None)
    check_installed(tuple(LIBRARIES))
    with pytest.raises(WeightzooError, match="apt-get install imagemagick ffmpeg"):
        check_installed((*LIBRARIES, *COMMANDS))
