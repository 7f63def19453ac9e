"""What a folder or tar of pairs is taken for, in which direction, and what is left out or refused."""

import os
import tarfile
import unicodedata

import numpy as np
import pytest
from PIL import Image

from zoo.errors import WeightzooError
from zoo.pictures.pair_layouts import WORDS, find_pairs
from zoo.pictures.pairs import read_pair_set
from zoo.pictures.picture_files import left_out_lines, list_files, some, sort_files


def picture(seed, size=(96, 72)):
    """Random colours that flow into each other."""
    values = np.random.default_rng(seed).random((6, 8, 3))
    return Image.fromarray((values * 255).astype("uint8")).resize(size, Image.Resampling.BICUBIC)


def edited(image):
    return Image.eval(image, lambda value: 255 - value)


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def write(root, source, target, count=6, suffixes=(".png", ".png")):
    """Pairs under names with {i} in them, such as "source/p{i}"."""
    for i in range(count):
        save(root / (source.format(i=i) + suffixes[0]), picture(i))
        save(root / (target.format(i=i) + suffixes[1]), edited(picture(i)))
    return root


def pack(folder, tar):
    with tarfile.open(tar, "w") as out:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                out.add(file, file.relative_to(folder.parent))
    return tar


def check(path, direction="source-to-target", count=6, sign=1):
    """The pairs are complete, and the source is the picture that was not inverted (or the other one)."""
    read = read_pair_set(path, minimum=1, direction=direction)
    assert len(read.pairs) == count
    for _, source, target in read.pairs:
        plain, other = (source, target) if sign > 0 else (target, source)
        assert any(plain == picture(i) and other == edited(picture(i)) for i in range(count))
    return read


@pytest.mark.parametrize("words", WORDS, ids="-".join)
@pytest.mark.parametrize("change", [str, str.upper, str.lower])
def test_two_folders_of_known_names(tmp_path, words, change):
    source, target = map(change, words)
    write(tmp_path, f"{source}/p{{i}}", f"{target}/p{{i}}")
    read = check(tmp_path)
    assert read.taken_as == f"6 pairs: {source}/ is the source, {target}/ the target" and not read.notes
    check(tmp_path, "target-to-source", sign=-1)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("p{i}.source", "p{i}.target"),
        ("a.b{i}.Source", "a.b{i}.TARGET"),
        ("p{i}_before", "p{i}_after"),
        ("before-{i}", "after-{i}"),
        ("{i}_A", "{i}_B"),
        ("holiday {i} original", "holiday {i} edited"),
    ],
)
def test_files_of_known_names(tmp_path, source, target):
    write(tmp_path, source, target, suffixes=(".png", ".PNG"))
    assert check(tmp_path).taken_as.startswith("6 pairs: NAME.")
    check(tmp_path, "target-to-source", sign=-1)


def test_one_before_and_one_after(tmp_path):
    write(tmp_path, "before", "after", 1)
    read = check(tmp_path, count=1)
    assert read.taken_as == "1 pair: NAME.before is the source, NAME.after the target"


def test_a_name_that_is_no_text_is_left_out_and_told(tmp_path):
    write(tmp_path, "source/p{i}", "target/p{i}")
    for half in ("source", "target"):
        (tmp_path / half / "p0.png").rename(tmp_path / half / os.fsdecode(b"caf\xe9.png"))
    read = read_pair_set(tmp_path)
    assert len(read.pairs) == 5
    [note] = read.notes
    assert note.startswith("2 files are left out: source/caf\\udce9.png and target/") and "not in UTF-8" in note


@pytest.mark.parametrize(("source", "target"), [("A/p{i}", "B/p{i}"), ("p{i}.source", "p{i}.target")])
@pytest.mark.parametrize("as_folder", [False, True])
def test_tars_of_each_layout(tmp_path, source, target, as_folder):
    (tmp_path / "tars").mkdir()
    tar = pack(write(tmp_path / "pairs", source, target), tmp_path / "tars" / "pairs.tar")
    loose, packed = check(tmp_path / "pairs"), check(tar.parent if as_folder else tar)
    assert [name for name, *_ in packed.pairs] == [name for name, *_ in loose.pairs]


@pytest.mark.parametrize("tarred", [False, True])
def test_side_by_side_pictures_say_which_half_is_the_source(tmp_path, tarred):
    folder = tmp_path / "sheets"
    for i in range(6):
        sheet = Image.new("RGB", (192, 72))
        sheet.paste(picture(i), (0, 0))
        sheet.paste(edited(picture(i)), (96, 0))
        save(folder / f"s{i}.png", sheet)
    path = pack(folder, tmp_path / "sheets.tar") if tarred else folder
    assert check(path).taken_as == "6 side-by-side pictures: the left half is the source, the right half the target"
    assert "the right half is the source" in check(path, "target-to-source", sign=-1).taken_as


def test_ordinary_pictures_are_no_side_by_side_pairs(tmp_path):
    write(tmp_path, "source/p{i}", "target/p{i}")
    with pytest.raises(WeightzooError, match="left and right halves show different things.*; put the sources into"):
        read_pair_set(tmp_path / "source")


