"""Fixtures of the page's tests: a real Chromium, and a page that fails its test for any error on the console.

``make setup-browser`` installs Debian's Chromium; ``make test-browser`` runs what is marked ``browser``.
"""

import shutil
from collections.abc import Iterator

import pytest

PATIENCE = 240_000  # milliseconds: the tests may share the machine


@pytest.fixture(scope="module")
def chromium() -> Iterator:
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium")
    assert path, "no chromium; run make setup-browser"
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])


@pytest.fixture
def page(chromium) -> Iterator:
    """A page that fails the test for every message of kind error on its console."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    shown = context.new_page()
    shown.set_default_timeout(PATIENCE)
    errors: list[str] = []

    def heard(message) -> None:
        if message.type == "error":
            errors.append(message.text)

    def asked(request) -> None:
        if request.url.startswith("http") and "127.0.0.1" not in request.url:
            errors.append(f"{request.url} is elsewhere")

    shown.on("pageerror", lambda error: errors.append(str(error)))
    shown.on("console", heard)
    shown.on("request", asked)
    shown.errors = errors
    yield shown
    assert errors == getattr(shown, "expected", [])
    context.close()


def after(page) -> str:
    """The address of the edited picture, once the stage rests."""
    page.wait_for_selector("#stage.compared[aria-busy=false]")
    return page.get_attribute("#after", "src")


def changed(page, before: str) -> str:
    """The address of the next edited picture."""
    page.wait_for_function("before => document.getElementById('after').src !== before", arg=before)
    return after(page)
