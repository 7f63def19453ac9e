"""Teachers of one's own: programs, functions and look-up tables edit as they do alone, or a row says why not."""

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.build import build
from pipeline.executors.ray import EXECUTORS
from pipeline.heldout import HeldOutRequest, held_out_pairs
from pipeline.own_build import own_concepts, with_own_teacher
from pipeline.picture_batches import open_catalogue_edits
from pipeline.run_folder.freeze import freeze
from pipeline.run_folder.pair_shards import read_targets
from pipeline.run_folder.private_paths import read_config, split_places
from pipeline.run_folder.shard_plan import plan_run
from pipeline.teachers.callable import CallableTeacher
from pipeline.teachers.command import CommandTeacher
from pipeline.teachers.command_line import command_words
from pipeline.teachers.cube import CubeTeacher, cube_concepts
from tests.pipeline.conftest import run_inline
from tests.pipeline.fake_fleet import fake_fleet, write_fake_base
from zoo.concepts import Concept
from zoo.errors import WeightzooError
from zoo.files import read_json, sha256_file
from zoo.manifest import is_plain_path

LIGHTER = """
import sys
from PIL import Image
source, target, light = sys.argv[1:4]
image = Image.open(source)
Image.eval(image, lambda value: min(255, value + int(light))).save(target)
"""
ALL = """
import sys
from pathlib import Path
from PIL import Image, ImageOps
for path in sorted(Path(sys.argv[1]).iterdir()):
    ImageOps.invert(Image.open(path)).save(Path(sys.argv[2]) / path.name)
"""
FUNCTIONS = """
import numpy as np
from PIL import ImageOps
def negative(photo, concept):
    return ImageOps.invert(photo)
def array(photo, concept):
    return 1 - np.asarray(photo) / 255
def raises(photo, concept):
    raise KeyError("no such look")
def small(photo, concept):
    return photo.resize((4, 4))
def nothing(photo, concept):
    return None
"""
COPY = """
case "$3" in *[!0-9]*) echo "$3 is no number"; exit 3;; esac
cp "$1" "$2"
"""
SCRIPT = "/bin/sh copy.sh {source} {target} {light}"  # starts in no time
RUN = f'"{sys.executable}" lighter.py {{source}} {{target}} {{light}}'
PHOTOS = (torch.arange(2 * 3 * 16 * 20) % 200).view(2, 3, 16, 20) / 255


def concept(name="c", **attributes):
    return Concept(name, f"a {name} photograph", (), attributes)


@pytest.fixture
def work(tmp_path, monkeypatch):
    """The folder that a person works in, with programs and functions."""
    folder = tmp_path / "work"
    folder.mkdir()
    for name, text in (("lighter.py", LIGHTER), ("copy.sh", COPY), ("all.py", ALL), ("own_edits.py", FUNCTIONS)):
        (folder / name).write_text(text)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield folder
    sys.modules.pop("own_edits", None)


def python(code):
    """The command line of a few lines of Python."""
    return f"\"{sys.executable}\" -c '{code}' {{source}} {{target}} {{id}}"


# --- command ---


def test_a_program_edits_each_picture_with_the_attributes_of_its_concept(work):
    teacher = CommandTeacher(RUN, folder=str(work))
    edited = teacher.edit(concept(light=20), PHOTOS)
    assert torch.allclose(edited, (PHOTOS + 20 / 255).clamp(0, 1), atol=1e-6)
    assert torch.equal(edited, teacher.edit(concept(light=20), PHOTOS))
    assert set(os.listdir(work)) == {"lighter.py", "copy.sh", "all.py", "own_edits.py"}, "it works elsewhere"


def test_one_launch_may_edit_all_pictures_and_a_concept_may_have_its_own_command(work, monkeypatch):
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    own = concept(run=f"{Path(sys.executable).name} all.py {{sources}} {{targets}}")
    edited = CommandTeacher(RUN, folder=str(work)).edit(own, PHOTOS)
    assert torch.allclose(edited, 1 - PHOTOS, atol=1e-6)


