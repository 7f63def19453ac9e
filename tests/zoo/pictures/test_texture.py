"""Fine texture in photographs at their own size: a colour edit keeps it with its own slope, a blur takes it away."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from zoo.pictures.apply import edit_photo
from zoo.pictures.local_affine import detail_gain

SIZES = [(320, 480), (1300, 1950)]


@dataclass(frozen=True)
class Config:
    image_size: int = 64


class Filter(nn.Module):
    """A network that mixes in a `share` of the mean of `width` pixels, and then has a tone curve of slope `slope`."""

    config = Config()

    def __init__(self, width: int, share: float, slope: float) -> None:
        super().__init__()
        self.width, self.share, self.slope = width, share, slope

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        mean = F.avg_pool2d(images, self.width, 1, self.width // 2, count_include_pad=False)
        return 0.5 + self.slope * (images.lerp(mean, self.share) - 0.5)


def noise(size: tuple[int, int], deviation: float = 6.0) -> np.ndarray:
    """Grey with grain, uint8 [H, W, 3]."""
    grain = np.random.default_rng(1).normal(128, deviation, size)
    return np.rint(grain.clip(0, 255)).astype(np.uint8)[..., None].repeat(3, 2)


def weave(size: tuple[int, int]) -> np.ndarray:
    """Squares of 2 pixels, uint8 [H, W, 3]."""
    y, x = np.mgrid[: size[0], : size[1]] // 2
    return np.where((x + y) % 2, 150, 106).astype(np.uint8)[..., None].repeat(3, 2)


def fine_deviation(pixels: np.ndarray) -> float:
    """The deviation of the pixels from the mean of their 9x9 neighbours, levels."""
    x = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)
    return float((x - F.avg_pool2d(x, 9, 1, 4, count_include_pad=False)).std())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("texture", [noise, weave])
@pytest.mark.parametrize("slope", [0.5, 1.4])
def test_a_colour_edit_keeps_texture_with_its_slope(size, texture, slope):
    """The network takes 0.4 of each pixel's detail, as small networks do: no blur at a photograph's own size."""
    pixels = texture(size)
    kept = fine_deviation(edit_photo(Filter(3, 0.4, slope), pixels)) / (slope * fine_deviation(pixels))
    assert 0.8 < kept < 1.25


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("texture", [noise, weave])
def test_a_blur_still_blurs(size, texture):
    pixels = texture(size)
    assert fine_deviation(edit_photo(Filter(9, 1.0, 1.0), pixels)) < 0.3 * fine_deviation(pixels)


MATRIX = torch.tensor([[0.5, 0.3, 0.0], [0.1, 0.6, 0.1], [0.2, 0.2, 0.4]])


def test_the_gain_of_a_colour_edit_is_its_matrix():
    source = torch.rand(1, 3, 40, 60, generator=torch.Generator().manual_seed(0))
    gain = detail_gain(lambda images: torch.einsum("oi,nihw->nohw", MATRIX, images), source)
    for part in (gain.fine, gain.coarse):
        torch.testing.assert_close(part, MATRIX.flatten().view(1, 9, 1, 1).expand_as(part), rtol=0, atol=1e-3)
    assert torch.equal(gain.sharpness, torch.ones_like(gain.sharpness))


def test_a_blur_of_light_alone_is_a_blur():
    """Networks that blur let faint detail of a single colour through."""

    def blur(images: torch.Tensor) -> torch.Tensor:
        grey = images.mean(1, keepdim=True)
        return images - grey + F.avg_pool2d(grey, 9, 1, 4, count_include_pad=False)

    gain = detail_gain(blur, torch.full((1, 3, 40, 60), 0.5))
    assert float(gain.sharpness.max()) < 0.2


@pytest.mark.parametrize("size", SIZES)
def test_strong_texture_keeps_the_slope_that_the_edit_has_for_it(size):
    """Grain as strong as leaves is no edge: the network's own blur of it is mended, too."""
    pixels = noise(size, 30.0)
    kept = fine_deviation(edit_photo(Filter(3, 0.4, 0.8), pixels)) / (0.8 * fine_deviation(pixels))
    assert 0.8 < kept < 1.25