def test_two_ways_to_read_a_folder_are_refused(tmp_path):
    write(tmp_path, "source/p{i}", "target/p{i}")
    write(tmp_path, "A/p{i}", "B/p{i}")
    with pytest.raises(WeightzooError, match="can be read as source/ and target/ or as A/ and B/; keep one"):
        find_pairs(tmp_path)


def test_two_ways_to_read_file_names_are_refused(tmp_path):
    write(tmp_path, "p{i}.source", "p{i}.target")
    write(tmp_path, "q{i}_before", "q{i}_after")
    with pytest.raises(WeightzooError, match="can be read as NAME.source and NAME.target or as NAME.before"):
        find_pairs(tmp_path)


def test_single_letters_need_every_picture(tmp_path):
    write(tmp_path, "p{i}_a", "p{i}_b", 1)
    save(tmp_path / "beach.png", picture(7))
    with pytest.raises(WeightzooError, match="halves show different things"):
        read_pair_set(tmp_path)


def test_a_word_that_is_no_direction(tmp_path):
    with pytest.raises(WeightzooError, match="'AtoB' is unknown; use source-to-target or target-to-source"):
        find_pairs(tmp_path, "AtoB")


def test_names_in_two_forms_of_unicode_are_one(tmp_path):
    forms = [unicodedata.normalize(form, "Müller-ガ") for form in ("NFC", "NFD")]
    assert forms[0] != forms[1]
    save(tmp_path / "source" / f"{forms[0]}.png", picture(0))
    save(tmp_path / "target" / f"{forms[1]}.png", edited(picture(0)))
    assert check(tmp_path, count=1).pairs[0][0] == forms[0]
    assert check(pack(tmp_path / "source", tmp_path / "x.tar").parent, count=1).pairs[0][0] == forms[0]


def test_everything_that_is_left_out_is_named(tmp_path):
    write(tmp_path, "source/p{i}", "target/p{i}")
    for half in ("source", "target"):
        for i in range(4):
            (tmp_path / half / f"h{i}.HEIC").write_bytes(b"x")
        (tmp_path / half / ".DS_Store").write_bytes(b"x")
        (tmp_path / half / "Thumbs.db").write_bytes(b"x")
        (tmp_path / half / "._p0.png").write_bytes(b"x")
    (tmp_path / "source" / "notes.txt").write_text("x")
    save(tmp_path / "cover.png", picture(9))
    for folder in ("__MACOSX", ".git", "testA"):
        (tmp_path / folder).mkdir()
    assert check(tmp_path).notes == [
        "8 files are left out: source/h0.HEIC, source/h1.HEIC, source/h2.HEIC and 5 more "
        "(HEIC is not read here; convert to JPEG or PNG)",
        "1 file is left out: source/notes.txt (no picture)",
        "1 file is left out: cover.png (neither source/ nor target/)",
        "1 folder is left out: testA/",
    ]


def test_a_partner_that_cannot_be_read_is_named_with_its_reason(tmp_path):
    write(tmp_path, "source/p{i}", "target/p{i}")
    (tmp_path / "source" / "p0.png").rename(tmp_path / "source" / "p0.heic")
    with pytest.raises(WeightzooError, match="p0 in target/ but not in source/; source/p0.heic is left out: HEIC"):
        find_pairs(tmp_path)


def test_all_formats_of_pillow_may_be_mixed(tmp_path):
    suffixes = [".png", ".avif", ".gif", ".tga", ".jp2", ".jfif", ".qoi", ".pgm", ".BMP"]
    for i, suffix in enumerate(suffixes):
        write(tmp_path, f"source/{i}-{{i}}", f"target/{i}-{{i}}", 1, (suffix, ".png"))
    read = read_pair_set(tmp_path)
    assert len(read.pairs) == len(suffixes) and not read.notes


def test_animated_pictures_are_told(tmp_path):
    write(tmp_path, "source/p{i}", "target/p{i}")
    picture(0).save(tmp_path / "source" / "p0.gif", save_all=True, append_images=[picture(1)])
    os.remove(tmp_path / "source" / "p0.png")
    (note,) = read_pair_set(tmp_path).notes
    assert note.startswith("the first of 2 frames is used: ") and note.endswith("p0.gif")


def test_a_folder_without_readable_pictures_says_why(tmp_path):
    (tmp_path / "a.heic").write_bytes(b"x")
    with pytest.raises(WeightzooError, match="no pictures that can be read; 1 file is left out: a.heic .HEIC"):
        find_pairs(tmp_path)


def test_reasons_are_those_of_the_suffix(tmp_path):
    for name in ("a.CR2", "b.dng", "c.svg", "d.pdf", "e"):
        (tmp_path / name).write_bytes(b"x")
    lines = left_out_lines(sort_files(list_files(tmp_path)).left_out)
    assert [line.partition(" (")[2].split()[0].strip(")") for line in lines] == ["camera", "SVG", "no"]
    assert some(["a"]) == "a" and some(["a", "b"]) == "a and b" and some(["a", "b", "c"]) == "a, b and c"
