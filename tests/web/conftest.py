"""A real ComfyUI with each of several front ends, and a real Chromium.

Where one of them cannot be had the tests fail with the sentence that says why; they are never skipped. The
browser lives no longer than a file's tests: Playwright keeps an event loop running in this thread, and other
tests start one. The servers live until no test of this folder follows.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from kontext_core.remote.client import Client
from tests import front_ends
from tools import frontend
from tools.page import open_browser, open_page
from tools.server import Server

from .editor import PATIENCE_MS, QUIET, Editor, forget
from .panel import LOCALE, THUMBNAILS, VUE, Panel

# Files whose tests run on both usual front ends with 'make test'; those of all others run on the older one,
# and all of them on others, with 'make test-matrix'.
ON_BOTH = ("test_by_hand_loop.py", "test_draw_area.py", "test_page.py", "test_turns.py")

expect.set_options(timeout=PATIENCE_MS)  # however busy the machine is

_servers: dict[str, Server] = {}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what 'make test' leaves to 'make test-matrix', and leave out what an older front end cannot do."""
    absent: list[pytest.Item] = []
    for item in items:
        version = getattr(item, "callspec", None) and item.callspec.params.get("server")
        if Path(__file__).parent not in item.path.parents or version is None:
            continue
        usual = front_ends.USUAL if item.path.name in ON_BOTH else (frontend.NEWEST,)
        if front_ends.in_matrix(version, usual):
            item.add_marker("matrix")
        first = item.get_closest_marker("since_front_end")
        if first is not None and front_ends.number(version) < front_ends.number(first.args[0]):
            absent.append(item)
    config.hook.pytest_deselected(items=absent)
    items[:] = [item for item in items if item not in absent]


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """End the servers behind the last test of this folder."""
    if nextitem is None or Path(__file__).parent not in nextitem.path.parents:
        while _servers:
            _servers.popitem()[1].stop()


@pytest.fixture(scope="module", params=front_ends.versions())
def server(request: pytest.FixtureRequest) -> Server:
    """A running ComfyUI with one front end after the other: no settings, and nothing has run."""
    server = _servers.get(request.param)
    if server is None:
        server = _servers[request.param] = Server(front_end=frontend.get(request.param)).start()
    else:
        (server.base / "user" / "default" / "comfy.settings.json").unlink(missing_ok=True)
        forget(server.url)
    return server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    with open_browser() as browser:
        yield browser


@pytest.fixture
def editor(browser: Browser, server: Server, tmp_path: Path) -> Iterator[Editor]:
    """ComfyUI's page in a fresh profile; what it looked like at the end is in the test's temporary folder."""
    with Client(server.url) as client:
        client.settings(QUIET)
    with open_page(browser, server.url) as page:
        yield Editor(page, server.url)
        page.screenshot(path=tmp_path / "page.png")


@pytest.fixture
def vue_editor(browser: Browser, server: Server, tmp_path: Path) -> Iterator[Editor]:
    """The page with Vue nodes."""
    with Client(server.url) as client:
        client.settings(QUIET | {VUE: True})
        try:
            with open_page(browser, server.url) as page:
                yield Editor(page, server.url)
                page.screenshot(path=tmp_path / "page.png")
        finally:
            client.settings({VUE: False})


@pytest.fixture
def panel(
    request: pytest.FixtureRequest, browser: Browser, server: Server, tmp_path: Path
) -> Iterator[Panel]:
    """The page with its chain panel open: older front ends draw nodes on the canvas, the newest with Vue."""
    newest = request.node.callspec.params["server"] == frontend.NEWEST
    vue = getattr(request, "param", newest)
    with Client(server.url) as client:
        client.settings({**QUIET, LOCALE: "en", VUE: vue, THUMBNAILS: True})
    with open_page(browser, server.url) as page:
        panel = Panel(Editor(page, server.url))
        panel.open()
        yield panel
        page.screenshot(path=tmp_path / "page.png")
