"""weightzoo apply: a photograph at its own size, and what a person can get wrong."""

import pytest
from PIL import Image


@pytest.fixture
def photo(tmp_path):
    Image.effect_mandelbrot((90, 50), (-2, -1, 1, 1), 60).convert("RGB").save(tmp_path / "photo.jpg")
    return tmp_path / "photo.jpg"


def test_edits_at_its_own_size(run, world, photo, tmp_path):
    assert (
        run("generate", "a warm look", "--model", world / "models" / "polished", "-o", tmp_path / "c").code
        == 0
    )
    for weights in (tmp_path / "c", world / "zoo" / "base" / "generator.safetensors"):
        result = run("apply", weights, photo, "-o", tmp_path / "out.png", "--json")
        assert result.code == 0 and result.json["seconds"] > 0
        with Image.open(tmp_path / "out.png") as image:
            assert image.size == (90, 50)


def test_wrong_input(run, world, photo, tmp_path):
    base = world / "zoo" / "base" / "generator.safetensors"
    (tmp_path / "text.png").write_text("no picture")
    for arguments, text in (
        ((base, tmp_path / "absent.jpg", "-o", tmp_path / "o.png"), "absent.jpg"),
        ((base, tmp_path / "text.png", "-o", tmp_path / "o.png"), "text.png"),
        ((base, photo, "-o", tmp_path / "o.xyz"), "xyz"),
        ((base, photo, "-o", photo), "photograph itself"),
        ((tmp_path / "nothing", photo, "-o", tmp_path / "o.png"), "nothing"),
        ((world / "models", photo, "-o", tmp_path / "o.png"), "models"),
    ):
        result = run("apply", *arguments)
        assert result.code == 2 and text in result.error


def test_full_disk(run, world, photo, tmp_path, full_disk):
    result = run("apply", world / "zoo" / "base" / "generator.safetensors", photo, "-o", tmp_path / "o.png")
    assert result.code == 1 and "No space left" in result.error and not (tmp_path / "o.png").exists()
