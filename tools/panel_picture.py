"""`python -m tools.panel_picture`: the help's picture of the chain panel, from the page after a run."""

from __future__ import annotations

from PIL import Image
from playwright.sync_api import Page

from kontext_core.remote.client import Client, RemoteError

from . import frontend
from .console import run, say
from .graph_picture import NO_MINIMAP
from .page import open_browser, open_page, screenshot
from .paths import ROOT
from .place import PACK
from .server import Server

TARGET = ROOT / "web" / "docs" / "images" / "chain_panel.png"
TEMPLATE = "branch_and_compare"
PATIENCE_MS = 600_000
WIDTH_PX, HEIGHT_PX = 1100, 760
VUE_NODES = {"Comfy.VueNodes.Enabled": True}  # their texts are there from any distance
TO_THE_LEFT = 6  # so that the line goes through what the turn changed

# Every row shows its picture, and so do both sides of the slider.
SHOWN = """() => {
  const images = [...document.querySelectorAll('.kontext-thumbnail img:not(.kontext-veil), .kontext-before-after img')];
  const rows = document.querySelectorAll('.kontext-row').length;
  return rows > 0 && images.length === rows + 2 && images.every(one => one.naturalWidth) && !app.runningNodeId;
}"""


def take(page: Page) -> Image.Image:
    """Open the panel, run the template and choose the second turn."""
    page.set_viewport_size({"width": WIDTH_PX, "height": HEIGHT_PX})
    page.get_by_role("button", name="Turns of this graph").first.click(timeout=PATIENCE_MS)
    page.locator(".kontext-row").nth(1).wait_for(timeout=PATIENCE_MS)
    page.evaluate("app.queuePrompt(0, 1)")
    page.locator(".kontext-row").nth(1).click()
    page.wait_for_function(SHOWN, timeout=PATIENCE_MS)
    for _ in range(TO_THE_LEFT):
        page.get_by_role("slider", name="Before and after").press("ArrowLeft")
    page.wait_for_timeout(2_000)  # toasts are gone
    return screenshot(page)


def main() -> None:
    """The command line."""
    with Server(front_end=frontend.get(frontend.NEWEST)) as server, open_browser() as browser:
        with Client(server.url) as client:
            client.settings({**NO_MINIMAP, **VUE_NODES})
        with open_page(browser, server.url, f"/?template={TEMPLATE}&source={PACK}") as page:
            take(page).save(TARGET, optimize=True)
    say(f"wrote {TARGET}")


if __name__ == "__main__":
    run(main, RemoteError)
