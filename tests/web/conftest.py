"""A real ComfyUI with each of two front ends, and a real Chromium.

Where one of them cannot be had the tests fail with the sentence that says why; they are never skipped. None lives
longer than a file's tests: Playwright keeps an event loop running in this thread, and other tests start one.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from kontext_core.remote.client import Client
from tools import frontend
from tools.page import open_browser, open_page
from tools.server import Server

from .editor import QUIET, Editor


@pytest.fixture(scope="module", params=[frontend.OWN, frontend.NEWEST])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A running ComfyUI with its own front end, then one with the newest."""
    with Server(front_end=frontend.get(request.param)) as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    with open_browser() as browser:
        yield browser


@pytest.fixture
def editor(browser: Browser, server: Server, tmp_path: Path) -> Iterator[Editor]:
    """ComfyUI's page in a fresh profile; what it looked like at the end lies in the test's temporary folder."""
    with Client(server.url) as client:
        client.settings(QUIET)
    with open_page(browser, server.url) as page:
        yield Editor(page, server.url)
        page.screenshot(path=tmp_path / "page.png")
