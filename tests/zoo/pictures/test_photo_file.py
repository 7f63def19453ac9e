"""How a picture file becomes sRGB pixels: depth, colour model, transparency, frames, and what is refused."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from zoo.errors import WeightzooError
from zoo.pictures.apply import edit_visible
from zoo.pictures.photo_file import (
    Photo,
    load_photo,
    picture_suffixes,
    read_photo,
)
from zoo.pictures.photo_output import write_photo
from zoo.pictures.transparency import off_white, on_white

PNG_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}  # by colour type: grey, colour, grey and alpha, colour and alpha


def gradient(height=24, width=32):
    """A smooth picture that goes up to white, uint8 [H, W, 3]."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [x * 255 // (width - 1), y * 255 // (height - 1), (x + y) * 255 // (height + width - 2)]
    return np.stack(planes, 2).astype(np.uint8)


def png(values, colour_type):
    """A 16-bit PNG of uint16 [H, W, C]; Pillow writes only grey ones."""
    height, width = values.shape[:2]

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(kind, data) for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    )


def channels(pixels, colour_type):
    """Grey or colour of 8 bits, and where the colour type has it an opaque alpha."""
    colour = pixels[..., :1] if colour_type in (0, 4) else pixels
    opaque = [np.full_like(colour[..., :1], 255)] if colour_type in (4, 6) else []
    return np.concatenate([colour, *opaque], 2)


def close(photo, pixels, levels=1):
    return np.abs(photo.pixels.astype(int) - pixels).max() <= levels


@pytest.mark.parametrize("bits", [10, 12, 16])
@pytest.mark.parametrize("colour_type", PNG_CHANNELS)
def test_fewer_bits_in_a_16_bit_file_give_the_same_picture(colour_type, bits):
    eight = channels(gradient(), colour_type)
    photo = load_photo(png(np.rint(eight * ((2**bits - 1) / 255)).astype(np.uint16), colour_type))
    assert close(photo, eight[..., :3] if colour_type in (2, 6) else eight[..., :1])
    assert len(photo.notes) == (bits < 16) and all(f"taken as {bits} bits" in note for note in photo.notes)
    assert (photo.alpha is None) == (colour_type in (0, 2)) and (photo.alpha is None or photo.alpha.min() == 255)


@pytest.mark.parametrize("colour_type", PNG_CHANNELS)
def test_a_dark_picture_of_16_bits_stays_dark(colour_type):
    dark = channels(gradient() // 20, colour_type)
    photo = load_photo(png(dark.astype(np.uint16) * 257, colour_type))
    assert close(photo, dark[..., :3] if colour_type in (2, 6) else dark[..., :1]) and not photo.notes


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiffs_of_12_bits_in_both_byte_orders(tmp_path, order):
    values = np.rint(gradient()[..., 0] * (4095 / 255)).astype(f"{order}u2")
    Image.frombytes("I;16B" if order == ">" else "I;16", (32, 24), values.tobytes()).save(tmp_path / "a.tif")
    assert close(read_photo(tmp_path / "a.tif"), gradient()[..., :1])


def test_a_tiff_of_12_bits_needs_no_guess():
    values = np.rint(gradient()[..., 0] // 2 * (4095 / 255)).astype(np.uint16)
    first, second = values[:, ::2], values[:, 1::2]
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], 2).astype(np.uint8).tobytes()
    entries = [(256, 32), (257, 24), (258, 12), (259, 1), (262, 1), (273, 122), (277, 1), (278, 24), (279, len(packed))]
    tags = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in entries)
    data = b"II*\0" + struct.pack("<IH", 8, len(entries)) + tags + bytes(4)
    photo = load_photo(data.ljust(122, b"\0") + packed)
    assert close(photo, gradient()[..., :1] // 2) and not photo.notes


def test_turned_pictures_of_few_bits_are_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    values = np.rint(gradient() * (4095 / 255)).astype(np.uint16)
    chunk = b"eXIf" + exif.tobytes()[6:]
    data = png(values, 2)
    data = data[:33] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]
    assert close(load_photo(data), np.rot90(gradient(), -1))


@pytest.mark.parametrize(("scale", "notes"), [(1, 0), (255, 1)])
def test_floats_from_0_to_1_or_to_255(tmp_path, scale, notes):
    Image.fromarray(gradient()[..., 0].astype(np.float32) / 255 * scale).save(tmp_path / "a.tif")
    photo = read_photo(tmp_path / "a.tif")
    assert close(photo, gradient()[..., :1], 0) and len(photo.notes) == notes


