"""The Space edits a photograph as words or pairs say, says in one line what is wrong, and answers through gradio's API.

gradio wants an older Pillow than `constraints.txt` has, so the page itself is a slow test, with gradio in a folder of
its own; that test needs a package index.
"""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from spaces import app
from tests.serving import PATIENCE, free_port
from zoo.errors import WeightzooError

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = (ROOT / "spaces" / "README.md").read_text()


def picture(path: Path, seed: int = 0) -> str:
    noise = np.random.default_rng(seed).random((6, 8, 3)) * 255
    Image.fromarray(noise.astype("uint8")).resize((96, 72), Image.Resampling.BICUBIC).save(path)
    return str(path)


@pytest.fixture
def photo(tmp_path):
    return picture(tmp_path / "photo.png", seed=9)


@pytest.fixture
def pairs(tmp_path):
    """Pictures and their negatives; only the order of the names says what belongs together."""
    befores = [picture(tmp_path / f"{number}.png", number) for number in (2, 0, 1)]
    afters = []
    for before in sorted(befores):
        after = tmp_path / f"after-{Path(before).stem}.png"
        ImageOps.invert(Image.open(before)).save(after)
        afters.append(str(after))
    return befores, afters


def distance(image, path) -> float:
    return float(np.abs(np.asarray(image, float) - np.asarray(Image.open(path), float)).mean())


def test_words_edit_a_photograph(photo):
    image, notes = app.edit_in_words(photo, "a film negative")
    assert image.size == (96, 72) and distance(image, photo) > 10
    assert "- " not in notes
    half, _ = app.edit_in_words(photo, "a film negative", strength=0.5)
    assert distance(half, photo) == pytest.approx(distance(image, photo) / 2, abs=1)


def test_what_is_not_understood_of_words_is_said(photo):
    assert "- " in app.edit_in_words(photo, "not a film negative")[1]


def test_pairs_edit_a_photograph(photo, pairs, tmp_path):
    image, notes = app.edit_of_pairs(photo, *pairs)
    ImageOps.invert(Image.open(photo)).save(tmp_path / "wanted.png")
    assert distance(image, tmp_path / "wanted.png") < distance(Image.open(photo), tmp_path / "wanted.png") / 4
    assert "3 pairs" in notes and str(tmp_path) not in notes


def test_strength_0_is_the_photograph_with_its_alpha(tmp_path, photo):
    image = Image.open(photo)
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    image.save(tmp_path / "alpha.png")
    same, _ = app.edit_in_words(str(tmp_path / "alpha.png"), "a film negative", strength=0)
    assert np.array_equal(np.asarray(same), np.asarray(image))


def test_another_weight_generator_can_be_named(monkeypatch, tmp_path):
    app.model_folder.cache_clear()
    monkeypatch.setenv("WEIGHTZOO_MODEL", str(tmp_path / "absent"))
    with pytest.raises(WeightzooError, match="absent does not exist"):
        app.model_folder()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda photo, pairs: app.edit_in_words(None, "a film negative"), "there is no photograph"),
        (lambda photo, pairs: app.edit_in_words(photo, " "), "the prompt is empty"),
        (lambda photo, pairs: app.edit_in_words(photo, "a" * 301), "301 characters"),
        (lambda photo, pairs: app.edit_in_words(photo, "a film negative", 3), "strength of 3"),
        (lambda photo, pairs: app.edit_of_pairs(photo, None, None), "there are no pairs"),
        (lambda photo, pairs: app.edit_of_pairs(photo, pairs[0], pairs[1][:1]), "3 pictures before the edit and 1"),
        (lambda photo, pairs: app.edit_of_pairs(photo, pairs[0] * 6, pairs[1] * 6), "18 pairs; give 16"),
        (lambda photo, pairs: app.edit_of_pairs(photo, [__file__], pairs[1][:1]), r"^(?!.*weightzoo-\w+/)"),
    ],
)
def test_what_is_wrong_is_one_line(photo, pairs, wrong, said):
    with pytest.raises(WeightzooError, match=said) as error:
        wrong(photo, pairs)
    assert "\n" not in str(error.value)


def test_a_photograph_that_is_too_large_is_refused(photo, monkeypatch):
    monkeypatch.setattr(app, "MAX_PIXELS", 96 * 72 - 1)
    with pytest.raises(WeightzooError, match="96x72 pixels, and the limit"):
        app.edit_in_words(photo, "a film negative")


def test_the_space_has_what_its_settings_name():
    header = dict(re.findall(r"^(\w+): (.*)$", SETTINGS.split("---")[1], re.M))
    assert header["sdk"] == "gradio" and header["license"] == "apache-2.0"
    assert (ROOT / "spaces" / header["app_file"]).is_file()
    assert len(header["short_description"]) <= 60  # or the Hub refuses the Space
    assert all(path.is_file() for path in (app.SAMPLES / f"{name}.jpg" for name, _ in app.EXAMPLES))


CALL = """
import json, sys
from gradio_client import Client, handle_file
url, photo, befores, afters = sys.argv[1], sys.argv[2], *map(json.loads, sys.argv[3:5])
client = Client(url, verbose=False)
of = [client.predict(handle_file(photo), "a film negative", 1.0, api_name="/edit_in_words")]
given = [[handle_file(path) for path in paths] for paths in (befores, afters)]
of.append(client.predict(handle_file(photo), *given, "", 1.0, api_name="/edit_of_pairs"))
try:
    client.predict(handle_file(photo), " ", 1.0, api_name="/edit_in_words")
except Exception as error:
    of.append(str(error))
print(json.dumps(of))
"""


def wait_for(space: subprocess.Popen, url: str, log: Path) -> None:
    """Return as soon as the page is there."""
    ends = time.monotonic() + PATIENCE
    while True:
        try:
            return urllib.request.urlopen(url, timeout=10).close()
        except OSError:
            assert space.poll() is None and time.monotonic() < ends, log.read_text()
            time.sleep(0.2)


@pytest.mark.slow
def test_the_page_answers(tmp_path, photo, pairs):
    (version,) = re.findall(r"^sdk_version: (.*)$", SETTINGS, re.M)
    pins = (line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("pillow=="))
    (tmp_path / "pins.txt").write_text("\n".join(pins))
    install = [sys.executable, "-m", "pip", "install", "--target", tmp_path / "gradio", "-c", tmp_path / "pins.txt"]
    subprocess.run([*install, f"gradio=={version}"], check=True, capture_output=True)
    port = free_port()
    environment = os.environ | {
        "PYTHONPATH": f"{tmp_path / 'gradio'}{os.pathsep}{ROOT}",
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_TEMP_DIR": str(tmp_path / "uploads"),
    }
    with open(tmp_path / "log", "w") as log:
        space = subprocess.Popen(
            [sys.executable, ROOT / "spaces" / "app.py"], cwd=tmp_path, env=environment, stdout=log, stderr=log
        )
    try:
        wait_for(space, f"http://127.0.0.1:{port}/", tmp_path / "log")
        call = [sys.executable, "-c", CALL, f"http://127.0.0.1:{port}/", photo, *map(json.dumps, pairs)]
        called = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True)
    finally:
        space.terminate()
        space.wait(60)
    assert called.returncode == 0, called.stderr
    in_words, of_pairs, refused = json.loads(called.stdout.splitlines()[-1])
    assert distance(Image.open(in_words[0]), photo) > 10
    assert distance(Image.open(of_pairs[0]), photo) > 10 and "3 pairs" in of_pairs[1]
    assert "the prompt is empty" in refused
