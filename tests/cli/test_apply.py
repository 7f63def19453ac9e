"""weightzoo apply: a photograph at its own size, and what a person can get wrong."""

import shutil

import numpy as np
import pytest
from PIL import Image

from pipeline.sources import photo_paths
from tests.zoo.pictures.test_texture import fine_deviation, noise


@pytest.fixture
def photo(tmp_path):
    Image.effect_mandelbrot((90, 50), (-2, -1, 1, 1), 60).convert("RGB").save(tmp_path / "photo.jpg")
    return tmp_path / "photo.jpg"


def test_edits_at_its_own_size(run, world, photo, tmp_path):
    assert run("generate", "a warm look", "--model", world / "models" / "polished", "-o", tmp_path / "c").code == 0
    for weights in (tmp_path / "c", world / "zoo" / "base" / "generator.safetensors"):
        result = run("apply", weights, photo, "-o", tmp_path / "out.png", "--overwrite", "--json")
        assert result.code == 0 and result.json["seconds"] > 0
        with Image.open(tmp_path / "out.png") as image:
            assert image.size == (90, 50)


def test_a_scale_beyond_what_a_network_sees_is_refused(run, world, photo, tmp_path):
    base, out = world / "zoo" / "base" / "generator.safetensors", tmp_path / "out.png"
    refused = run("apply", base, photo, "--scale", 4000, "-o", out)
    assert refused.code == 2 and "takes 16 to 512" in refused.error and not out.exists()
    assert run("apply", base, photo, "--scale", 32, "-o", out).code == 0


def test_an_earlier_picture_is_kept(run, world, photo, tmp_path):
    base, out = world / "zoo" / "base" / "generator.safetensors", tmp_path / "out.png"
    out.write_text("mine")
    refused = run("apply", base, photo, "-o", out)
    assert refused.code == 2 and "out.png exists; add --overwrite" in refused.error and out.read_text() == "mine"
    assert run("apply", base, photo, "-o", out, "--overwrite").code == 0
    with Image.open(out) as image:
        assert image.size == (90, 50)


def test_the_file_of_a_fine_tuned_generator_stands_for_its_folder(run, world, photo, tmp_path):
    from zoo.adapters.lora import load_base, merge
    from zoo.config import to_dict
    from zoo.files import write_json
    from zoo.tensors import write_tensors

    network = merge(load_base(world / "zoo" / "base" / "generator.safetensors"))
    write_tensors(tmp_path / "film" / "generator.safetensors", network.state_dict(), {"gan": "e2gan"})
    write_json(tmp_path / "film" / "config.json", {"gan": "e2gan", "config": to_dict(network.config)})
    for weights, out in (("film", "a.png"), ("film/generator.safetensors", "b.png")):
        assert run("apply", tmp_path / weights, photo, "-o", tmp_path / out).code == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_wrong_input(run, world, photo, tmp_path):
    base = world / "zoo" / "base" / "generator.safetensors"
    (tmp_path / "text.png").write_text("no picture")
    shutil.copytree(base.parent, tmp_path / "c")
    (tmp_path / "c" / "generator.safetensors").rename(tmp_path / "c" / "adapter_model.safetensors")
    (tmp_path / "c" / "adapter_config.json").write_text("{}")
    for arguments, text in (
        ((base, tmp_path / "absent.jpg", "-o", tmp_path / "o.png"), "absent.jpg"),
        ((base, tmp_path / "text.png", "-o", tmp_path / "o.png"), "text.png"),
        ((base, photo, "-o", tmp_path / "o.xyz"), "xyz"),
        ((base, photo, "-o", photo, "--overwrite"), "photograph itself"),
        ((tmp_path / "nothing", photo, "-o", tmp_path / "o.png"), "nothing"),
        ((world / "models", photo, "-o", tmp_path / "o.png"), "models"),
        ((photo, base, "-o", tmp_path / "o.png"), "photo.jpg is a picture; the adapter comes first"),
        ((tmp_path / "c" / "adapter_model.safetensors", photo, "-o", tmp_path / "o.png"), "give its folder, "),
        ((base, photo, "-o", tmp_path), f"is a folder; name the file, for example {tmp_path}/photo.jpg"),
    ):
        result = run("apply", *arguments)
        assert result.code == 2 and text in result.error


