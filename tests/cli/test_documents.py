"""The README and the guides are true: files that they name exist, commands parse, and the first guide runs."""

import os
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer.main
from PIL import Image

import pipeline.build
from cli.main import app
from pipeline.executors.ray import EXECUTORS
from pipeline.fleets.fleet import run_fleet
from pipeline.presets import PRESETS
from tests.pipeline.conftest import micro_config, run_inline
from tests.pipeline.fake_fleet import fake_fleet
from tests.zoo.editing.test_film import write_film

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "guides").glob("*.md")),
]
CURRENT = [path for path in DOCUMENTS if path.name != "LOG.md"]  # the log names files as they were
PACKAGES = "zoo|pipeline|weightgen|cli|tests|benchmarks|data_cards|docs"
MADE_UP = {
    "zoo/gans/tiny_unet.py",
    "pipeline/teachers/sepia.py",
    "zoo/shards/msgpack.py",
    "weightgen/denoisers/mlp.py",
    "cli/mine.py",
}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def commands(path: Path) -> list[list[str]]:
    """The arguments of every weightzoo command in the shell blocks of a document; variables before it are left out."""
    blocks = re.findall(r"```sh\n(.*?)```", path.read_text(), re.S)
    text = "\n".join(blocks).replace("\\\n", " ")
    if path.name == "README.md":  # its table has a command for each task
        text += "\n" + "\n".join(re.findall(r"^\|.*?`(weightzoo [^`]+)`", path.read_text(), re.M))
    lines = (shlex.split(line, comments=True) for line in text.splitlines() if "weightzoo " in line)
    return [words[words.index("weightzoo") + 1 :] for words in lines if "weightzoo" in words]


@pytest.mark.parametrize("path", CURRENT, ids=name)
def test_files_that_a_document_names_exist(path):
    text = path.read_text()
    named = set(re.findall(rf"`((?:{PACKAGES})/[\w./-]+\.(?:py|md|json|jsonl|sh|html))`", text)) - MADE_UP
    assert not [file for file in named if not (ROOT / file).exists()]
    linked = re.findall(r"\]\((?!https?:|#)([^)#]+)\)", text)
    assert not [link for link in linked if not (path.parent / link).exists()]


@pytest.mark.parametrize("path", CURRENT, ids=name)
def test_commands_in_a_document_parse(path):
    group = typer.main.get_command(app)
    for words in commands(path):
        if words[0].startswith("-"):
            continue
        command = group.commands[words[0]]
        command.make_context(words[0], list(words[1:]), resilient_parsing="--help" in words)


def test_commands_of_the_makefile_parse():
    text = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    found = [shlex.split(line) for line in re.findall(r"\$\(WEIGHTZOO\) (.*)", text)]
    group = typer.main.get_command(app)
    for words in found:
        values = [word.replace("$(MORE)", "8000").replace("$(PRESET)", "tiny") for word in words[1:]]
        group.commands[words[0]].make_context(words[0], values)
    polished = [words for words in found if words[0] == "polish"]
    assert "--programs" in polished[-1] and polished[-1][-1] == "$(MODELS)/paired"  # what `make embed` copies
    assert polished[-1][1] == polished[-2][-1]


def test_every_command_is_in_a_document():
    told = {words[0] for path in CURRENT for words in commands(path)} | {"demo"}
    assert set(typer.main.get_command(app).commands) <= told


def test_the_guide_to_your_own_edit_runs(tmp_path, monkeypatch, run):
    monkeypatch.chdir(tmp_path)
    for number in range(4):
        noise = np.random.default_rng(number).random((6, 8, 3)) * 255
        source = Image.fromarray(noise.astype("uint8")).resize((96, 72), Image.Resampling.BICUBIC)
        for half, image in (("source", source), ("target", Image.eval(source, lambda value: 255 - value))):
            Path("my-pairs", half).mkdir(parents=True, exist_ok=True)
            image.save(Path("my-pairs", half, f"{number}.png"))
    source.save("photo.jpg")
    limits = {"60": "2", "300": "3"}  # seconds and steps: the guide's own take minutes
    for words in commands(ROOT / "docs" / "guides" / "your-own-edit.md"):
        result = run(*(limits.get(word, word) for word in words))
        assert result.code == 0, (words, result.err)
    assert {"photo-mine.jpg", "photo-warm.jpg"} <= {path.name for path in tmp_path.iterdir()}


def test_the_guide_to_mixtures_runs(tmp_path, monkeypatch, run):
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(0).random((6, 8, 3)) * 255
    Image.fromarray(noise.astype("uint8")).resize((96, 72), Image.Resampling.BICUBIC).save("photo.jpg")
    for words in commands(ROOT / "docs" / "guides" / "mixing.md"):
        result = run(*words)
        assert result.code == 0, (words, result.err)
    assert {"photo-both.jpg", "photo-between.jpg"} <= {path.name for path in tmp_path.iterdir()}


