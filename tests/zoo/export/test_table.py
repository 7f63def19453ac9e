"""Look-up tables: an edit of colour alone is carried as a whole, one of places is not, and the file is read back."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from zoo.errors import WeightzooError
from zoo.export.table import fit_table, write_table
from zoo.gans.pix2pix import Pix2pixConfig
from zoo.pictures.cube import CubeTable, Table, read_cube


class Edit(nn.Module):
    """An edit of whole photographs, as a network."""

    whole_photograph = True
    config = Pix2pixConfig(4096)  # larger than the photographs: nothing has to be carried

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, images):
        return self.function(images)


def photographs(seed, count=3):
    """Many colours in smooth pictures."""
    rng = np.random.default_rng(seed)
    noise = (rng.random((count, 8, 9, 3)) * 255).astype("uint8")
    return [Image.fromarray(values).resize((120, 100), Image.Resampling.BICUBIC) for values in noise]


def warm(images):
    return torch.stack([images[:, 0] ** 0.8, images[:, 1], images[:, 2] * 0.7 + images[:, 0] * 0.1], 1)


def test_an_edit_of_colour_is_carried(tmp_path):
    told = write_table(Edit(warm), tmp_path / "warm.cube", photographs(0), photographs(1), size=17)
    assert told.share > 0.99 and len(told.shares) == 3
    [table] = read_cube(tmp_path / "warm.cube").tables
    assert table.values.shape == (17, 17, 17, 3)
    colours = torch.rand(1, 3, 40, 40) * 0.4 + 0.3  # what the photographs have
    assert torch.allclose(read_cube(tmp_path / "warm.cube").apply(colours), warm(colours), atol=0.02)


def test_an_edit_of_places_is_not_carried(tmp_path):
    shade = torch.linspace(-0.3, 0.3, 120)  # darker on the left, brighter on the right
    edit = Edit(lambda images: (images + shade).clamp(0, 1))
    told = write_table(edit, tmp_path / "a.cube", photographs(0), photographs(1), size=9)
    assert told.share < 0.3


def test_no_change_gives_the_identity(tmp_path):
    told = write_table(Edit(lambda images: images), tmp_path / "a.cube", photographs(0), photographs(1), size=5)
    colours = torch.rand(1, 3, 9, 9)
    assert told.share == 1 and torch.allclose(read_cube(tmp_path / "a.cube").apply(colours), colours, atol=1e-5)


def test_colours_that_no_photograph_had_change_like_similar_ones():
    dark = torch.rand(500, 3, generator=torch.Generator().manual_seed(0)) * 0.3
    values = fit_table(dark, dark + 0.2, 9)
    bright = CubeTable("", (Table(values, torch.zeros(3), torch.ones(3)),)).apply(torch.full((1, 3, 1, 1), 0.7))
    assert torch.allclose(bright, torch.full((1, 3, 1, 1), 0.9), atol=0.02)


def test_strength_mixes_the_table(tmp_path):
    colours = torch.rand(1, 3, 9, 9) * 0.4 + 0.3
    for strength in (0.5, -1.0):
        write_table(Edit(warm), tmp_path / "a.cube", photographs(0), [], size=9, strength=strength)
        wanted = colours + strength * (warm(colours) - colours)
        assert torch.allclose(read_cube(tmp_path / "a.cube").apply(colours), wanted, atol=0.02)


@pytest.mark.parametrize("size", [1, 66])
def test_a_size_that_programs_do_not_read_is_refused(size, tmp_path):
    with pytest.raises(WeightzooError, match="2 to 65"):
        write_table(Edit(warm), tmp_path / "a.cube", [], [], size=size)
