"""Pairs: three ways to store them that agree, and the exact error for each thing that can be wrong."""

import io
import tarfile
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from zoo.errors import WeightzooError
from zoo.pictures.pair_squares import pairs_to_tensors
from zoo.pictures.pairs import read_pairs, split_pairs, write_pairs
from zoo.pictures.photo_file import open_image

NAMES = ["a", "b", "c"]


@pytest.fixture
def tensors():
    generator = torch.Generator().manual_seed(0)
    return [(torch.rand(3, 3, 8, 12, generator=generator) * 255).round() / 255 for _ in range(2)]


@pytest.fixture
def folder(tmp_path, tensors):
    write_pairs(tmp_path / "pairs", NAMES, *tensors)
    return tmp_path / "pairs"


def as_tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255


def save_image(path, size=(8, 8), colour="red"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def make_tar(path, members):
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def side_by_side(folder, out):
    out.mkdir()
    for name in NAMES:
        both = [Image.open(folder / half / f"{name}.png") for half in ("source", "target")]
        sheet = Image.new("RGB", (both[0].width * 2, both[0].height))
        sheet.paste(both[0], (0, 0))
        sheet.paste(both[1], (both[0].width, 0))
        sheet.save(out / f"{name}.png")
    return out


def webdataset(folder, out):
    halves = ("source", "target")
    members = {f"{n}.{half}.png": (folder / half / f"{n}.png").read_bytes() for n in NAMES for half in halves}
    make_tar(out, members)
    return out


def test_three_formats_give_the_same_pairs(folder, tensors, tmp_path):
    tar = webdataset(folder, tmp_path / "pairs.tar")
    (tmp_path / "tars").mkdir()
    tar_folder = webdataset(folder, tmp_path / "tars" / "0.tar").parent
    for path in (folder, side_by_side(folder, tmp_path / "sheets"), tar, tar_folder):
        pairs = read_pairs(path)
        assert [name for name, _, _ in pairs] == NAMES
        for index, (_, source, target) in enumerate(pairs):
            assert torch.equal(as_tensor(source), tensors[0][index])
            assert torch.equal(as_tensor(target), tensors[1][index])


def test_many_pairs_come_in_order_and_the_first_wrong_one_is_named(tmp_path):
    before = list(warnings.filters)
    names = [f"{number:02}" for number in range(40)]
    for number, name in enumerate(names):
        for half in ("source", "target"):
            save_image(tmp_path / half / f"{name}.png", size=(4 + number, 8), colour=(number, 0, 0))
    pairs = read_pairs(tmp_path)
    assert [(name, source.width, source.getpixel((0, 0))[0]) for name, source, _ in pairs] == [
        (name, 4 + number, number) for number, name in enumerate(names)
    ]
    for name in ("21", "05", "38"):
        (tmp_path / "target" / f"{name}.png").write_bytes(b"no picture")
    with pytest.raises(WeightzooError, match="05.png"):
        read_pairs(tmp_path)
    assert warnings.filters == before


def test_suffixes_may_differ_and_other_files_are_ignored(tmp_path):
    for name in ("a", "b"):
        save_image(tmp_path / "source" / f"{name}.JPG")
        save_image(tmp_path / "target" / f"{name}.png")
    (tmp_path / "source" / "notes.txt").write_text("x")
    (tmp_path / "target" / ".DS_Store").write_text("x")
    assert [name for name, _, _ in read_pairs(tmp_path)] == ["a", "b"]


def test_images_are_upright_rgb_on_white(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    Image.new("RGB", (12, 8)).save(tmp_path / "turned.jpg", exif=exif)
    assert open_image(tmp_path / "turned.jpg").size == (8, 12)
    Image.new("RGBA", (2, 2), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert open_image(tmp_path / "clear.png").getpixel((0, 0)) == (255, 255, 255)
    Image.fromarray(np.full((2, 2), 0x8000, np.uint16)).save(tmp_path / "deep.png")
    assert open_image(tmp_path / "deep.png").getpixel((0, 0)) == (128, 128, 128)


def test_max_short_side_scales_both(tmp_path):
    for half in ("source", "target"):
        for name in ("a", "b"):
            save_image(tmp_path / half / f"{name}.png", (40, 20))
    _, source, target = read_pairs(tmp_path, max_short_side=10)[0]
    assert source.size == target.size == (20, 10)


def unequal_names(folder, path):
    for name in "xyzuv":
        save_image(folder / "source" / f"{name}.png")
    return folder


def unequal_sizes(folder, path):
    save_image(folder / "target" / "b.png", (9, 8))
    return folder


def not_an_image(folder, path):
    (folder / "source" / "b.png").write_text("hello")
    return folder


def truncated_image(folder, path):
    data = (folder / "source" / "b.png").read_bytes()
    (folder / "source" / "b.png").write_bytes(data[: len(data) // 2])
    return folder


def no_target_folder(folder, path):
    save_image(path / "source" / "a.png")
    return path


def two_of_one_name(folder, path):
    save_image(folder / "source" / "a.jpg")
    return folder


def one_pair(folder, path):
    save_image(path / "source" / "a.png")
    save_image(path / "target" / "a.png")
    return path


def odd_width(folder, path):
    save_image(path / "a.png", (9, 4))
    save_image(path / "b.png", (9, 4))
    return path


def broken_tar(folder, path):
    path.mkdir()
    (path / "pairs.tar").write_bytes(b"not a tar" * 100)
    return path / "pairs.tar"


def truncated_tar(folder, path):
    path.mkdir()
    tar = webdataset(folder, path / "pairs.tar")
    tar.write_bytes(tar.read_bytes()[:1300])
    return tar


def tar_without_target(folder, path):
    path.mkdir()
    make_tar(path / "pairs.tar", {"a.source.png": (folder / "source" / "a.png").read_bytes()})
    return path / "pairs.tar"


def one_level_up(folder, path):
    return folder.parent


def absent(folder, path):
    return path


def some_file(folder, path):
    return folder / "source" / "a.png"


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (unequal_names, r"u, v, x and 2 more in source/ but not in target/"),
        (unequal_sizes, r"pair b: the source is 12x8 pixels, the target 9x8"),
        (not_an_image, r"source/b.png \(no picture, .*\); replace"),
        (truncated_image, r"cannot read the image .*source/b.png"),
        (no_target_folder, r"has source/ but no target/"),
        (two_of_one_name, r"has source/a.jpg and source/a.png for one picture; keep one"),
        (one_pair, r"holds 1 pair, at least 2 are needed"),
        (odd_width, r"a.png is 9 pixels wide"),
        (broken_tar, r"pairs.tar is not a readable tar"),
        (truncated_tar, r"pairs.tar is not a readable tar \(its end is missing\); restore"),
        (tar_without_target, r"pairs.tar: a in NAME.source but not in NAME.target"),
        (one_level_up, r"neither source/ and target/ .*one of its folders \(pairs\)"),
        (absent, r"does not exist"),
        (some_file, r"neither a folder nor a .tar"),
    ],
)
def test_errors_name_the_thing(folder, tmp_path, break_it, message):
    path = break_it(folder, tmp_path / "broken")
    with pytest.raises(WeightzooError, match=message) as caught:
        read_pairs(path)
    assert "\n" not in str(caught.value) and ";" in str(caught.value)


def test_split_is_stable_and_never_empty():
    names = [f"photo{number}" for number in range(50)]
    train, test = split_pairs(names)
    assert (len(train), len(test)) == (40, 10) and sorted(train + test) == sorted(names)
    assert split_pairs(names[::-1]) == (train, test)
    assert [len(part) for part in split_pairs(["a", "b"])] == [1, 1]
    with pytest.raises(WeightzooError, match="cannot be split"):
        split_pairs(["a"])


def test_crops_are_joint_and_reproducible(folder):
    pairs = [(name, source, source) for name, source, _ in read_pairs(folder)]
    sources, targets = pairs_to_tensors(pairs, 6, crops=4, seed=1)
    assert sources.shape == (12, 3, 6, 6) and torch.equal(sources, targets)
    assert torch.equal(pairs_to_tensors(pairs[1:], 6, crops=4, seed=1)[0], sources[4:])
    assert not torch.equal(pairs_to_tensors(pairs, 6, crops=4, seed=2)[0], sources)


def test_one_crop_is_the_centred_square(folder, tensors):
    sources, targets = pairs_to_tensors(read_pairs(folder), 8)
    assert torch.equal(sources, tensors[0][..., 2:10]) and torch.equal(targets, tensors[1][..., 2:10])


def test_write_pairs_refuses_what_it_cannot_write(folder, tensors, tmp_path, monkeypatch):
    with pytest.raises(WeightzooError, match="not empty"):
        write_pairs(folder, NAMES, *tensors)
    with pytest.raises(WeightzooError, match="plain names"):
        write_pairs(tmp_path / "new", ["a", "../b", "c"], *tensors)
    with pytest.raises(WeightzooError, match="match them"):
        write_pairs(tmp_path / "new", ["a"], *tensors)

    def full_disk(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(WeightzooError, match="No space left on device; free"):
        write_pairs(tmp_path / "new", NAMES, *tensors)
    assert [child.name for child in tmp_path.iterdir()] == ["pairs"]
