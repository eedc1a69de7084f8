"""ComfyUI's page in a real Chromium, through Playwright."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from kontext_core.images.picture_files import from_bytes, to_pil
from kontext_core.remote.client import Client

from . import chromium
from .console import ToolError

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)
SETTINGS = {"Comfy.TutorialCompleted": True, "Comfy.Workflow.ShowMissingNodesWarning": False}
NO_BANNER = "localStorage.setItem('vueNodesBannerDismissed', 'true')"
READY = "() => Boolean(window.app?.graph && window.app.extensionManager?.workflow?.activeWorkflow)"


@contextmanager
def open_browser() -> Generator[Browser]:
    """A headless Chromium.

    Raises: ToolError if none is installed.
    """
    program = chromium.find()
    if program is None:
        raise ToolError(f"No Chromium was found. {chromium.HOW}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_page(browser: Browser, url: str, path: str = "/") -> Generator[Page]:
    """ComfyUI's page in a fresh profile, ready for use: `window.app` is there and no dialog covers it.

    `path` may ask for a template: "/?template=three_turn_edit&source=kontext".
    """
    with Client(url) as client:
        client.settings(SETTINGS)
    context = browser.new_context(viewport={"width": 1600, "height": 900})
    try:
        context.set_default_navigation_timeout(120_000)  # a busy machine takes its time
        context.add_init_script(NO_BANNER)
        page = context.new_page()
        page.goto(f"{url}{path}", wait_until="domcontentloaded")
        page.wait_for_function(READY, timeout=120_000)
        yield page
    finally:
        context.close()


def screenshot(page: Page) -> Image.Image:
    """What the page shows."""
    return to_pil(from_bytes(page.screenshot(), "the screenshot"))
