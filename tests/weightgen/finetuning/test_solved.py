"""Generators that are solved on a user's pairs."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.sources import crops, load_photos
from weightgen.finetuning.solved import picture, solve_pairs
from weightgen.pairs.closed_form import load_prior
from zoo.errors import WeightzooError
from zoo.pictures.apply import apply_to_photo, edit_photo, load_network


def drawing(images: torch.Tensor) -> torch.Tensor:
    """Dark lines on white, one pixel wide: nothing of them is left in a small copy."""
    padded = torch.nn.functional.pad(images.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    across, down = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2], padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    return (1 - 4 * (across.square() + down.square()).sqrt()).clamp(0, 1).expand_as(images)


def write_pairs(folder, edit, count, size=160):
    photos = load_photos("train")[:count]
    images = crops(photos, count, size, seed=1)
    for part, pictures in (("source", images), ("target", edit(images))):
        (folder / part).mkdir(parents=True)
        for number, image in enumerate(pictures):
            pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()
            Image.fromarray(pixels).save(folder / part / f"{number:02}.png")
    return folder


@pytest.mark.parametrize("pairs, correlation", [(1, 0.8), (5, 0.8)])
def test_a_drawing_is_learned_with_its_lines(tmp_path, pairs, correlation):
    summary = solve_pairs(write_pairs(tmp_path / "pairs", drawing, pairs), tmp_path / "out")
    best = summary["best"]
    assert best["l1"] < 0.25 * best["source_l1"]
    assert best["fine_correlation"] > correlation and 0.75 < best["fine_energy"] < 1.25
    assert json.loads((tmp_path / "out" / "finetune.json").read_text())["best"] == best


@pytest.fixture(scope="module")
def inverted(tmp_path_factory):
    """pairs/ and the generator solved on them, out/; read only."""
    folder = tmp_path_factory.mktemp("inverted")
    solve_pairs(write_pairs(folder / "pairs", lambda x: 1 - x, 4, size=96), folder / "out")
    return folder


def test_the_result_is_applied_at_any_size(inverted, tmp_path):
    network = load_network(inverted / "out")
    for size in ((100, 90), (160, 160), (331, 403)):
        pixels = np.asarray(load_photos("test")[0].resize(size))
        edited = edit_photo(network, pixels)
        assert edited.shape == pixels.shape
        assert np.abs(edited.astype(int) - (255 - pixels.astype(int))).mean() < 6
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    apply_to_photo(inverted / "out", tmp_path / "photo.png", tmp_path / "edited.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "edited.png")), edited)


def test_a_scale_says_how_large_the_network_sees_a_photograph(tmp_path):
    solve_pairs(write_pairs(tmp_path / "pairs", drawing, 1, size=96), tmp_path / "out")
    network, pixels = load_network(tmp_path / "out"), np.asarray(load_photos("test")[0].resize((300, 240)))
    own = edit_photo(network, pixels, scale=240)
    assert np.array_equal(own, edit_photo(network, pixels, scale=4000))  # its own size is the largest
    whole = network(torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 255)[0].clamp(0, 1)
    assert np.abs(own / 255 - whole.permute(1, 2, 0).numpy()).max() < 0.01
    assert np.abs(own.astype(int) - edit_photo(network, pixels)).mean() > 1  # drawn at 96 pixels, and carried
    with pytest.raises(WeightzooError, match="takes 16 to 65500"):
        edit_photo(network, pixels, scale=3)


def test_the_same_pairs_give_the_same_generator(inverted, tmp_path):
    solve_pairs(inverted / "pairs", tmp_path / "again")
    one, two = ((folder / "generator.safetensors").read_bytes() for folder in (inverted / "out", tmp_path / "again"))
    assert one == two
    with pytest.raises(WeightzooError, match="again is not empty; add --overwrite"):
        solve_pairs(inverted / "pairs", tmp_path / "again")


def test_the_prior_that_comes_along_belongs_to_the_package():
    generator = load_prior(321)
    assert generator.config.image_size == 321
    photograph = picture(load_photos("test")[0])[None, :, :120, :150]
    assert (generator(photograph) - photograph).abs().mean() < 0.35
    assert all(value.isfinite().all() for value in generator.prior)


def test_another_generator_is_no_prior(tmp_path):
    from zoo.adapters.lora import save_base
    from zoo.gans import GANS

    save_base(tmp_path / "g.safetensors", GANS["e2gan"]().build())
    with pytest.raises(WeightzooError, match="no prior"):
        load_prior(64, tmp_path / "g.safetensors")