def test_values_are_words_as_they_are_and_no_shell_reads_them():
    edit = concept(edit=["-sepia-tone", "80%"], title="a; rm b", light=0.5, yes=True)
    words = command_words('m {source} {edit} --n={title} "{light} {yes}" {prompt} {target}', edit)
    assert words == [
        "m", "{source}", "-sepia-tone", "80%", "--n=a; rm b", "0.5 true", "a c photograph", "{target}",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("run", "attributes", "words"),
    [
        ("", {}, "there is no command"),
        ("m {source} {id}", {}, "must name both {source} and {target}"),
        ("m {source} {targets} {id}", {}, "must name both"),
        ("m {source} {target}", {}, "the same for every concept"),
        ("m {source} {target} {light}", {}, "has no attribute 'light'"),
        ("m {source} {target} x{light}", {"light": [1]}, "no text or number"),
        ("m {source} {target} {light}", {"light": None}, "no text or number"),
        ("m {source} {target} {light}", {"light": "{source}"}, "has a placeholder in it"),
        ("m {source} {target} {look}", {"look": "/home/anna/x.png"}, "names the absolute path 'x.png'"),
        ("m {id}", {"run": "m {source} {target} --look=~/x.png"}, "names the absolute path 'x.png'"),
        ('m "{source} {target} {id}', {}, "cannot be split into words"),
        ("no-such-program {source} {target} {id}", {}, "no program 'no-such-program'"),
    ],
)
def test_commands_that_cannot_be_run_are_refused(work, run, attributes, words):
    assert words in CommandTeacher(run, folder=str(work)).refusal(concept(**attributes))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import sys; print(1); sys.exit(\"no licence\")", "ended with status 1: no licence"),
        ("import os; os.abort()", "was killed by signal 6"),
        ("pass", "wrote no target.png"),
        ("import sys; open(sys.argv[2], \"w\").write(\"x\")", "target.png that is no picture"),
        (
            "import sys; from PIL import Image; Image.new(\"RGB\", (5, 9)).save(sys.argv[2])",
            "made a picture of 5x9 pixels from one of 20x16",
        ),
    ],
)  # fmt: skip
def test_a_program_that_fails_says_how(work, code, words):
    with pytest.raises(WeightzooError, match=words) as error:
        CommandTeacher(python(code), folder=str(work)).edit(concept(), PHOTOS)
    assert "\n" not in str(error.value) and str(work.parent) not in str(error.value)


def test_a_program_that_takes_too_long_is_ended_with_what_it_has_started(work):
    child = work / "child.txt"
    code = (
        "import subprocess, sys, time;"
        'p = subprocess.Popen(["sleep", "600"]); open(sys.argv[4], "w").write(str(p.pid)); time.sleep(600)'
    )
    teacher = CommandTeacher(f"{python(code)} {{where}}", time_limit=3.0, folder=str(work))
    (work / "child.txt").write_text("")  # so that the word is a file of the folder
    with pytest.raises(WeightzooError, match="longer than 3 seconds"):
        teacher.edit(concept(where="child.txt"), PHOTOS)
    pid, patience = int(child.read_text()), time.monotonic() + 10
    while _runs(pid) and time.monotonic() < patience:
        time.sleep(0.05)
    assert not _runs(pid)


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_program_and_the_files_that_it_is_given_are_frozen(work):
    teacher = CommandTeacher(RUN, folder=str(work))
    files = teacher.files(concept(light=3))
    assert files["1 lighter.py"] == work / "lighter.py"
    assert [path for name, path in files.items() if name.startswith("0 ")] == [Path(sys.executable)]


# --- callable ---


def test_a_function_edits_pictures_or_arrays(work):
    for name in ("negative", "array"):
        teacher = CallableTeacher(f"own_edits:{name}", str(work))
        assert torch.allclose(teacher.edit(concept(), PHOTOS), 1 - PHOTOS, atol=1e-6)
    assert teacher.files(concept()) == {"own_edits.py": work / "own_edits.py"}


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("raises", "raised KeyError: 'no such look'"),
        ("small", "made a picture of 4x4 pixels from one of 20x16"),
        ("nothing", "gave NoneType, which is no picture"),
        ("absent", "has no function 'absent'"),
        ("np", "is module, not a function"),
    ],
)
def test_a_function_that_fails_says_how(work, function, words):
    with pytest.raises(WeightzooError, match=words):
        CallableTeacher(f"own_edits:{function}", str(work)).edit(concept(), PHOTOS)