def test_full_disk(run, world, photo, tmp_path, full_disk):
    result = run("apply", world / "zoo" / "base" / "generator.safetensors", photo, "-o", tmp_path / "o.png")
    assert result.code == 1 and "No space left" in result.error and not (tmp_path / "o.png").exists()


def test_generated_evening_light_keeps_grain(run, tmp_path):
    """Texture was erased once: 0.12 of it came out where a photograph is larger than what the network looks at."""
    with Image.open(photo_paths("test")[0]) as opened:
        plain = opened.convert("RGB").resize((1500, 1000))
    grain = noise((1000, 1500)).astype(int)
    Image.fromarray((np.asarray(plain) + grain - 128).clip(0, 255).astype(np.uint8)).save(tmp_path / "grain.png")
    assert run("generate", "warm evening light", "-o", tmp_path / "warm").code == 0
    assert run("apply", tmp_path / "warm", tmp_path / "grain.png", "-o", tmp_path / "edited.png").code == 0
    edited, source = (np.asarray(Image.open(tmp_path / name))[..., 1:2] for name in ("edited.png", "grain.png"))
    contrast = edited.std() / source.std()  # an edit of light alone changes fine detail as it changes all other
    assert 0.5 < fine_deviation(edited) / fine_deviation(source) / contrast < 2


def test_a_folder_into_a_folder(run, world, photo, tmp_path):
    base, out = world / "zoo" / "base" / "generator.safetensors", tmp_path / "out"
    (tmp_path / "album").mkdir()
    shutil.copy(photo, tmp_path / "album" / "a.jpg")
    assert run("apply", base, tmp_path / "album", "-o", out, "--workers", 1).code == 0
    (tmp_path / "album" / "bad.jpg").write_text("no picture")
    again = run("apply", base, tmp_path / "album", photo, "-o", out, "--workers", 1, "--json")
    assert again.code == 1 and "bad.jpg is not a readable image" in again.error
    assert again.json["skipped"] == 1 and again.json["pictures"] == [str(out / "photo.jpg")]
    [failed] = again.json["failed"]
    assert failed["photo"].endswith("bad.jpg") and "not a readable image" in failed["reason"]
    with Image.open(out / "a.jpg") as image:
        assert image.size == (90, 50)


def test_strength_0_is_the_photograph(run, world, photo, tmp_path):
    base = world / "zoo" / "base" / "generator.safetensors"
    assert run("apply", base, photo, "-o", tmp_path / "same.png", "--strength", 0).code == 0
    with Image.open(photo) as before, Image.open(tmp_path / "same.png") as after:
        assert np.array_equal(np.asarray(before), np.asarray(after))


def test_wrong_input_of_many(run, world, photo, tmp_path):
    base = world / "zoo" / "base" / "generator.safetensors"
    (tmp_path / "empty").mkdir()
    for arguments, text in (
        ((photo, photo, "-o", tmp_path / "out.png"), "several photographs need a folder"),
        ((tmp_path / "empty", "-o", tmp_path / "out"), "holds no photograph"),
        ((photo, "-o", tmp_path / "out.png", "--workers", 2), "takes no --workers"),
        ((photo, tmp_path / "film.mp4", "-o", tmp_path / "out"), "film.mp4 is a film; edit each film by itself"),
        ((tmp_path / "film.mp4", "-o", tmp_path / "out.png"), "of a film; use one of .mp4"),
        ((tmp_path / "film.mp4", "-o", tmp_path / "out.mp4"), "no such file"),
        ((photo, "-o", tmp_path / "out.png", "--strength", 2.5), "a strength of 2.5 is out of range; give -1 to 2"),
    ):
        result = run("apply", base, *arguments)
        assert result.code == 2 and text in result.error and not (tmp_path / "out").exists()
