"""The page in a real Chromium (`make test-browser`; `make setup-browser` installs it).

With WEIGHTZOO_SCREENSHOTS=DIR the embedded model is served and pictures of the page are written to DIR.
"""

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from PIL import Image, ImageChops, ImageFilter, ImageOps

from tests.browser import PATIENCE, after, changed
from tests.serving import free_port
from tests.weightgen.server.conftest import opened, picture
from weightgen.server.app import create_app
from weightgen.server.engine import Engine
from weightgen.server.finetuning import job
from weightgen.server.finetuning.files import append_event
from weightgen.server.finetuning.jobs import Jobs
from weightgen.server.limits import Limits, ServerSettings
from weightgen.server.schemas import JobEvent

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
ROOT = Path(__file__).resolve().parents[3]
SHOTS = os.environ.get("WEIGHTZOO_SCREENSHOTS")
TOKEN = "a token for the browser"
PATIENT = Limits(request_seconds=200, job_seconds=30)


class Served:
    """A server in a thread of this process."""

    def __init__(self, engine: Engine, settings: ServerSettings) -> None:
        self.app = create_app(engine, settings)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}/"
        config = uvicorn.Config(self.app, host="127.0.0.1", port=port, log_level="warning")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        while not self.server.started:
            assert self.thread.is_alive()
            time.sleep(0.05)

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join()


@pytest.fixture(scope="module")
def page_engine(request) -> Engine:
    if SHOTS:
        return Engine(ROOT / "weightgen/embedded/weightzoo-small", ROOT / "zoo/embedded/weightzoo-small")
    return request.getfixturevalue("engine")


@pytest.fixture
def start(page_engine, tmp_path) -> Iterator:
    running = []

    def begin(**changes: object) -> Served:
        paths = (page_engine.model_path, page_engine.zoo_path, tmp_path / "jobs")
        running.append(Served(page_engine, ServerSettings(*paths, limits=PATIENT, **changes)))
        return running[-1]

    yield begin
    for served in running:
        served.close()


def shot(page, name: str, **options: object) -> None:
    if SHOTS:
        page.wait_for_timeout(500)
        page.screenshot(path=Path(SHOTS) / f"{name}.png", **options)


def found(page, text: str) -> None:
    """Waits until the gallery says how many concepts it has found."""
    page.wait_for_selector(f"#found:text-is('{text}')")


def test_type_choose_compare_upload_and_download(page, start, tmp_path) -> None:
    page.goto(start().url)
    first = after(page)  # the page opens with an example
    page.wait_for_selector("#near-cards .card:nth-child(4)")

    page.fill("#prompt", "golden evening light")
    page.keyboard.press("Enter")
    second = changed(page, first)
    assert " s" in page.inner_text("#took")

    page.focus("#slider")
    page.keyboard.press("ArrowLeft")
    assert page.input_value("#slider") == "49"
    assert page.evaluate("getComputedStyle(document.getElementById('after')).clipPath") == "inset(0px 0px 0px 49%)"

    page.check("[name=sample][value=motorcycle]", force=True)
    third = changed(page, second)

    page.set_input_files("#upload", {"name": "mine.png", "mimeType": "image/png", "buffer": picture(90, 60)})
    changed(page, third)
    assert page.evaluate("document.getElementById('after').naturalWidth") == 90

    with page.expect_download() as download:
        page.click("text=Picture, full size")
    assert download.value.suggested_filename == "mine-golden-evening-light.png"
    with page.expect_download() as download:
        page.locator("#result").get_by_text("Adapter", exact=True).click()
    assert download.value.suggested_filename == "golden-evening-light.zip"


def test_far_prompts_are_warned_of_and_bad_files_explained(page, start) -> None:
    page.goto(start().url)
    after(page)
    page.fill("#prompt", "quarterly earnings report of a bank")
    page.click("#ask button")
    page.wait_for_selector("#warning:not([hidden])")
    page.set_input_files("#upload", {"name": "text.png", "mimeType": "image/png", "buffer": b"no picture"})
    page.wait_for_selector("#problem:not([hidden])")
    assert "not a picture" in page.inner_text("#problem")
    page.fill("#prompt", "a red look")
    page.click("#ask button")
    page.wait_for_selector("#warning", state="hidden")
    page.wait_for_selector("#problem", state="hidden")


def test_the_gallery_is_searched_and_used(page, start) -> None:
    served = start()
    page.goto(served.url)
    after(page)
    total = len(served.app.state.services.engine.members.all)
    found(page, f"{total} concepts")
    page.locator("#gallery .card").first.scroll_into_view_if_needed()
    page.wait_for_selector("#gallery .card img[src^=blob]")
    shot(page, "gallery")
    word = served.app.state.services.engine.members.all[0].prompt
    page.fill("#search", word)
    page.wait_for_selector(f"#found:not(:text-is('{total} concepts'))")
    before = page.get_attribute("#after", "src")
    page.locator("#gallery .card button").first.click()
    changed(page, before)
    assert page.input_value("#prompt") == word
    page.fill("#search", "no such thing anywhere")
    found(page, "0 concepts")