@pytest.mark.parametrize(
    ("function", "words"),
    [("own_edits", "is no function; write"), ("absent_module:f", "cannot import absent_module .*No module named")],
)
def test_a_function_that_is_not_there_is_named_at_once(work, function, words):
    with pytest.raises(WeightzooError, match=words):
        CallableTeacher(function, str(work)).prepare("cpu")


# --- cube ---


def write_curve(path, low, high, title=""):
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{title}LUT_1D_SIZE 2\n" + "\n".join(f"{value} {value} {value}" for value in (low, high)))


def test_every_table_is_a_concept(tmp_path):
    looks = tmp_path / "looks"
    write_curve(looks / "Old_Film-2.cube", 0, 0.5)
    write_curve(looks / "negative.CUBE", 1, 0, 'TITLE "the colours of a negative"\n')
    for name in ("a", "b"):
        write_curve(looks / f"{name}.cube", 0, 1, 'TITLE "Untitled"\n')
    (looks / "notes.txt").write_text("x")
    concepts, notes = cube_concepts(looks)
    assert {c.id: c.prompt for c in concepts} == {
        "a": "a", "b": "b", "negative": "the colours of a negative", "old-film-2": "Old Film 2",
    }  # fmt: skip
    assert "4 concepts" in notes[0] and "title 'Untitled' is that of 2 files" in notes[1]
    teacher = CubeTeacher(str(looks))
    assert torch.allclose(teacher.edit(concepts[2], PHOTOS), 1 - PHOTOS, atol=1e-6)
    assert teacher.refusal(concept("absent")) == "there is no file absent.cube in the folder of look-up tables"
    (looks / "a.cube").write_text("LUT_1D_SIZE 2\n")
    assert teacher.refusal(concepts[0]).startswith("a.cube has 0 colours")
    (looks / "A.cube").write_text("")
    with pytest.raises(WeightzooError, match=r"A.cube and a.cube .* are both concept 'a'"):
        cube_concepts(looks)


# --- what they have in common ---


@pytest.fixture
def zoo_of(micro, tmp_path, monkeypatch):
    """Build a zoo of a teacher with fleets that are made up; its pairs are rendered."""
    monkeypatch.setitem(EXECUTORS, "local", run_inline)
    base = write_fake_base(tmp_path / "base", micro)

    def call(concepts, teacher, **options):
        config = with_own_teacher(replace(micro, num_train_crops=2, num_test_crops=2), teacher, **options)
        build(tmp_path / "run", config, concepts, base_from=base, fleet=fake_fleet)
        return tmp_path / "run"

    return call


def test_a_zoo_of_a_program_is_frozen_with_it_and_runs_nowhere_else(work, zoo_of, tmp_path):
    concepts = [concept("a", light=10), concept("b", light=20)]
    run_dir = zoo_of(concepts, "command", run=SCRIPT)
    told = json.loads((run_dir / "config.json").read_text())["teacher_options"]
    assert told == {"run": SCRIPT.removeprefix("/bin/"), "folder": "own:folder"}
    assert read_config(run_dir).teacher_options == {"run": SCRIPT, "folder": str(work)}
    frozen = read_json(run_dir / "photographs.json")["teacher"]
    assert frozen["a"]["1 copy.sh"] == sha256_file(work / "copy.sh") and set(frozen) == {"a", "b"}

    with pytest.raises(WeightzooError, match="frozen with another config .*run"):
        zoo_of(concepts, "command", run=SCRIPT.replace("light", "id"))
    (work / "copy.sh").write_text(COPY + "# changed\n")
    with pytest.raises(WeightzooError, match=r"files that the teacher works with differ .*teacher\.a\.1 copy\.sh"):
        zoo_of(concepts, "command", run=SCRIPT)

    (run_dir / "places.json").unlink()  # as a download is; whatever its config names as the folder
    config = json.loads((run_dir / "config.json").read_text())
    config["teacher_options"]["folder"] = str(work)
    (run_dir / "config.json").write_text(json.dumps(config))
    options = read_config(run_dir).teacher_options
    with pytest.raises(WeightzooError, match="those of the zoo's makers and are not run here"):
        CommandTeacher(**options).edit(concepts[0], PHOTOS)
    assert not is_plain_path("places.json"), "no manifest brings one along"


