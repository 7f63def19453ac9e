"""ONNX files: onnxruntime's edit is weightzoo's at every size, for every network; a file that differs is refused."""

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

import zoo.export.onnx_file
from zoo.errors import WeightzooError
from zoo.export.check import ALIKE, WHITE, compare, session_of
from zoo.export.networks import NETWORKS
from zoo.export.onnx_file import OPSET, onnx_model, write_onnx
from zoo.gans import GANS
from zoo.gans.e2gan import E2ganConfig
from zoo.gans.pix2pix import Pix2pixConfig
from zoo.gans.solved import SolvedConfig

FEW = {"colour": 6, "patch": 6, "scales": 6, "tones": 6}
CONFIGS = {
    "e2gan": E2ganConfig((4, 4, 8, 8), head_width=4, heads=2, groups=4, lora_rank=0, attention_rank=0, image_size=32),
    "pix2pix": Pix2pixConfig(32, filters=2),
    "solved": SolvedConfig(image_size=40, branches=("local", "whole", "colour"), hidden=5, **FEW),
}
SIZES = [(24, 30), (32, 40), (75, 50), (21, 400), (90, 91)]  # height and width


def network(name):
    """A network of random weights that changes a photograph without saturating it."""
    torch.manual_seed(1)
    generator = CONFIGS[name].build().eval().requires_grad_(False)
    if name == "e2gan":
        generator.transformer.tokens.normal_()
    if name == "solved":
        generator.output.weight += torch.randn_like(generator.output.weight) * 0.02
    return generator


def photograph(height, width, seed=0):
    """Smooth colours with a white part, whose tones are all equal, and some noise; uint16."""
    noise = np.random.default_rng(seed).random((6, 7, 3)) * 255
    image = Image.fromarray(noise.astype("uint8")).resize((width, height), Image.Resampling.BICUBIC)
    pixels = np.asarray(image).astype(np.uint16) * 257
    pixels[: height // 3, : width // 2] = WHITE
    return pixels


@pytest.fixture(scope="module")
def sessions():
    made = {}

    def session(name, **options):
        key = (name, *options.items())
        if key not in made:
            made[key] = session_of(onnx_model(network(name), **options).SerializeToString())
        return made[key]

    return session


def test_every_architecture_has_a_form():
    assert set(NETWORKS) == set(GANS) == set(CONFIGS)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", NETWORKS)
def test_the_edit_is_ours_at_every_size(name, size, sessions):
    compared = compare(sessions(name), network(name), photograph(*size))
    assert compared.is_alike and compared.largest < 5 * ALIKE, compared
    assert compared.size == size[::-1]


@pytest.mark.parametrize("name", NETWORKS)
def test_scale_and_strength_are_ours(name, sessions):
    options = {"scale": 64, "strength": -0.5}
    compared = compare(sessions(name, **options), network(name), photograph(75, 70), **options)
    assert compared.is_alike, compared


def test_strength_can_be_given_later(sessions):
    pixels = photograph(40, 50)
    values = (pixels / np.float32(WHITE)).transpose(2, 0, 1)[None]
    edits = [
        sessions("e2gan").run(None, {"photo": values, "strength": np.array([strength], np.float32)})[0]
        for strength in (0.0, 0.5, 1.0)
    ]
    assert np.array_equal(edits[0], values)
    assert np.allclose(edits[1], (values + edits[2]) / 2, atol=1e-6) and not np.allclose(edits[2], values, atol=0.05)


def test_strips_change_nothing(sessions, monkeypatch):
    before = compare(sessions("solved"), network("solved"), photograph(75, 50))
    for module in ("zoo.export.local_affine", "zoo.export.solved"):
        monkeypatch.setattr(f"{module}.STRIP_PIXELS", 700)
    session = session_of(onnx_model(network("solved")).SerializeToString())
    assert compare(session, network("solved"), photograph(75, 50)).largest == pytest.approx(before.largest, abs=ALIKE)


def test_the_file_is_valid_and_says_what_it_takes(tmp_path):
    photos = [Image.fromarray((photograph(50, 60, seed) // 257).astype(np.uint8)) for seed in range(2)]
    told = write_onnx(network("e2gan"), tmp_path / "a.onnx", photos)
    model = onnx.load(tmp_path / "a.onnx")
    onnx.checker.check_model(model)
    assert model.opset_import[0].version == told.opset == OPSET
    assert [value.name for value in model.graph.input] == ["photo", "strength"]
    dims = model.graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_param or dim.dim_value for dim in dims] == [1, 3, "height", "width"]
    assert len(told.compared) == 2 and told.compared[0].size != told.compared[1].size
    write_onnx(network("e2gan"), tmp_path / "b.onnx", photos)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_a_file_that_differs_is_not_written(tmp_path, monkeypatch):
    wrong = network("e2gan")
    wrong.output.bias += 0.01
    made = onnx_model(wrong)
    monkeypatch.setattr(zoo.export.onnx_file, "onnx_model", lambda *_: made)
    photos = [Image.fromarray((photograph(50, 60) // 257).astype(np.uint8))]
    with pytest.raises(WeightzooError, match="so the file is not written"):
        write_onnx(network("e2gan"), tmp_path / "edit.onnx", photos)
    assert not list(tmp_path.iterdir())


def test_out_of_range(tmp_path):
    for options, text in (({"scale": 4000}, "takes 16 to 512"), ({"strength": 3.0}, "out of range")):
        with pytest.raises(WeightzooError, match=text):
            write_onnx(network("e2gan"), tmp_path / "edit.onnx", [], **options)
