"""Editing photographs: any size without seams, files of all kinds, clear errors."""

import io
import os
import struct
import subprocess
import sys
import zlib
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from torch import nn

from zoo.adapters.lora import initial_adapter, load_adapter, merge, save_base
from zoo.adapters.peft_format import save_peft
from zoo.config import to_dict
from zoo.errors import WeightzooError, WeightzooWarning
from zoo.files import sha256_file, write_json
from zoo.gans.e2gan import E2ganConfig
from zoo.gans.pix2pix import Pix2pixConfig
from zoo.pictures import photo_file
from zoo.pictures.apply import (
    MARGIN,
    apply_to_photo,
    edit_photo,
    edit_small,
    load_network,
    resized,
    to_pixels,
)
from zoo.pictures.local_affine import fit_local_affine, interpolation
from zoo.pictures.pairs import read_pairs
from zoo.pictures.photo_file import open_image, read_photo
from zoo.pictures.photo_output import write_photo
from zoo.pictures.transparency import on_white

SMALL = E2ganConfig(
    channels=(8, 8, 16, 16), lora_rank=4, attention_rank=2, heads=2, context_tokens=2, groups=4, image_size=32
)


def photograph(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth colours, a hard edge, fine texture; uint8 [height, width, 3]."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    pixels = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(np.float32)
    pixels[height // 3 : height // 2, width // 4 : width // 2] = (
        255 - pixels[height // 3 : height // 2, width // 4 : width // 2]
    )
    return (pixels + rng.normal(0, 4, pixels.shape)).clip(0, 255).astype(np.uint8)


def generator(seed: int = 0) -> nn.Module:
    """An untrained generator whose output is far from its input."""
    torch.manual_seed(seed)
    network = SMALL.build().eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    return merge(network).eval().requires_grad_(False)


@dataclass(frozen=True)
class GradeConfig:
    image_size: int = 64


class Grade(nn.Module):
    """A colour grade that gets brighter from left to right: what a full-size edit must reproduce exactly."""

    config = GradeConfig()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        matrix = torch.tensor([[0.5, 0.3, 0.0], [0.1, 0.6, 0.1], [0.2, 0.2, 0.4]])
        position = (torch.arange(images.shape[-1]) + 0.5) / images.shape[-1]
        return torch.einsum("oi,nihw->nohw", matrix, images) + 0.2 * position


def test_a_colour_grade_is_exact_at_every_size():
    for height, width in [(700, 500), (64, 64), (300, 1200), (40, 50)]:
        pixels = photograph(height, width)
        expected = Grade()(torch.from_numpy(pixels / np.float32(255)).permute(2, 0, 1)[None])
        difference = edit_photo(Grade(), pixels).astype(float) - to_pixels(expected)
        assert abs(difference).mean() < 1, (height, width)


def test_strips_equal_the_whole():
    pixels = photograph(301, 217)
    whole = edit_photo(generator(), pixels, strip_rows=10_000)
    for strip_rows in (1, 7, 64):
        difference = edit_photo(generator(), pixels, strip_rows=strip_rows).astype(int) - whole
        assert abs(difference).max() <= 1 and (difference != 0).mean() < 1e-3

    small, edited = torch.rand(1, 3, 20, 30), torch.rand(1, 3, 20, 30)
    source = torch.rand(1, 3, 101, 150)
    fit = fit_local_affine(small, edited)
    strips = [fit.apply(source[:, :, r : r + 10], (r, min(r + 10, 101)), (101, 150)) for r in range(0, 101, 10)]
    torch.testing.assert_close(torch.cat(strips, 2), fit.apply(source, (0, 101), (101, 150)), rtol=0, atol=1e-5)


def test_no_seams_between_strips():
    pixels = photograph(500, 384)
    edited = edit_photo(generator(), pixels, strip_rows=64).astype(float)
    steps = abs(np.diff(edited, axis=0)).mean((1, 2))
    borders = np.arange(63, 499, 64)
    assert steps[borders].mean() <= 1.1 * np.delete(steps, borders).mean()


def test_the_whole_looks_as_at_the_training_size():
    """Reduced to the training size, the edited photograph is what the network makes of the reduced photograph."""
    network, pixels = generator(), photograph(600, 450)
    small = resized(pixels, (43, 32))
    expected = network(small).clamp(0, 1)
    assert (expected - small).abs().mean() > 0.05
    edited = edit_photo(network, pixels)
    assert (resized(edited, (43, 32)) - expected).abs().mean() < 0.015


def test_at_the_training_size_it_is_the_network_itself():
    network, pixels = generator(), photograph(32, 32)
    expected = network(resized(pixels, (32, 32)))
    assert abs(edit_photo(network, pixels).astype(int) - to_pixels(expected)).max() <= 1


@pytest.mark.parametrize("size", [(64, 64), (33, 65)])
def test_the_frame_is_no_edge(size):
    """With one colour everywhere there is nothing to see, at the border least of all."""
    network = generator()
    image, context = torch.full((1, 3, *size), 0.4), torch.full((1, SMALL.channels[1], 9, 9), 0.1)
    with torch.no_grad():
        edited = network.render(image, context, MARGIN)
        assert edited.shape == image.shape
        assert float(edited.amax((2, 3)).sub(edited.amin((2, 3))).max()) < 1e-5
        bare = network.render(image, context)
    assert float(bare.amax((2, 3)).sub(bare.amin((2, 3))).max()) > 1e-3  # zeros outside show without a margin
    inside = slice(6, -6)
    torch.testing.assert_close(edited[..., inside, inside], bare[..., inside, inside])


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (1500, 20), (33, 65)])
def test_odd_shapes(size):
    assert edit_photo(generator(), photograph(*size)).shape == (*size, 3)
    network = Pix2pixConfig(image_size=32, filters=2).build().eval()
    assert edit_photo(network, photograph(*size)).shape == (*size, 3)


