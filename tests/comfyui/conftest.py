"""A real ComfyUI with this pack in it, shared by all tests of this folder, and its page in a real Chromium.

Where one of them cannot be had the tests fail with the sentence that says why; they are never
skipped. None lives longer than a file's tests: Playwright keeps an event loop running in this thread,
and other tests start one.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from kontext_core.remote.client import Client
from tests import front_ends
from tools import frontend
from tools.page import open_browser, open_page
from tools.server import Server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here drives ComfyUI."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("comfy")


@pytest.fixture(scope="module")
def comfyui() -> Iterator[Server]:
    """A running ComfyUI with the front end of its release."""
    with Server() as server:
        yield server


@pytest.fixture
def client(comfyui: Server) -> Iterator[Client]:
    """A client of `comfyui`."""
    with Client(comfyui.url) as client:
        yield client


@pytest.fixture(scope="module", params=front_ends.params())
def each_front_end(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A running ComfyUI with one front end after the other."""
    with Server(front_end=frontend.get(request.param)) as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    with open_browser() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, each_front_end: Server) -> Iterator[Page]:
    """The page of `each_front_end`, in a fresh profile, ready for use."""
    with open_page(browser, each_front_end.url) as page:
        yield page
