"""A real headless browser, where there is one."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.annotate.browser_support import Hand, find_chromium

TIMEOUT_MS = 30_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = find_chromium()
    if path is None:
        pytest.skip("no chromium on this machine (chromium, chromium-browser, google-chrome)")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def hand(browser: Any) -> Iterator[Hand]:
    """A new window; a test fails if the page raises an error."""
    context = browser.new_context(viewport={"width": 1280, "height": 820}, accept_downloads=True)
    context.set_default_timeout(TIMEOUT_MS)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield Hand(page)
    context.close()
    assert errors == []
