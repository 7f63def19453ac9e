"""Whether pairs belong together, and by how much one is shifted: told, aligned or refused."""

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.sources import load_photos
from pipeline.teachers.filters import apply_recipe
from zoo.errors import WeightzooError
from zoo.pictures import pair_checks, photo_file
from zoo.pictures.metrics import l1
from zoo.pictures.pair_checks import _correlation, offset, set_likeness
from zoo.pictures.pair_layouts import find_pairs
from zoo.pictures.pair_squares import pairs_to_tensors
from zoo.pictures.pairs import decode_pair, read_pair_set

RECIPES = {
    "invert": [{"op": "invert"}],
    "gray": [{"op": "gray"}],
    "posterize": [{"op": "posterize"}],
    "sketch": [{"op": "sketch"}],
    "outline": [{"op": "outline"}],
    "soft": [{"op": "soft"}],
    "threshold": [{"op": "threshold"}],
    "halftone": [{"op": "halftone"}],
    "solarize": [{"op": "solarize"}],
    "kuwahara": [{"op": "kuwahara"}],
}


@pytest.fixture(scope="module")
def photos():
    return [photo.resize((240, 160), Image.Resampling.BOX) for photo in load_photos("test")]


def edit(photo, recipe):
    images = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None].float() / 255
    return Image.fromarray((apply_recipe(recipe, images)[0] * 255).round().byte().permute(1, 2, 0).numpy())


def save(root, pairs):
    for half, images in zip(("source", "target"), zip(*pairs, strict=True), strict=True):
        (root / half).mkdir()
        for i, image in enumerate(images):
            image.save(root / half / f"p{i}.png")
    return root


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_pairs_of_every_kind_of_edit_belong_together(photos, recipe):
    targets = [edit(photo, recipe) for photo in photos]
    assert set_likeness(zip(photos, targets, strict=True)).is_related()
    assert not set_likeness(zip(photos, targets[1:] + targets[:1], strict=True)).is_related()
    assert all(offset(*pair) == (0, 0) for pair in zip(photos, targets, strict=True))


def test_halves_of_photographs_do_not(photos):
    halves = [(photo.crop((0, 0, 120, 160)), photo.crop((120, 0, 240, 160))) for photo in photos]
    assert not set_likeness(halves).is_related()


def test_what_all_pictures_share_proves_nothing():
    """Patches on one grid have their edges at the same places, whatever their colours."""
    values = np.random.default_rng(0).integers(0, 256, (12, 6, 6, 3), dtype=np.uint8)
    patches = [Image.fromarray(colours).resize((96, 96), Image.Resampling.BICUBIC) for colours in values]
    found = set_likeness(zip(patches[::2], patches[1::2], strict=True))
    assert found.own > 0.2 and not found.is_related()


def test_frames_of_one_scene_are_pairs(photos):
    assert set_likeness([(photos[0], edit(photos[0], RECIPES["invert"]))] * 5).is_related()


def test_flat_and_tiny_pictures_say_nothing(photos):
    flat = Image.new("RGB", (64, 64))
    assert set_likeness([(flat, photos[0]), (photos[0].resize((9, 9)), photos[0])]) is None
    assert offset(flat, flat) == (0, 0) and offset(*[Image.new("RGB", (2, 2))] * 2) == (0, 0)


@pytest.mark.parametrize("shift", [(1, 0), (-2, 3), (0, -7)])
@pytest.mark.parametrize("recipe", ["invert", "posterize"])
def test_a_shift_is_found_told_and_undone(tmp_path, photos, recipe, shift):
    right, down = shift
    pairs = []
    for photo in photos:
        box = (8, 8, 232, 152)
        moved = (box[0] - right, box[1] - down, box[2] - right, box[3] - down)
        pairs.append((photo.crop(box), edit(photo, RECIPES[recipe]).crop(moved)))
    assert {offset(*pair) for pair in pairs} == {shift}
    read = read_pair_set(save(tmp_path, pairs))
    (note,) = read.notes
    most = max(abs(right), abs(down))
    told = f"the target is shifted against the source by up to {most} pixel{'s' if most > 1 else ''}; both were cut"
    assert note.startswith(told) and note.endswith("to what they share: p0, p1, p2 and 3 more")
    for _, source, target in read.pairs:
        assert source.size == (224 - abs(right), 144 - abs(down))
        assert np.array_equal(np.asarray(edit(source, RECIPES[recipe])), np.asarray(target))