def test_panoramas_stay_small_inside():
    small, *_ = edit_small(generator(), photograph(300, 6000))
    assert max(small.shape) <= 2048


def test_interpolation_reproduces_straight_lines():
    first, weights = interpolation(10, 37, 8, 30)
    values = torch.arange(10.0)[first : first + weights.shape[1]]
    expected = (torch.arange(8, 30) + 0.5) * 10 / 37 - 0.5
    torch.testing.assert_close(weights @ values, expected, rtol=0, atol=1e-5)


def test_every_kind_of_weights(tmp_path):
    torch.manual_seed(0)
    base = SMALL.build().eval().requires_grad_(False)
    adapter = {name: value + 0.1 * torch.randn_like(value) for name, value in initial_adapter(base).items()}
    save_base(tmp_path / "base" / "generator.safetensors", base)
    digest = sha256_file(tmp_path / "base" / "generator.safetensors")
    save_peft(tmp_path / "c", base, adapter, {"base_sha256": digest})
    tuned = merge(base, adapter)
    save_base(tmp_path / "tuned" / "generator.safetensors", tuned)
    write_json(tmp_path / "tuned" / "config.json", {"gan": "e2gan", "config": to_dict(tuned.config)})

    images = torch.rand(1, 3, 32, 32)
    expected = load_adapter(base, adapter)(images)
    for path in (tmp_path / "c", tmp_path / "tuned", tmp_path / "tuned" / "generator.safetensors"):
        torch.testing.assert_close(load_network(path)(images), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(load_network(tmp_path / "base" / "generator.safetensors")(images), base(images))

    save_base(tmp_path / "other.safetensors", SMALL.build())
    with pytest.raises(WeightzooError, match="made with another base"):
        load_network(tmp_path / "c", base=tmp_path / "other.safetensors")
    with pytest.raises(WeightzooError, match="no such adapter"):
        load_network(tmp_path / "absent")
    with pytest.raises(WeightzooError, match="neither adapter_config.json nor generator.safetensors"):
        load_network(tmp_path)


def test_photographs_in_and_out(tmp_path):
    save_base(tmp_path / "g.safetensors", generator())
    pixels = photograph(90, 120)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right to be upright
    Image.fromarray(np.rot90(pixels).copy()).save(tmp_path / "turned.png", exif=exif)
    apply_to_photo(tmp_path / "g.safetensors", tmp_path / "turned.png", tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as out:
        assert out.size == (120, 90) and out.getexif().get(0x0112) is None
        assert np.array_equal(np.asarray(out), edit_photo(generator(), pixels))

    for suffix in (".jpg", ".JPEG", ".png", ".webp", ".tif"):
        write_photo(tmp_path / f"x{suffix}", pixels, np.full((90, 120), 128, np.uint8))
        back = read_photo(tmp_path / f"x{suffix}")
        assert back.pixels.shape == pixels.shape
        expected = on_white(pixels, back.alpha if back.alpha is not None else np.full((90, 120), 128, np.uint8))
        assert abs(np.asarray(back.on_white()).astype(int) - np.asarray(expected)).mean() < 4
        assert (back.alpha is None) == (suffix in (".jpg", ".JPEG"))


def test_what_is_transparent_is_edited_as_white_and_frames_are_told(tmp_path):
    save_base(tmp_path / "g.safetensors", generator())
    pixels, alpha = photograph(60, 80), np.full((60, 80), 255, np.uint8)
    alpha[:, 40:] = 0
    for name, hidden in (("black", 0), ("green", (0, 255, 0))):
        pixels[:, 40:] = hidden
        write_photo(tmp_path / f"{name}.png", pixels, alpha)
        for suffix in (".png", ".jpg"):
            apply_to_photo(tmp_path / "g.safetensors", tmp_path / f"{name}.png", tmp_path / f"{name}-out{suffix}")
    black, green = (read_photo(tmp_path / f"{name}-out.png") for name in ("black", "green"))
    assert np.array_equal(black.pixels, green.pixels) and np.array_equal(black.alpha, alpha)
    assert read_photo(tmp_path / "green-out.jpg").pixels[:, 56:].min() > 250
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    with pytest.warns(WeightzooWarning, match="film.gif: the first of 2 frames is used"):
        apply_to_photo(tmp_path / "g.safetensors", tmp_path / "film.gif", tmp_path / "film.png")


def swapped_profile() -> bytes:
    """An RGB profile whose red and green are those of sRGB the other way round."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    tags = {bytes(data[i : i + 4]): i for i in range(132, 132 + 12 * int.from_bytes(data[128:132], "big"), 12)}
    red, green = tags[b"rXYZ"], tags[b"gXYZ"]
    data[red : red + 4], data[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(data)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_a_colour_profile_counts_in_every_mode_and_for_pairs_too(tmp_path, mode):
    image = Image.new("RGB", (4, 4), (204, 51, 51))  # of the web palette, too
    image.convert(mode).save(tmp_path / "a.png", icc_profile=swapped_profile())
    pixels = read_photo(tmp_path / "a.png").pixels
    assert np.abs(pixels[0, 0].astype(int) - [51, 204, 51]).max() <= 2
    assert np.array_equal(np.asarray(open_image(tmp_path / "a.png")), pixels)


def test_grey_deep_and_profiled_images(tmp_path):
    ramp = np.arange(0, 65536, 64, dtype=np.uint16).reshape(32, 32)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    assert np.array_equal(read_photo(tmp_path / "deep.png").pixels[..., 1], np.rint(ramp / 257).astype(np.uint8))
    Image.fromarray((ramp // 256).astype(np.uint8)).save(tmp_path / "grey.png")
    assert read_photo(tmp_path / "grey.png").pixels.shape == (32, 32, 3)

    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.fromarray(photograph(16, 16))
    image.save(tmp_path / "srgb.png", icc_profile=lab)
    assert abs(read_photo(tmp_path / "srgb.png").pixels.astype(int) - np.asarray(image)).max() <= 1
    image.save(tmp_path / "broken-profile.png", icc_profile=b"no profile")
    assert np.array_equal(read_photo(tmp_path / "broken-profile.png").pixels, np.asarray(image))


def test_bad_files_are_named(tmp_path, monkeypatch):
    (tmp_path / "notes.jpg").write_text("not an image")
    with pytest.raises(WeightzooError, match="notes.jpg is not a readable image"):
        read_photo(tmp_path / "notes.jpg")
    buffer = io.BytesIO()
    Image.fromarray(photograph(200, 200)).save(buffer, "JPEG")
    (tmp_path / "cut.jpg").write_bytes(buffer.getvalue()[:2000])
    with pytest.raises(WeightzooError, match="cut.jpg is not a readable image"):
        read_photo(tmp_path / "cut.jpg")
    Image.fromarray(photograph(8, 8)).save(buffer := io.BytesIO(), "DDS")
    (tmp_path / "odd.dds").write_bytes(buffer.getvalue()[:80] + bytes(4) + buffer.getvalue()[84:])
    with pytest.raises(WeightzooError, match="odd.dds is not a readable image"):
        read_photo(tmp_path / "odd.dds")
    with pytest.raises(WeightzooError, match="no such file"):
        read_photo(tmp_path / "absent.jpg")
    with pytest.raises(WeightzooError, match="is a folder"):
        read_photo(tmp_path)
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(WeightzooError, match="pipe.jpg is a pipe or a device"):
        read_photo(tmp_path / "pipe.jpg")
    monkeypatch.setattr(photo_file, "MAX_PIXELS", 10_000)
    Image.fromarray(photograph(200, 200)).save(tmp_path / "large.jpg")
    with pytest.raises(WeightzooError, match="large.jpg is too large .200x200"):
        read_photo(tmp_path / "large.jpg")


@pytest.mark.parametrize("size", [(4_000_000, 10), (10, 4_000_000), (65_501, 1)])
def test_a_thin_picture_is_refused_before_it_is_decoded(tmp_path, size):
    """Its pixels are few, but an edit holds maps as wide as it is."""
    path = tmp_path / "thin.png"
    path.write_bytes(png_header(*size))
    with pytest.raises(WeightzooError, match=f"thin.png is too long .{size[0]}x{size[1]}, limit 65500"):
        read_photo(path)
    with pytest.raises(WeightzooError, match="the photograph is too long"):
        edit_photo(Grade(), np.zeros((size[1], size[0], 3), np.uint8))


def png_header(width: int, height: int) -> bytes:
    """A PNG that ends where its pixels would begin."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    header = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return b"\x89PNG\r\n\x1a\n" + header + struct.pack(">I", 99) + b"IDAT"


def test_a_picture_that_its_format_cannot_hold(tmp_path):
    save_base(tmp_path / "g.safetensors", generator())
    pixels = np.zeros((2, 16_384, 3), np.uint8)
    write_photo(tmp_path / "photo.png", pixels)
    for write in (
        lambda: write_photo(tmp_path / "out.webp", pixels),
        lambda: apply_to_photo(tmp_path / "g.safetensors", tmp_path / "photo.png", tmp_path / "out.webp"),
    ):
        with pytest.raises(WeightzooError, match="out.webp: too long for WEBP .16384x2, limit 16383"):
            write()
    assert not list(tmp_path.glob("*.webp")) and not list(tmp_path.glob(".*"))
    write_photo(tmp_path / "out.webp", pixels[:, :16_383])


def test_refused_outputs(tmp_path):
    save_base(tmp_path / "g.safetensors", generator())
    write_photo(tmp_path / "photo.png", photograph(40, 40))
    with pytest.raises(WeightzooError, match="unknown suffix '.gif'"):
        apply_to_photo(tmp_path / "g.safetensors", tmp_path / "photo.png", tmp_path / "out.gif")
    with pytest.raises(WeightzooError, match="is the photograph itself"):
        apply_to_photo(tmp_path / "g.safetensors", tmp_path / "photo.png", tmp_path / "photo.png")


def test_twelve_megapixels_in_two_gigabytes(tmp_path):
    torch.manual_seed(0)
    save_base(tmp_path / "g.safetensors", E2ganConfig().build())
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(photograph(3000, 4000)).save(tmp_path / "photo.jpg", exif=exif)
    # ru_maxrss of a child begins at the peak of the process that launched it, so the child reads its own from /proc
    program = (
        "import sys, torch; from zoo.pictures.apply import apply_to_photo; torch.set_num_threads(1)\n"
        "apply_to_photo(*sys.argv[1:])\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    files = [str(tmp_path / name) for name in ("g.safetensors", "photo.jpg", "out.jpg")]
    run = subprocess.run([sys.executable, "-c", program, *files], check=True, stdout=subprocess.PIPE, text=True)
    assert int(run.stdout) < 2e6  # kilobytes
    with Image.open(tmp_path / "out.jpg") as out:
        assert out.size == (3000, 4000)


def test_a_broken_orientation_is_a_broken_picture(tmp_path):
    path = tmp_path / "photo.png"
    Image.new("RGB", (8, 8)).save(path, exif=b"II*\0")
    for read in (read_photo, lambda path: read_pairs(path.parent, minimum=1)):
        with pytest.raises(WeightzooError, match="photo.png"):
            read(path)
