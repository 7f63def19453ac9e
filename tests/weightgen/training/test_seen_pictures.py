"""What a frozen base sees of pictures: pixels of a network of pixels, found again by the picture, or whole pictures."""

import pytest
import torch

from weightgen.training import seen_pictures
from weightgen.training.seen_pictures import SeenPictures
from zoo.errors import WeightzooError
from zoo.gans.e2gan import E2ganConfig
from zoo.gans.solved import SolvedConfig
from zoo.pictures.picture_batches import PictureBatch

PICTURES = torch.rand(4, 3, 24, 24, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def seen():
    torch.manual_seed(0)
    return SeenPictures(SolvedConfig(4, 4, 4, 4).build().requires_grad_(False))


@pytest.mark.parametrize("shared", [False, True])
def test_targets_are_the_pictures_where_the_network_looks(seen, shared):
    """The network copies its source, so it has no error on targets that are the sources."""
    sources = PICTURES[:2] if shared else PICTURES.unflatten(0, (2, 2))
    targets = sources.expand(2, 2, 3, 24, 24)
    batch = seen.batch(PictureBatch(["one", "two"], sources, targets))
    assert batch.targets.shape == (2, 2 * 576, 3)
    copied = seen.generator(batch.inputs)
    torch.testing.assert_close(copied.expand_as(batch.targets), batch.targets)


def test_a_picture_that_comes_again_is_not_looked_at_again(seen, monkeypatch):
    places, maps = seen.look(PICTURES[0])
    monkeypatch.setattr(type(seen.generator), "maps_of", None)
    again = seen.look(PICTURES[0].clone())
    assert again[0] is places and again[1] is maps
    with pytest.raises(TypeError):
        seen.look(PICTURES[1])


def test_the_oldest_picture_is_forgotten(seen, monkeypatch):
    monkeypatch.setattr(seen_pictures, "MOST_KEPT", 2)
    first = seen.look(PICTURES[0])
    for picture in PICTURES[1:]:
        seen.look(picture)
    assert len(seen.known) == 2
    again = seen.look(PICTURES[0])
    assert torch.equal(again[0], first[0]) and torch.equal(again[1], first[1])


def test_networks_of_whole_pictures_see_them_whole():
    network = E2ganConfig(channels=(4, 4, 8, 8), groups=2, heads=2).build()
    pictures = PictureBatch(["one"], PICTURES[:2], PICTURES[None, 2:])
    batch = SeenPictures(network).batch(pictures)
    assert batch.inputs is pictures.sources and batch.targets is pictures.targets


def test_pictures_that_do_not_belong_together_are_refused(seen):
    with pytest.raises(WeightzooError, match="a batch of 2 prompts"):
        seen.batch(PictureBatch(["one", "two"], PICTURES[:2], PICTURES[None, 2:]))