def test_correlations_are_sums_of_products():
    rng = np.random.default_rng(0)
    first, second = rng.integers(-255, 256, (2, 2, 20, 31))
    found = _correlation(first[0] + 1j * first[1], second[0] + 1j * second[1], reach=3)
    padded = np.pad(second, ((0, 0), (3, 3), (3, 3)))
    expected = [[int((first * padded[:, y : y + 20, x : x + 31]).sum()) for x in range(7)] for y in range(7)]
    assert found.tolist() == expected


def test_a_nearly_equal_target_is_answered_without_a_transform(photos, monkeypatch):
    brighter = [Image.fromarray((np.array(photo) * 0.8 + 40).astype(np.uint8)) for photo in photos]
    monkeypatch.setattr(pair_checks, "_correlation", None)
    assert all(offset(*pair) == (0, 0) for pair in zip(photos, brighter, strict=True))


def test_large_pictures_are_aligned_as_well(photos):
    large = photos[0].resize((1200, 800), Image.Resampling.BICUBIC)
    found = offset(large.crop((0, 0, 1180, 780)), large.crop((20, 10, 1200, 790)))
    assert abs(found[0] + 20) <= 2 and abs(found[1] + 10) <= 2


def test_a_pixel_or_two_of_size_are_cut_off_and_more_is_refused(tmp_path, photos):
    pairs = [(photo, edit(photo, RECIPES["invert"]).crop((0, 0, 239, 158))) for photo in photos]
    read = read_pair_set(save(tmp_path, pairs))
    assert {source.size for _, source, _ in read.pairs} == {(239, 158)}
    assert l1(*pairs_to_tensors([(n, edit(s, RECIPES["invert"]), t) for n, s, t in read.pairs], 64)).max() < 1e-6
    assert read.notes[0].startswith("the pictures differ by a pixel or two in size")
    photos[0].crop((0, 0, 237, 160)).save(tmp_path / "target" / "p0.png")
    with pytest.raises(WeightzooError, match="pair p0: the source is 240x160 pixels, the target 237x160"):
        read_pair_set(tmp_path)


def test_shuffled_pairs_are_warned_of(tmp_path, photos):
    targets = [edit(photo, RECIPES["invert"]) for photo in photos]
    (note,) = read_pair_set(save(tmp_path, list(zip(photos, targets[1:] + targets[:1], strict=True)))).notes
    assert note.startswith("source and target of most of 6 pairs have nothing in common")


def test_single_wrong_pairs_are_named(tmp_path, photos):
    targets = [edit(photo, RECIPES["invert"]) for photo in photos]
    targets[4] = targets[0]
    (note,) = read_pair_set(save(tmp_path, list(zip(photos, targets, strict=True)))).notes
    assert note.startswith("source and target of 1 of 6 pairs has nothing in common: p4; check")


def test_pairs_have_the_limits_of_single_photographs(tmp_path, photos, monkeypatch):
    save(tmp_path, [(photo, photo) for photo in photos])
    monkeypatch.setattr(photo_file, "MAX_PIXELS", 10_000)
    with pytest.raises(WeightzooError, match="p0.png is too large .240x160"):
        read_pair_set(tmp_path)
    monkeypatch.setattr(photo_file, "MAX_SIDE", 100)
    monkeypatch.setattr(photo_file, "MAX_PIXELS", 10**6)
    with pytest.raises(WeightzooError, match="p0.png is too long"):
        read_pair_set(tmp_path)


def test_a_decompression_bomb_is_one_line(tmp_path, photos, monkeypatch):
    save(tmp_path, [(photo, photo) for photo in photos])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(WeightzooError, match="cannot read the image .*p0.png"):
        decode_pair(find_pairs(tmp_path).files[0])
