"""Look-up tables: read and applied as Pillow applies them and as the format says, or refused in one line."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from zoo.errors import WeightzooError
from zoo.pictures.cube import cube_title, read_cube

RAMP = "0 0 0\n0.5 0.5 0.5\n1 1 1\n"


def write_lattice(path, function, size=5, header=""):
    """A 3D table of a function of colours [..., 3]; red runs fastest."""
    axis = np.linspace(0, 1, size)
    blue, green, red = np.meshgrid(axis, axis, axis, indexing="ij")
    colours = function(np.stack([red, green, blue], -1)).reshape(-1, 3)
    lines = "\n".join(" ".join(f"{value:.7f}" for value in colour) for colour in colours)
    path.write_text(f"{header}LUT_3D_SIZE {size}\n\n{lines}\n")
    return path


@pytest.fixture(scope="module")
def photo():
    """[1, 3, 20, 30] of 8-bit values."""
    pixels = torch.randint(0, 256, (1, 3, 20, 30), generator=torch.Generator().manual_seed(0))
    return pixels.float() / 255


def test_a_lattice_is_applied_as_pillow_does(tmp_path, photo):
    def film(colours):
        return np.clip(colours[..., [1, 2, 0]] ** 1.7 * [0.9, 0.8, 1.0] + [0.05, 0.1, 0.0], 0, 1)

    table = read_cube(write_lattice(tmp_path / "film.cube", film))
    ours = table.apply(photo)
    image = Image.fromarray((photo[0].permute(1, 2, 0).numpy() * 255).round().astype("uint8"))
    reference = ImageFilter.Color3DLUT.generate(5, lambda *colour: tuple(film(np.array(colour))))
    theirs = torch.from_numpy(np.array(image.filter(reference))).permute(2, 0, 1) / 255
    assert float((ours[0] - theirs).abs().max()) < 1.5 / 255


def test_a_table_that_changes_nothing_changes_nothing(tmp_path, photo):
    same = read_cube(write_lattice(tmp_path / "same.cube", lambda colours: colours))
    assert torch.allclose(same.apply(photo), photo, atol=1e-6)
    (tmp_path / "ramp.cube").write_text(f"LUT_1D_SIZE 3\n{RAMP}")
    assert torch.allclose(read_cube(tmp_path / "ramp.cube").apply(photo), photo, atol=1e-6)


def test_curves_are_read_between_their_entries_as_numpy_does(tmp_path, photo):
    curves = np.random.default_rng(0).random((7, 3))
    (tmp_path / "c.cube").write_text("LUT_1D_SIZE 7\n" + "\n".join(" ".join(map(str, row)) for row in curves))
    edited = read_cube(tmp_path / "c.cube").apply(photo)
    for channel in range(3):
        expected = np.interp(photo[0, channel].numpy(), np.linspace(0, 1, 7), curves[:, channel])
        assert np.allclose(edited[0, channel].numpy(), expected, atol=1e-5)


def test_colours_outside_the_domain_are_those_of_its_edge(tmp_path, photo):
    for header in ("DOMAIN_MIN 0.25 0.25 0.25\nDOMAIN_MAX 0.75 0.75 0.75\n", "LUT_1D_INPUT_RANGE 0.25 0.75\n"):
        (tmp_path / "d.cube").write_text(f"# made by hand\n{header}LUT_1D_SIZE 3\n{RAMP}")
        expected = ((photo - 0.25) / 0.5).clamp(0, 1)
        assert torch.allclose(read_cube(tmp_path / "d.cube").apply(photo), expected, atol=1e-5)


def test_a_curve_before_a_lattice_is_applied_first(tmp_path, photo):
    lattice = write_lattice(tmp_path / "l.cube", lambda colours: colours[..., ::-1]).read_text()
    size, _, colours = lattice.partition("\n")
    (tmp_path / "both.cube").write_text(f"LUT_1D_SIZE 2\n{size}\n1 1 1\n0 0 0\n{colours}")
    assert torch.allclose(read_cube(tmp_path / "both.cube").apply(photo), 1 - photo.flip(1), atol=1e-5)


def test_titles(tmp_path):
    path = tmp_path / "t.cube"
    for text, title in (
        ('TITLE "Warm Film"\n', "Warm Film"),
        ("# x\nTITLE  Cold \n", "Cold"),
        ("LUT_1D_SIZE 3\n", ""),
    ):
        path.write_text(f"{text}LUT_1D_SIZE 3\n{RAMP}")
        assert cube_title(path) == read_cube(path).title == title
    assert cube_title(tmp_path / "absent.cube") == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (RAMP, "neither LUT_1D_SIZE nor LUT_3D_SIZE"),
        ("", "neither LUT_1D_SIZE nor LUT_3D_SIZE"),
        (f"LUT_1D_SIZE 4\n{RAMP}", "has 3 colours, and LUT_1D_SIZE 4 needs 4"),
        (f"LUT_3D_SIZE 300\n{RAMP}", "LUT_3D_SIZE 300; it must be 2 to 256"),
        (f"LUT_1D_SIZE many\n{RAMP}", "LUT_1D_SIZE many; it must be"),
        (f"LUT_IN_VIDEO_RANGE\nLUT_1D_SIZE 3\n{RAMP}", "unknown keyword 'LUT_IN_VIDEO_RANGE'"),
        ("LUT_1D_SIZE 2\n0 0\n1 1\n", "not three finite numbers"),
        ("LUT_1D_SIZE 2\n0 0 0\n1 1 -inf\n", "not three finite numbers"),
        ("LUT_1D_SIZE 2\n0 0 0\n1 1\n", "is not a .cube file"),
        (f"DOMAIN_MIN 1 1 1\nLUT_1D_SIZE 3\n{RAMP}", "a domain that does not rise"),
        (f"DOMAIN_MAX 1 x 1\nLUT_1D_SIZE 3\n{RAMP}", "a domain that does not rise"),
        (f"LUT_1D_INPUT_RANGE 0\nLUT_1D_SIZE 3\n{RAMP}", "a domain that does not rise"),
        ("\x89PNG\r\n\x1a\n\0\0", "a .cube file"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(tmp_path, text, words):
    path = tmp_path / "x.cube"
    path.write_text(text)
    with pytest.raises(WeightzooError, match=words) as refused:
        read_cube(path)
    assert "\n" not in str(refused.value)


def test_an_absent_table_is_named(tmp_path):
    with pytest.raises(WeightzooError, match="cannot read .*absent.cube"):
        read_cube(tmp_path / "absent.cube")
