"""The page of an edit: one file that needs nothing else, and gives in a browser what weightzoo gives."""

import re

import numpy as np
import pytest
from PIL import Image

from tests.zoo.export.test_onnx_file import network, photograph
from zoo.export.page import write_page
from zoo.pictures.apply import edit_photo


def photographs():
    return [Image.fromarray((photograph(50, 60, seed) // 257).astype(np.uint8)) for seed in range(2)]


def test_a_page_needs_nothing_else(tmp_path):
    told = write_page(network("e2gan"), tmp_path / "my `$look`.html", photographs(), strength=0.5)
    text = (tmp_path / "my `$look`.html").read_text()
    assert "{{" not in text and told.compared and "Permission is hereby granted" in text
    assert not re.findall(r"(?:src|href)=\"", text)
    assert 'value="0.5"' in text


@pytest.mark.browser
@pytest.mark.parametrize("name", ["e2gan", "solved"])
def test_a_browser_edits_as_weightzoo_does(name, tmp_path, page):
    write_page(network(name), tmp_path / "edit.html", photographs())
    pixels = (photograph(90, 70) // 257).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    page.goto((tmp_path / "edit.html").as_uri())
    page.wait_for_function("document.getElementById('state').textContent === 'Ready.'")
    page.set_input_files("#photo", tmp_path / "photo.png")
    page.wait_for_function("document.getElementById('state').textContent.includes(' pixels in ')")
    with page.expect_download() as download:
        page.click("#save")
    download.value.save_as(tmp_path / "result.png")
    assert download.value.suggested_filename == "photo-edit.png"
    wide = pixels.astype(np.uint16) * 257
    with Image.open(tmp_path / "result.png") as result:
        theirs = np.asarray(result.convert("RGB")).astype(float)
    assert np.abs(theirs - edit_photo(network(name), wide) / 257).max() < 0.55  # rounded to 8 bits
    page.fill("#strength", "0")
    assert page.evaluate(
        "document.getElementById('before').toDataURL() === document.getElementById('after').toDataURL()"
    )
