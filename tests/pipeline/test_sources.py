"""Source photographs: the embedded set, folders, crops."""

from __future__ import annotations

import weakref
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline import sources
from pipeline.sources import (
    EMBEDDED,
    PHOTOS,
    attribution,
    crops,
    load_photos,
    photo_paths,
    photos_left_out,
)
from zoo.errors import WeightzooError
from zoo.files import read_json, sha256_file
from zoo.pictures.photo_file import open_image

EXTERNAL = PHOTOS.parent / "external" / "photos"
SPLITS = [name for name, folders in EMBEDDED.items() if folders == (name,)]
EMBEDDED_ZOO = PHOTOS.parents[1] / "zoo" / "embedded" / "weightzoo-small"
LICENCES = {"CC0-1.0", "Public domain", "Middlebury permission", "GPL-2.0-or-later"}
LICENCES |= {f"CC-{kind}-{version}" for kind in ("BY", "BY-SA") for version in ("2.0", "3.0", "4.0")}


def test_every_embedded_photograph_has_an_attribution_and_its_own_split() -> None:
    rows = attribution()
    files = [path for split in SPLITS for path in photo_paths(split)]
    assert {path.relative_to(PHOTOS).as_posix() for path in files} == {row["file"] for row in rows}
    assert {path.as_posix() for path in files} == {path.as_posix() for path in PHOTOS.rglob("*.jpg")}
    assert Counter(row["split"] for row in rows) == {"train": 12, "edits": 58, "reading": 168, "test": 6}
    assert len(files) == len(rows)
    assert all(str(row["file"]).split("/")[0] == row["split"] and row["licence"] in LICENCES for row in rows)
    assert all(r[field] for r in rows for field in ("title", "author", "licence", "licence_url", "origin", "changes"))
    assert all(row.get("kind") for row in rows if row["split"] in ("edits", "reading"))
    text = (PHOTOS / "ATTRIBUTION.md").read_text(encoding="utf-8")
    assert all(f"| `{row['file']}` |" in text for row in rows)


def test_a_zoo_learns_from_train_and_edits_and_reading_has_other_photographs_of_many_kinds() -> None:
    learning, reading = photo_paths("learning"), photo_paths("reading")
    assert sorted(learning) == sorted([*photo_paths("train"), *photo_paths("edits")])
    names = [path.name for path in [*learning, *reading]]
    assert sorted(names) == sorted(set(names))
    kinds = Counter(row["kind"] for row in attribution() if row["split"] == "reading")
    assert len(kinds) >= 20 and max(kinds.values()) < 0.3 * len(reading)
    assert kinds["painting"] + kinds["drawing"] + kinds["document"] <= 0.15 * len(reading)


def test_embedded_photographs_are_small_and_those_of_edits_and_reading_512_px() -> None:
    sizes = {split: sum(path.stat().st_size for path in photo_paths(split)) for split in SPLITS}
    assert sizes["train"] + sizes["test"] < 3_500_000 and sizes["edits"] < 5_000_000 and sizes["reading"] < 12_000_000
    assert all(min(photo.size) <= 768 for split in ("train", "test") for photo in load_photos(split))
    for path in [*photo_paths("edits"), *photo_paths("reading")]:
        with Image.open(path) as photo:
            least = 480 if path.parent.name == "edits" else 400
            assert least <= min(photo.size) <= 512 and photo.format == "JPEG" and photo.mode == "RGB", path.name
            assert not photo.getexif() and "icc_profile" not in photo.info, path.name


def test_no_photograph_stands_in_two_splits_nor_in_the_external_edits() -> None:
    """A dHash of 64 bits: two versions of one photograph differ in a few of them, others in about half."""

    def dhash(path: Path) -> np.ndarray:
        with Image.open(path) as photo:
            grey = np.asarray(photo.convert("L").resize((9, 8), Image.Resampling.BICUBIC))
        return grey[:, 1:] > grey[:, :-1]

    files = [path for split in SPLITS for path in photo_paths(split)] + photo_paths(EXTERNAL)
    hashes = np.stack([dhash(path).ravel() for path in files])
    apart = (hashes[:, None] != hashes).sum(-1)
    near = np.argwhere(np.triu(apart <= 10, 1))
    assert not len(near), [(files[i].name, files[j].name) for i, j in near]


def test_the_photographs_are_those_that_the_embedded_zoo_has_hashed() -> None:
    frozen = read_json(EMBEDDED_ZOO / "photographs.json")
    for role, split in (("train", "learning"), ("test", "test")):
        assert frozen[role] == {path.name: sha256_file(path) for path in photo_paths(split)}


