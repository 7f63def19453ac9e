"""The journey of a user who has never seen the pipeline: shards from the Hub, trained on a cluster, back, served, seen.

Every part is the real one; the visitor is an HTTP client (in `make test`) or Chromium (in `make test-browser`).
"""

import io
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from PIL import Image
from safetensors.torch import load
from torch.testing import assert_close

from tests.browser import after, changed
from tests.serving import serving
from weightgen.sampling import WeightDiffusionPipeline
from zoo.hub import publish

ROOT = Path(__file__).resolve().parents[2]
PHOTO = ROOT / "pipeline" / "photos" / "test" / "chelsea.jpg"
CARD = b"---\nlicense: apache-2.0\n---\n"
PIXELS = """() => {
  const picture = document.getElementById("after"), canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [picture.naturalWidth, picture.naturalHeight];
  canvas.getContext("2d").drawImage(picture, 0, 0);
  return canvas.toDataURL();
}"""


@pytest.fixture
def model(step, world, hub, tmp_path) -> str:
    """A weight generator on the Hub, trained by two workers on a zoo of the Hub."""
    publish(world / "zoo", "user/zoo", {"README.md": CARD})
    step("download", "user/zoo", "-o", tmp_path / "zoo")
    step(
        "train", "--data", tmp_path / "zoo", "--preset", "tiny", "--steps", "30", "--ray", "--num-workers", "2",
        "-o", tmp_path / "model",
    )  # fmt: skip
    step("publish", tmp_path / "model", "--repo", "user/model")
    return "user/model"


@pytest.fixture
def url(model, hub_environment, tmp_path) -> Iterator[str]:
    """Where Ray Serve answers with that model and its zoo."""
    arguments = ("--model", model, "--data", tmp_path / "zoo", "--replicas", "1")
    with serving(*arguments, log=tmp_path / "log", environment=hub_environment) as (process, url):
        yield url
    assert process.returncode == 0, (tmp_path / "log").read_text()


@pytest.mark.ray
@pytest.mark.timeout(900)
def test_from_the_hub_to_an_edited_photograph(model, url) -> None:
    pipe = WeightDiffusionPipeline.from_pretrained(model)
    prompts = ("a blue look", "make it grey")
    output, edited = pipe(list(prompts)), []
    for index, prompt in enumerate(prompts):
        adapter = httpx2.post(f"{url}/v1/adapters", json={"prompt": prompt}, timeout=60)
        assert adapter.status_code == 200, adapter.text
        assert_close(load(adapter.content), output.adapter(index), rtol=1e-3, atol=1e-4)
        picture = httpx2.post(
            f"{url}/v1/images", data={"prompt": prompt}, files={"photo": PHOTO.read_bytes()}, timeout=60
        )
        edited.append(Image.open(io.BytesIO(picture.content)))
    assert edited[0].size == edited[1].size == Image.open(PHOTO).size
    assert edited[0].tobytes() != edited[1].tobytes()
    assert "<title>weightzoo" in httpx2.get(url, timeout=60).text


@pytest.mark.browser
@pytest.mark.timeout(900)
def test_from_the_hub_to_the_page(url, page) -> None:
    page.goto(url)
    first = after(page)  # the page opens with an example
    pixels = page.evaluate(PIXELS)
    page.fill("#prompt", "a blue look")
    page.click("#ask button")
    changed(page, first)
    assert page.evaluate(PIXELS) != pixels
