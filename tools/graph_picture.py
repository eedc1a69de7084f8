"""`python -m tools.graph_picture`: the README's picture of the graph, from the page after a real run."""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page

from kontext_core.remote.client import Client, RemoteError

from . import frontend
from .console import run, say
from .page import open_browser, open_page, screenshot
from .paths import ROOT
from .place import PACK
from .server import Server

TARGET = ROOT / "web" / "docs" / "images" / "graph.png"
TEMPLATE = "a_first_chain"

OPENED = "() => app.graph._nodes.some(node => node.type === 'KontextTurn')"  # not the page's own first graph
# Every node that shows a picture has one, and no preview is on its way.
DONE = """() => {
  const turns = app.graph._nodes.filter(node => node.type === "KontextTurn");
  return turns.length > 0 && turns.every(node => node.imgs?.length && node.imgs[0].complete) && !app.runningNodeId;
}"""
LOWEST_PX = """() => {
  const { scale, offset } = app.canvas.ds;
  return (Math.max(...app.graph._nodes.map(node => node.pos[1] + node.size[1])) + offset[1]) * scale;
}"""
MARGIN_PX = 24
NO_MINIMAP = {"Comfy.Minimap.Visible": False}


def take(page: Page) -> Image.Image:
    """Run the open template and take the part of the page that shows it."""
    page.wait_for_function(OPENED, timeout=120_000)
    page.evaluate("app.queuePrompt(0, 1)")
    page.wait_for_function(DONE, timeout=600_000)
    page.wait_for_timeout(2_000)  # the last picture is drawn, toasts are gone
    picture = screenshot(page)
    bottom = int(page.evaluate(LOWEST_PX)) + MARGIN_PX
    return picture.crop((0, 0, picture.width, min(bottom, picture.height)))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.graph_picture", description=__doc__)
    parser.add_argument("--output", type=Path, default=TARGET)
    options = parser.parse_args()
    with Server(front_end=frontend.get(frontend.NEWEST)) as server, open_browser() as browser:
        with Client(server.url) as client:
            client.settings(NO_MINIMAP)
        with open_page(browser, server.url, f"/?template={TEMPLATE}&source={PACK}") as page:
            take(page).save(options.output, optimize=True)
    say(f"wrote {options.output}")


if __name__ == "__main__":
    run(main, RemoteError)
