"""What an edited copy keeps of its photograph: 16 bits, date, place, resolution, a profile of sRGB."""

import imagecodecs
import numpy as np
import pytest
import torch
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

from tests.zoo.pictures.test_photo_file import gradient, png
from zoo.pictures.apply import edit_file, edit_photo
from zoo.pictures.photo_colours import deep_to_srgb, to_srgb
from zoo.pictures.photo_file import load_photo, read_photo
from zoo.pictures.photo_metadata import srgb_profile
from zoo.pictures.photo_output import write_photo

TAKEN = "2024:05:06 07:08:09"


class Darker(torch.nn.Module):
    """A network that halves every colour."""

    config = type("Config", (), {"image_size": 16})()

    def forward(self, images):
        return images / 2


class Whole(Darker):
    """The same as a network that takes whole photographs."""

    whole_photograph = True


def exif(orientation=1) -> Image.Exif:
    values = Image.Exif()
    values[Base.Orientation] = orientation
    values[Base.Model] = "a camera"
    values[IFD.Exif] = {Base.DateTimeOriginal: TAKEN, Base.MakerNote: b"\1\2", Base.ColorSpace: 65535}
    values[IFD.GPSInfo] = {GPS.GPSLatitudeRef: "N", GPS.GPSLatitude: (48.0, 8.0, 12.5)}
    return values


def deep(height=24, width=32) -> np.ndarray:
    """A smooth picture that uses all 16 bits, uint16 [H, W, 3]."""
    y, x = np.mgrid[0:height, 0:width] / (height + width - 2)
    return np.rint(np.stack([x, y, x + y], 2) * 65535).astype(np.uint16)


@pytest.mark.parametrize("out", ["jpg", "png", "webp", "tif", "deep.png", "deep.tif"])
def test_date_place_resolution_and_profile_are_kept(tmp_path, out):
    profile = imagecodecs.cms_profile("adobergb")
    Image.fromarray(gradient()).save(tmp_path / "a.jpg", exif=exif(6), dpi=(300, 240), icc_profile=profile)
    photo = tmp_path / "a.jpg"
    if out.startswith("deep"):
        metadata, photo = read_photo(photo, complete=True).metadata, tmp_path / "a.png"
        write_photo(photo, deep(32, 24), None, metadata)
    edit_file(Darker(), photo, tmp_path / f"out.{out}")
    with Image.open(tmp_path / f"out.{out}") as result:
        kept, camera = result.getexif(), result.getexif().get_ifd(IFD.Exif)
        assert camera[Base.DateTimeOriginal] == TAKEN and kept[Base.Model] == "a camera"
        assert kept.get_ifd(IFD.GPSInfo)[GPS.GPSLatitude] == (48.0, 8.0, 12.5)
        assert camera[Base.ColorSpace] == 1 and not {Base.MakerNote, Base.Orientation} & {*camera, *kept}
        assert result.info["icc_profile"] == srgb_profile() and result.size == (24, 32)
        dpi = result.info.get("dpi") or (kept[Base.XResolution], kept[Base.YResolution])
        assert tuple(map(round, dpi)) == (240, 300)


def test_a_photograph_that_says_nothing_gets_nothing(tmp_path):
    Image.fromarray(gradient()).save(tmp_path / "a.png")
    edit_file(Darker(), tmp_path / "a.png", tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as result:
        assert not result.info and not result.getexif()


def test_broken_exif_data_are_told(tmp_path):
    data = exif().tobytes()
    Image.fromarray(gradient()).save(tmp_path / "a.jpg", exif=data[:20] + b"\xff" * 40)
    notes = edit_file(Darker(), tmp_path / "a.jpg", tmp_path / "out.jpg")
    assert len(notes) == 1 and "a.jpg: a part of the file is broken and left out (" in notes[0]
    assert read_photo(tmp_path / "out.jpg").pixels.shape == (24, 32, 3)


@pytest.mark.parametrize("network", [Darker(), Whole()], ids=["squares", "whole"])
@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("size", [(16, 16), (96, 64)])
def test_16_bits_in_are_16_bits_out(tmp_path, suffix, network, size):
    pixels = deep(*size)
    alpha = np.full(size, 65535, np.uint16)
    alpha[0] = 0
    write_photo(tmp_path / f"a.{suffix}", pixels, alpha)
    again = read_photo(tmp_path / f"a.{suffix}", complete=True)
    assert np.array_equal(again.pixels, pixels) and np.array_equal(again.alpha, alpha)
    edit_file(network, tmp_path / f"a.{suffix}", tmp_path / f"out.{suffix}")
    edited = read_photo(tmp_path / f"out.{suffix}", complete=True)
    assert edited.pixels.dtype == np.uint16 and np.array_equal(edited.alpha, alpha)
    error = np.abs(edited.pixels[1:].astype(int) * 2 - pixels[1:])
    assert np.median(error) < 64 and (edited.pixels % 257 > 0).mean() > 0.5  # steps of 8 bits are 257


@pytest.mark.parametrize("colour_type", [0, 2, 4, 6])
@pytest.mark.parametrize("bits", [12, 16])
def test_all_bits_of_a_file_are_read(colour_type, bits):
    wanted = deep()[..., :1] if colour_type in (0, 4) else deep()
    stored = np.rint(wanted * ((2**bits - 1) / 65535)).astype(np.uint16)
    opaque = [np.full_like(stored[..., :1], 65535)] if colour_type in (4, 6) else []
    photo = load_photo(png(np.concatenate([stored, *opaque], 2), colour_type), complete=True)
    assert np.abs(photo.pixels.astype(int) - wanted).max() <= 2 ** (16 - bits)
    assert photo.alpha is None or photo.alpha.min() == 65535
    assert len(photo.notes) == (bits < 16)


def test_a_profile_counts_for_16_bits_as_for_8():
    profile = imagecodecs.cms_profile("adobergb")
    chart = gradient() // 2 + 80
    image = Image.fromarray(chart)
    image.info["icc_profile"] = profile
    converted = deep_to_srgb(chart.astype(np.uint16) * 257, profile) / 257
    assert np.abs(converted - to_srgb(image)).mean() < 0.5 < np.abs(converted - chart).mean()
    assert np.array_equal(deep_to_srgb(deep(), b"no profile"), deep())


def test_16_bits_become_8_where_the_format_has_no_more(tmp_path):
    for suffix in ("jpg", "webp"):
        write_photo(tmp_path / f"a.{suffix}", deep(), np.full((24, 32), 65535, np.uint16))
        assert np.abs(read_photo(tmp_path / f"a.{suffix}").pixels.astype(int) - np.rint(deep() / 257)).mean() < 4


@pytest.mark.parametrize("network", [Darker(), Whole()], ids=["squares", "whole"])
@pytest.mark.parametrize("pixels", [gradient(), gradient(90, 70), deep(40, 50)], ids=["8 bits", "larger", "16 bits"])
def test_strength_mixes_the_photograph_and_the_edit(network, pixels):
    white = np.iinfo(pixels.dtype).max
    edit = edit_photo(network, pixels).astype(float)
    assert np.array_equal(edit_photo(network, pixels, strength=0), pixels)
    for strength in (-1, -0.3, 0.5, 1, 2):
        expected = (pixels + strength * (edit - pixels)).clip(0, white)
        mixed = edit_photo(network, pixels, strength=strength)
        assert mixed.dtype == pixels.dtype and np.abs(mixed - expected).max() <= 2