def test_crops_are_deterministic_by_seed() -> None:
    photos = load_photos("test")
    first = crops(photos, 9, 32, seed=3)
    assert first.shape == (9, 3, 32, 32) and first.dtype == torch.float32
    assert 0 <= float(first.min()) and float(first.max()) <= 1
    assert torch.equal(first, crops(photos, 9, 32, seed=3))
    assert not torch.equal(first, crops(photos, 9, 32, seed=4))


def test_crops_are_balanced_over_photographs() -> None:
    flat = [Image.new("RGB", (60, 40), (level, 0, 0)) for level in (0, 80, 160)]
    counts = Counter(round(float(c[0].mean()) * 255) for c in crops(flat, 14, 8, seed=0))
    assert sorted(counts.values()) == [4, 5, 5]


def test_a_photograph_smaller_than_the_crop_is_enlarged() -> None:
    assert crops([Image.new("RGB", (10, 12), (255, 255, 255))], 2, 32, seed=0).min() > 0.99


def test_a_folder_is_read_upright(tmp_path: Path) -> None:
    image = Image.new("RGB", (30, 20))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif)
    (tmp_path / "notes.txt").write_text("not a photo")
    assert [p.size for p in load_photos(tmp_path)] == [(20, 30)]


def test_files_give_the_crops_of_decoded_photographs_and_one_is_open_at_a_time(tmp_path, monkeypatch) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (9, 20, 31, 3), dtype=np.uint8)
    for orientation, pixels in enumerate(noise):
        image = Image.fromarray(pixels)
        exif = image.getexif()
        exif[0x0112] = orientation
        for suffix in ("jpg", "png", "tif", "webp"):
            image.save(tmp_path / f"{orientation}.{suffix}", exif=exif)
    paths = photo_paths(tmp_path)
    expected = crops([open_image(path) for path in paths], 50, 16, seed=0)
    opened, most = [], [0]

    def open_and_count(path):
        most[0] = max(most[0], sum(reference() is not None for reference in opened))
        image = open_image(path)
        opened.append(weakref.ref(image))
        return image

    monkeypatch.setattr(sources, "_open", open_and_count)
    assert torch.equal(crops(paths, 50, 16, seed=0), expected)
    assert len(opened) == len(paths) and most[0] <= 1, "the one before is let go when the next is there"


def test_photographs_are_decoded_as_pairs_are(tmp_path: Path) -> None:
    Image.fromarray(np.full((20, 20), 32768, dtype=np.uint16)).save(tmp_path / "a.png")
    Image.new("RGBA", (20, 20), (255, 0, 0, 0)).save(tmp_path / "b.png")
    grey, hidden = load_photos(tmp_path)
    assert grey.getpixel((0, 0)) == (128, 128, 128) and hidden.getpixel((0, 0)) == (255, 255, 255)


def test_photographs_have_every_suffix_and_what_is_left_out_is_named(tmp_path: Path) -> None:
    for name in ("a.AVIF", "b.gif", "c.tga"):
        Image.new("RGB", (20, 20), "red").save(tmp_path / name)
    for name in ("d.heic", "e.cr2", "notes.txt", "Thumbs.db", ".hidden.png"):
        (tmp_path / name).write_bytes(b"x")
    assert [path.name for path in photo_paths(tmp_path)] == ["a.AVIF", "b.gif", "c.tga"]
    assert len(load_photos(tmp_path)) == 3 and photos_left_out("train") == []
    assert photos_left_out(tmp_path) == [
        f"{tmp_path}: 1 file is left out: d.heic (HEIC is not read here; convert to JPEG or PNG)",
        f"{tmp_path}: 1 file is left out: e.cr2 (camera raw is not read here; export as JPEG or TIFF)",
        f"{tmp_path}: 1 file is left out: notes.txt (no picture)",
    ]


def test_a_picture_that_would_fill_the_memory_is_named(tmp_path: Path, monkeypatch) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for read in (load_photos, lambda folder: crops(photo_paths(folder), 1, 16, seed=0)):
        with pytest.raises(WeightzooError, match="huge.png is not a readable image"):
            read(tmp_path)


def test_errors_name_the_thing(tmp_path: Path) -> None:
    with pytest.raises(WeightzooError, match="no folder of photographs"):
        load_photos(tmp_path / "absent")
    with pytest.raises(WeightzooError, match="no photographs in"):
        load_photos(tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"not a jpeg")
    with pytest.raises(WeightzooError, match="broken.jpg is not a readable image"):
        load_photos(tmp_path)
    with pytest.raises(WeightzooError, match="cannot take 0 crops"):
        crops(load_photos("test"), 0, 32, seed=0)