def test_a_concept_that_a_program_cannot_do_is_a_row(work, zoo_of):
    concepts = [concept("a", light=10), concept("b"), concept("c", light="much")]
    run_dir = zoo_of(concepts, "command", run=SCRIPT)
    stored = {name: value for task in plan_run(run_dir) for name, value in read_targets(task).items()}
    assert not isinstance(stored["a"], str)
    assert stored["b"].startswith("concept 'b' has no attribute 'light'")
    assert "sh ended with status 3: much is no number" in stored["c"]


def test_what_is_missing_is_named_before_anything_is_frozen(work, micro, tmp_path):
    for teacher, options, words in (
        ("callable", {}, "write --teacher callable package.module:function"),
        ("cube", {}, "write --teacher cube DIR"),
        ("filters", {"works_with": "x"}, "takes no 'x'"),
        ("cube", {"run": "x"}, "--run is an option of --teacher command"),
        ("filters", {"time_limit": 3.0}, "--time-limit is an option of --teacher command"),
        ("command", {"time_limit": float("inf")}, "no number of seconds"),
    ):
        with pytest.raises(WeightzooError, match=words):
            with_own_teacher(micro, teacher, **options)
    for teacher, options in (("command", {"run": SCRIPT}), ("callable", {"works_with": "own_edits:negative"})):
        with pytest.raises(WeightzooError, match=f"--teacher {teacher} needs --concepts, a JSONL file"):
            own_concepts(with_own_teacher(micro, teacher, **options), None)
    (tmp_path / "plain.jsonl").write_text('{"id": "a", "prompt": "a"}\n')
    with pytest.raises(WeightzooError, match="needs a command; give --run"):
        own_concepts(with_own_teacher(micro, "command"), tmp_path / "plain.jsonl")
    for teacher, works_with, words in (
        ("callable", "own_edits:absent", "has no function 'absent'"),
        ("cube", "absent", "no folder of look-up tables"),
    ):
        with pytest.raises(WeightzooError, match=words):
            freeze(tmp_path / "run", with_own_teacher(micro, teacher, works_with), [concept("a")])
    assert not (tmp_path / "run" / "config.json").exists()


def test_places_of_a_command_are_not_told(micro, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "anna"))
    run = f"{tmp_path}/anna/bin/tool {{source}} {{target}} {{id}} --style={tmp_path}/anna/styles/s.xmp"
    config = with_own_teacher(micro, "command", run=run)
    labelled, places = split_places(config)
    assert labelled.teacher_options["run"] == "tool {source} {target} {id} --style=s.xmp"
    assert places["teacher_options"] == {"run": run, "folder": str(Path.cwd())}
    assert split_places(labelled) == (labelled, {})


def test_teachers_of_own_concepts_do_those_only(zoo_of, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.picture_batches.NUM_CROPS", 2)
    for name, high in (("half", 0.5), ("same", 1)):
        write_curve(tmp_path / "looks" / f"{name}.cube", 0, high)
    run_dir = zoo_of(cube_concepts(tmp_path / "looks")[0], "cube", works_with=str(tmp_path / "looks"))
    edits = open_catalogue_edits(run_dir)
    assert [found.id for found in edits.concepts] == ["half", "same"]
    with pytest.raises(WeightzooError, match="leave --more-concepts out"):
        open_catalogue_edits(run_dir, more_concepts=3)
    with pytest.raises(WeightzooError, match="no pairs of other concepts than its own; give --pairs DIR"):
        held_out_pairs(tmp_path / "pairs", run_dir, HeldOutRequest({"value": 1}, lambda *_: 1))