MAGICK = """#!/bin/sh
test "$2 $3 $#" = "-modulate 130,100 4" -o "$2 $3 $#" = "-modulate 110,40 4" || exit 1
cp "$1" "$4"
"""
EDIT_ALL = "import shutil, sys; shutil.copytree(*sys.argv[1:3], dirs_exist_ok=True)"
LOOK = "LUT_1D_SIZE 2\n0 0 0\n1 0.5 0.5\n"


def test_the_guide_to_your_own_zoo_runs(tmp_path, monkeypatch, run):
    guide = ROOT / "docs" / "guides" / "your-own-zoo.md"
    concepts, function = (
        re.findall(rf"```{kind}\n(.*?)```", guide.read_text(), re.S)[0] for kind in ("json", "python")
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("looks").mkdir()
    for name, text in (
        ("edits.jsonl", concepts),
        ("edits.py", function),
        ("edit_all.py", EDIT_ALL),
        ("magick", MAGICK),
        ("looks/Old_Film-2.cube", LOOK),
    ):
        Path(name).write_text(text)
    Path("magick").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    # the pairs are rendered; weights are made up
    fleets = lambda tasks, fn, workers, **_: run_inline(tasks, fake_fleet if fn is run_fleet else fn)  # noqa: E731
    monkeypatch.setitem(EXECUTORS, "local", fleets)
    monkeypatch.setattr(pipeline.build, "run_local", run_inline)
    monkeypatch.setitem(PRESETS, "tiny", lambda: replace(micro_config(), num_train_crops=2, num_test_crops=2))
    try:
        for words in commands(guide):
            result = run(*words, "--json")
            assert result.code == 0, (words, result.err)
            counts = result.json["counts"]
            assert counts["ok"] == counts["concepts"] == (1 if "cube" in words else 2), words
            assert not [path for path in Path(words[-1]).glob("pairs/*") if b"__failed__" in path.read_bytes()]
    finally:
        sys.modules.pop("edits", None)


def test_the_guide_to_applying_runs(tmp_path, monkeypatch, run):
    monkeypatch.chdir(tmp_path)
    Path("holiday").mkdir()
    for number, place in enumerate(("photo.jpg", "holiday/a.jpg")):
        noise = np.random.default_rng(number).random((6, 8, 3)) * 255
        image = Image.fromarray(noise.astype("uint8")).resize((96, 72), Image.Resampling.BICUBIC)
        image.save(place)
    write_film("film.mp4", [np.asarray(image)] * 2)
    for words in commands(ROOT / "docs" / "guides" / "applying.md"):
        result = run(*words)
        assert result.code == 0, (words, result.err)
    assert {"photo-warm.jpg", "half.jpg", "film-warm.mp4"} <= {path.name for path in tmp_path.iterdir()}
    assert Path("holiday-warm/a.jpg").is_file()


def test_the_guide_to_exporting_runs(tmp_path, monkeypatch, run):
    monkeypatch.chdir(tmp_path)
    noise = (np.random.default_rng(0).random((2, 6, 8, 3)) * 255).astype("uint8")
    photos = [Image.fromarray(values).resize((96, 72), Image.Resampling.BICUBIC) for values in noise]
    monkeypatch.setattr("pipeline.sources.load_photos", lambda where: photos)
    photos[0].save("photo.jpg")
    guide = ROOT / "docs" / "guides" / "exporting.md"
    for words in commands(guide):
        result = run(*words)
        assert result.code == 0, (words, result.err)
    assert {"warm.onnx", "warm.cube", "warm.html"} <= {path.name for path in tmp_path.iterdir()}
    exec(re.findall(r"```python\n(.*?)```", guide.read_text(), re.S)[0], {})
    assert run("apply", "warm", "photo.jpg", "-o", "ours.png").code == 0
    theirs, ours = (np.asarray(Image.open(name)).astype(float) for name in ("photo-warm.png", "ours.png"))
    assert np.abs(theirs - ours).max() <= 4


def test_the_readme_is_short():
    text = (ROOT / "README.md").read_text()
    assert len(text.split()) <= 750
    figures = re.findall(r"(?<![\w./-])\d[\d.,]*", re.sub(r"^\d+\. ", "", text, flags=re.M))
    assert len(figures) <= 25, figures
    prose = re.sub(r"```.*?```|^[|!].*?$", "", text, flags=re.S | re.M)
    sentences = re.split(r"(?<=[.:!?])\s+|\n\n|\n(?=[-#\d])", prose)
    assert not [sentence for sentence in sentences if len(sentence.split()) > 25]


@pytest.mark.parametrize("path", [*DOCUMENTS, *sorted((ROOT / "docs" / "log").glob("*.md"))], ids=name)
def test_decimals_have_their_zero(path):
    assert not re.findall(r"(?<![\w.])\.\d+", path.read_text())
