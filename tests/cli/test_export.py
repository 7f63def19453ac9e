"""weightzoo export: an ONNX file, a look-up table and a page from one adapter, and what a person can get wrong."""

import pytest
from PIL import Image


@pytest.fixture
def base(world):
    return world / "zoo" / "base" / "generator.safetensors"


@pytest.fixture(autouse=True)
def small_photographs(monkeypatch):
    """A few small ones in place of the embedded ones, which take long."""
    noise = [Image.effect_mandelbrot((90, 60), (-2, -1, 1, size), 60).convert("RGB") for size in (1, 2)]
    monkeypatch.setattr("pipeline.sources.load_photos", lambda where: noise)


def test_an_onnx_file(run, base, tmp_path):
    result = run("export", base, "-o", tmp_path / "edit.onnx", "--json")
    assert result.code == 0 and result.json["opset"] == 18 and (tmp_path / "edit.onnx").stat().st_size > 10_000
    assert all(compared["largest"] <= 1e-4 for compared in result.json["compared"])
    kept = run("export", base, "-o", tmp_path / "edit.onnx")
    assert kept.code == 2 and "edit.onnx exists; add --overwrite" in kept.error
    told = run("export", base, "-o", tmp_path / "edit.onnx", "--overwrite", "--strength", 0.5)
    assert told.code == 0 and "opset 18" in told.out and "differs from weightzoo apply by" in told.out


def test_a_look_up_table(run, base, tmp_path):
    result = run("export", base, "-o", tmp_path / "look.cube", "--size", 5, "--json")
    assert result.code == 0 and 0 <= result.json["share"] <= 1
    assert (tmp_path / "look.cube").read_text().startswith('TITLE "look"\nLUT_3D_SIZE 5\n')
    told = run("export", base, "-o", tmp_path / "look.cube", "--size", 5, "--overwrite")
    assert "of what the edit changes on photographs that it was not fitted to" in told.out


def test_a_page(run, base, tmp_path):
    result = run("export", base, "-o", tmp_path / "edit.html", "--strength", 0.5)
    assert result.code == 0 and "open it in a browser" in result.out
    assert 'value="0.5"' in (tmp_path / "edit.html").read_text()


def test_wrong_input(run, base, tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "photo.jpg")
    out = tmp_path / "edit.onnx"
    for arguments, text in (
        ((base, "-o", tmp_path / "edit.pt"), "unknown suffix '.pt'; use one of .onnx, .cube, .html"),
        ((base, "-o", tmp_path), "unknown suffix ''"),
        ((tmp_path / "absent", "-o", out), "no such adapter"),
        ((tmp_path / "photo.jpg", "-o", out), "the adapter comes first: weightzoo export ADAPTER -o edit.onnx"),
        ((base, "-o", out, "--scale", 4000), "takes 16 to 512"),
        ((base, "-o", out, "--strength", 3), "a strength of 3 is out of range"),
        ((base, "-o", tmp_path / "edit.html", "--strength", 3), "a strength of 3 is out of range"),
        ((base, "-o", out, "--size", 17), "--size is an option of -o edit.cube"),
        ((base, "-o", tmp_path / "a.cube", "--size", 1), "give 2 to 65"),
        ((base, "-o", tmp_path / "a.cube", "--scale", 64), "takes no --scale"),
    ):
        result = run("export", *arguments)
        assert result.code == 2 and text in result.error, result.err
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


def test_a_missing_package_is_named(run, base, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    result = run("export", base, "-o", tmp_path / "edit.onnx")
    assert result.code == 2 and "pip install 'weightzoo[export]'" in result.error
