"""What pairs are solved on."""

import pytest
import torch

from weightgen.pairs.closed_form import median_short_side, scale_of


@pytest.mark.parametrize(
    "sizes, side",
    [([(30, 20)], 20), ([(20, 30), (30, 20)], 20), ([(9, 50), (40, 20), (7, 7)], 9), ([(5, 8), (6, 9)], 6)],
)
def test_the_scale_is_the_median_short_side_of_tensors_as_of_images(sizes, side):
    assert median_short_side(sizes) == side
    pictures = [torch.zeros(3, height, width) for width, height in sizes]
    assert scale_of([(picture, picture) for picture in pictures]) == side