def test_strength_counts_for_prompts_and_for_the_zoo(page, start, tmp_path) -> None:
    page.goto(start().url)
    first = after(page)
    photo = picture(90, 60)
    page.set_input_files("#upload", {"name": "mine.png", "mimeType": "image/png", "buffer": photo})
    shown = changed(page, first)
    page.focus("#strength")
    page.keyboard.press("Home")
    shown = changed(page, shown)
    assert page.inner_text("#strength-out") == "-100 %"
    page.wait_for_selector("#gallery .card button")
    page.locator("#gallery .card button").first.click()
    shown = changed(page, shown)
    page.evaluate("document.getElementById('strength').value = 0")
    page.dispatch_event("#strength", "input")
    page.dispatch_event("#strength", "change")
    changed(page, shown)
    assert page.inner_text("#strength-out") == "0 %"
    with page.expect_download() as download:
        page.click("text=Picture, full size")
    download.value.save_as(tmp_path / "same.png")
    assert (opened((tmp_path / "same.png").read_bytes()).tobytes()) == opened(photo).tobytes()


def test_fine_tuning_on_example_pairs_draws_a_curve(page, start) -> None:
    page.goto(start().url)
    before = after(page)
    page.click("#example")
    page.wait_for_selector("#pairs figure:nth-child(6)")
    page.fill("#seconds", "20" if SHOTS else "5")
    page.click("#tune-start")
    page.wait_for_selector("#curve .path")
    page.wait_for_selector("#tune-done:not([hidden])")
    changed(page, before)
    shot(page, "finetune")


def test_the_photograph_is_edited_before_the_training_and_again_after_it(page, start, monkeypatch) -> None:
    """The job runs in this process, and does not begin to train before its first network was seen at work."""
    seen = threading.Event()

    def held(folder: Path, event: JobEvent) -> None:
        append_event(folder, event)
        if event.event == "progress" and event.adapter:
            assert seen.wait(PATIENCE / 1000)

    async def here(jobs: Jobs, name: str, folder: Path) -> str:
        await asyncio.to_thread(job.run, folder)
        return "it ended early"

    monkeypatch.setattr(job, "append_event", held)
    monkeypatch.setattr(Jobs, "_train", here)
    page.goto(start().url)
    before = after(page)
    page.click("#example")
    page.fill("#seconds", "5")
    page.click("#tune-start:enabled")
    first = changed(page, before)
    assert page.is_visible("#tune-stop") and page.is_hidden("#tune-done")
    assert page.inner_text("#tune-state").startswith("Step 0")
    seen.set()
    page.wait_for_selector("#tune-done:not([hidden])")
    changed(page, first)
    assert page.inner_text("#tune-state").startswith("Done")


def blueprint(photo: Image.Image) -> Image.Image:
    """Edges as white lines on blue."""
    grey = ImageOps.grayscale(photo)
    edges = ImageChops.subtract(grey.filter(ImageFilter.MaxFilter(3)), grey.filter(ImageFilter.MinFilter(3)))
    return ImageOps.colorize(ImageOps.autocontrast(edges, (0, 1)), "#123a8c", "white")


def error(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one.convert("RGB"), float) - np.asarray(other.convert("RGB"), float)).mean())


def test_one_pair_of_files_edits_another_photograph(page, start, tmp_path) -> None:
    page.goto(start().url)
    first = after(page)
    page.check("[name=sample][value=motorcycle]", force=True)
    shown = changed(page, first)
    samples = ROOT / "weightgen/server/page/samples"
    with Image.open(samples / "pavilion.jpg") as photo:
        blueprint(photo).save(tmp_path / "pavilion.png")
    page.set_input_files("#sources", samples / "pavilion.jpg")
    page.set_input_files("#targets", tmp_path / "pavilion.png")
    page.wait_for_selector("#pairs figure")
    page.click("#tune-start:enabled")
    page.wait_for_selector("#tune-done:not([hidden])")
    changed(page, shown)
    with page.expect_download() as download:
        page.click("text=Picture, full size")
    download.value.save_as(tmp_path / "edited.png")
    with Image.open(samples / "motorcycle.jpg") as photo, Image.open(tmp_path / "edited.png") as edited:
        wanted = blueprint(photo)
        assert error(edited, wanted) < 0.5 * error(photo, wanted)
    others = "document.querySelectorAll('.intro, #ask, #ideas, #near, #zoo, footer')"
    page.evaluate(f"{others}.forEach(other => {{ other.style.display = 'none' }})")
    shot(page, "own-edit", full_page=True)


def test_a_server_with_a_token_asks_for_it(page, start) -> None:
    page.goto(start(token=TOKEN).url)
    page.fill("#token", TOKEN)
    page.click("text=Continue")
    after(page)
    page.expected = [message for message in page.errors if "401" in message]  # the browser notes each refusal


def test_screens(page, start) -> None:
    """Nothing is wider than a phone, and every control has a name; pictures of both colour schemes."""
    page.goto(start().url)
    after(page)
    page.wait_for_selector("#near-cards .card:nth-child(4) img[src^=blob]")
    before = page.get_attribute("#after", "src")
    page.click("#ask button")  # again, when everything is loaded
    changed(page, before)
    page.wait_for_selector("#near-cards .card:nth-child(4) img[src^=blob]")
    shot(page, "top")
    shot(page, "try", full_page=True, clip={"x": 0, "y": 0, "width": 1280, "height": 1340})
    shot(page, "whole", full_page=True)
    page.emulate_media(color_scheme="dark")
    shot(page, "dark", full_page=True)
    page.set_viewport_size({"width": 390, "height": 844})
    shot(page, "phone-dark")
    page.emulate_media(color_scheme="light")
    shot(page, "phone", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    nameless = page.evaluate(
        "[...document.querySelectorAll('button, input, select')].filter(e => !e.closest('[hidden], dialog') && "
        "!(e.textContent.trim() || e.getAttribute('aria-label') || e.labels?.length)).map(e => e.outerHTML)"
    )
    assert nameless == []
