"""`python -m tools.loop_pictures`: the help's pictures of the panel at work, and of the layout picture."""

from __future__ import annotations

import argparse

from PIL import Image
from playwright.sync_api import Locator, Page

from kontext_core.images.picture_files import from_bytes, to_pil
from kontext_core.remote.client import Client, RemoteError

from . import frontend
from .console import run, say
from .graph_picture import NO_MINIMAP
from .page import open_browser, open_page
from .panel_picture import PATIENCE_MS, VUE_NODES
from .paths import ROOT
from .place import PACK
from .server import Server

FOLDER = ROOT / "web" / "docs" / "images"
TEMPLATE, REFERENCES = "a_first_chain", "two_references"
COLOURS = 128
WIDTH_PX, HEIGHT_PX = 1300, 800
TO_THE_LEFT = 8  # so that the line goes through what differs

_STATES = (
    "states => states.every((state, i) =>"
    " document.querySelectorAll('.kontext-row .kontext-state')[i]?.textContent === state)"
)
_LOADED = """([rows, images]) => {
  const all = [...document.querySelectorAll('.kontext-thumbnail img:not(.kontext-veil), .kontext-choice img, .kontext-before-after img')]
  return document.querySelectorAll('.kontext-row').length === rows && all.length >= images
    && all.every(one => one.naturalWidth) && !app.runningNodeId
}"""
_SHOW = """kind => {
  const node = app.graph._nodes.filter(one => one.type === kind).at(-1), {ds} = app.canvas
  ds.scale = 1.4
  ds.offset = [150 - node.pos[0], 20 - node.pos[1]]
  app.canvas.deselectAll?.()
  app.canvas.setDirty(true, true)
}"""
_RUN = "() => app.queuePrompt(0, 1)"
FINISHED, OLD = "finished", "out of date"


def keep(part: Locator, name: str) -> None:
    """Write what a part of the page looks like."""
    part.page.mouse.move(WIDTH_PX - 5, HEIGHT_PX / 2)
    part.page.wait_for_timeout(1_500)  # toasts are gone, pictures are drawn
    picture = to_pil(from_bytes(part.screenshot(), "a screenshot"))
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(FOLDER / f"{name}.png", optimize=True)
    say(f"wrote {FOLDER / name}.png")


def row(page: Page, place: int) -> Locator:
    """One of the panel's entries."""
    return page.locator(".kontext-row").nth(place)


def press(page: Page, place: int, name: str) -> None:
    """One of the buttons of an entry."""
    row(page, place).get_by_role("button", name=name, exact=True).click(timeout=PATIENCE_MS)


def write(page: Page, words: str) -> None:
    """Type over the instruction that is being written."""
    page.locator(".kontext-edit").wait_for(timeout=PATIENCE_MS)
    page.keyboard.press("Control+a")
    page.keyboard.type(words)
    page.keyboard.press("Enter")


def wait(page: Page, *states: str) -> None:
    """Until the entries say so."""
    page.wait_for_function(_STATES, arg=list(states), timeout=PATIENCE_MS)


def loop(page: Page) -> None:
    """What an artist does with a chain, and what the panel shows meanwhile."""
    panel = page.locator(".kontext-panel")
    page.get_by_role("button", name="Turns of this graph").first.click(timeout=PATIENCE_MS)
    row(page, 2).wait_for(timeout=PATIENCE_MS)
    page.evaluate(_RUN)
    wait(page, FINISHED, FINISHED, FINISHED)
    press(page, 1, "Edit the instruction")
    write(page, "paint the blue circle white")
    wait(page, FINISHED, OLD, OLD)
    press(page, 1, "Run up to here")
    wait(page, FINISHED, FINISHED, OLD)
    press(page, 1, "4 more")
    page.wait_for_function(_LOADED, arg=[3, 9], timeout=PATIENCE_MS)
    choice = row(page, 1).locator(".kontext-choice").nth(2)
    choice.hover()
    choice.locator(".kontext-star").click()
    choice.locator("img").click()
    keep(panel, "chain_candidates")

    row(page, 2).locator(".kontext-name").click()
    page.keyboard.press("Enter")
    page.keyboard.press("Alt+d")
    dialog = page.locator("dialog.kontext-draw")
    dialog.wait_for(timeout=PATIENCE_MS)
    for key in ("m", "e", "Space"):
        page.keyboard.press(key)
    keep(dialog, "draw_area")
    page.keyboard.press("Enter")
    press(page, 1, "Branch here")
    write(page, "change the background to snow")
    page.evaluate(_RUN)
    wait(page, FINISHED, FINISHED, FINISHED, FINISHED)
    row(page, 2).locator(".kontext-name").click()
    row(page, 3).locator(".kontext-name").click(modifiers=["Control"])
    for _ in range(TO_THE_LEFT):
        page.get_by_role("slider").press("ArrowLeft")
    page.wait_for_function(_LOADED, arg=[4, 11], timeout=PATIENCE_MS)
    keep(panel, "chain_branches")


def layout(page: Page) -> None:
    """The layout picture in the last reference of two."""
    page.wait_for_function("() => document.querySelectorAll('.kontext-layout svg').length === 2")
    page.evaluate(_RUN)
    page.wait_for_function(
        "() => document.querySelectorAll('.kontext-layout image').length === 3", timeout=PATIENCE_MS
    )
    page.evaluate(_SHOW, "KontextReference")
    keep(page.locator(".kontext-layout").last, "layout")


def main() -> None:
    """The command line."""
    parts = {"loop": (TEMPLATE, loop), "layout": (REFERENCES, layout)}
    parser = argparse.ArgumentParser(prog="python -m tools.loop_pictures", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"only these: {', '.join(parts)}")
    chosen = parser.parse_args().parts or list(parts)
    with Server(front_end=frontend.get(frontend.NEWEST)) as server, open_browser() as browser:
        with Client(server.url) as client:
            client.settings({**NO_MINIMAP, **VUE_NODES})
        for template, take in (parts[name] for name in chosen):
            with open_page(browser, server.url, f"/?template={template}&source={PACK}") as page:
                page.set_viewport_size({"width": WIDTH_PX, "height": HEIGHT_PX})
                take(page)


if __name__ == "__main__":
    run(main, RemoteError)