@pytest.mark.parametrize("values", [[-3.0, 900.0], [0.0, float("nan")], [0.0, float("inf")]])
def test_floats_in_no_range_of_pictures_are_refused(tmp_path, values):
    Image.fromarray(np.array([values], np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(WeightzooError, match=r"a.tif is not a readable image \(its numbers .*\); give"):
        read_photo(tmp_path / "a.tif")


def test_whole_numbers_beyond_16_bits_are_refused(tmp_path):
    Image.fromarray(np.array([[0, 70_000]], np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(WeightzooError, match="run from 0 to 70000"):
        read_photo(tmp_path / "a.tif")


def lab(image):
    profiles = (ImageCms.createProfile(name) for name in ("sRGB", "LAB"))
    return ImageCms.profileToProfile(image, *profiles, outputMode="LAB")


@pytest.mark.parametrize(
    ("convert", "suffix", "levels"),
    [
        (lambda image: image.convert("CMYK"), "tif", 1),
        (lambda image: image.convert("CMYK"), "jpg", 12),
        (lambda image: image.convert("YCbCr"), "jpg", 12),
        (lambda image: image.convert("YCbCr"), "tif", 12),
        (lab, "tif", 40),
        (lambda image: image.quantize(256), "png", 40),
        (lambda image: image.convert("RGBA"), "webp", 24),
        (lambda image: image, "qoi", 0),
        (lambda image: image, "tga", 0),
        (lambda image: image, "jp2", 12),
        (lambda image: image, "avif", 16),
    ],
)
def test_colour_models_and_formats_give_the_same_picture(tmp_path, convert, suffix, levels):
    convert(Image.fromarray(gradient())).save(tmp_path / f"a.{suffix}")
    assert close(read_photo(tmp_path / f"a.{suffix}"), gradient(), levels)
    assert f".{suffix}" in picture_suffixes()


def test_one_bit_is_black_and_white(tmp_path):
    Image.fromarray(gradient()).convert("1").save(tmp_path / "a.png")
    assert set(np.unique(read_photo(tmp_path / "a.png").pixels)) == {0, 255}


def test_suffixes_leave_out_what_pillow_only_names():
    assert not {".pdf", ".eps", ".mpg", ".wmf", ".h5", ".heic", ".txt"} & picture_suffixes().keys()
    assert {".jpg", ".jfif", ".png", ".gif", ".bmp", ".pgm", ".psd"} <= picture_suffixes().keys()


def test_a_format_that_is_not_taken_is_no_picture_whatever_its_suffix(tmp_path):
    Image.fromarray(gradient()).save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.png")
    with pytest.raises(WeightzooError, match="a.png is not a readable image"):
        read_photo(tmp_path / "a.png")


@pytest.mark.parametrize(("suffix", "word"), [("gif", "frame"), ("webp", "frame"), ("png", "frame"), ("tif", "page")])
def test_the_first_of_several_frames_is_used_and_told(tmp_path, suffix, word):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "green")]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
    photo = read_photo(tmp_path / f"a.{suffix}")
    assert photo.notes == (f"the first of 3 {word}s is used",)
    assert photo.pixels[4, 4, 0] > 240 and photo.pixels[4, 4, 2] < 15


def test_the_preview_in_a_photograph_is_no_second_frame(tmp_path):
    Image.fromarray(gradient()).save(
        tmp_path / "a.mpo", "MPO", save_all=True, append_images=[Image.new("RGB", (32, 24))]
    )
    photo = read_photo(tmp_path / "a.mpo")
    assert not photo.notes and close(photo, gradient(), 12)


def transparent(hidden):
    """The left half is red, the right half hidden; in between 3 columns are half visible."""
    pixels, alpha = np.full((8, 16, 3), hidden, np.uint8), np.zeros((8, 16), np.uint8)
    pixels[:, :9], alpha[:, :6], alpha[:, 6:9] = (200, 40, 40), 255, 128
    return Photo(pixels, alpha)


def test_palettes_and_greys_with_a_transparent_colour(tmp_path):
    for mode, key, seen in (("P", 0, 255), ("L", 0, 255), ("RGB", (0, 0, 0), 255), ("I;16", 0, 255)):
        Image.new(mode, (4, 4)).save(tmp_path / "a.png", transparency=key)
        photo = read_photo(tmp_path / "a.png")
        assert photo.alpha is not None and not photo.alpha.any(), mode
        assert (np.asarray(photo.on_white()) == seen).all(), mode


class Blur(torch.nn.Module):
    """An edit in which every pixel reaches those beside it; it has no `render`, so it is applied as it is."""

    config = type("Config", (), {"image_size": 8})()

    def forward(self, images):
        return torch.nn.functional.avg_pool2d(images, 3, 1, 1, count_include_pad=False)


def test_hidden_colours_reach_nothing():
    results = [edit_visible(Blur(), transparent(hidden)) for hidden in (0, 90, 255)]
    visible = transparent(0).alpha > 0
    assert all(np.array_equal(result[visible], results[0][visible]) for result in results)


def test_an_edit_that_changes_nothing_leaves_half_visible_colours():
    photo = transparent(0)
    back = off_white(np.asarray(photo.on_white()), photo.alpha)
    visible = photo.alpha > 0
    assert np.abs(back[visible].astype(int) - photo.pixels[visible]).max() <= 1


def test_a_jpeg_of_a_transparent_picture_shows_white(tmp_path):
    photo = transparent(0)
    write_photo(tmp_path / "a.jpg", photo.pixels, photo.alpha)
    shown = read_photo(tmp_path / "a.jpg").pixels.astype(int)
    assert np.abs(shown - np.asarray(on_white(photo.pixels, photo.alpha))).max() < 40 and shown[:, 12:].min() > 250


def test_a_cut_off_file_is_named(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(gradient(200, 200)).save(buffer, "PNG")
    (tmp_path / "a.png").write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    with pytest.raises(WeightzooError, match="a.png is not a readable image .*truncated"):
        read_photo(tmp_path / "a.png")
