"""What lies over a turn's thumbnail: the outline of its area, and a veil over what it left as it was."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from playwright.sync_api import expect

from kontext_core.images.fitting import fit_image
from kontext_core.images.marks import Mark, marks_to, mask_on_canvas
from kontext_core.images.picture_files import to_pil
from tools.server import Server

from .drawing import picture_of
from .editor import PATIENCE_MS
from .panel import ON_CANVAS_AND_VUE, REMOVE, SEEDS, Panel

pytestmark = pytest.mark.comfy
VISIBLE = 0.5  # of the outline's colour in a pixel of the screen
AREA = (Mark(kind="brush", points=((0.46, 0.42), (0.54, 0.58)), width=0.25, mask=True),)
# A picture from a file in place of the one that a chain starts with.
_LOAD = """([id, name]) => {
  const load = LiteGraph.createNode('LoadImage'), turn = app.graph.getNodeById(id)
  app.graph.add(load)
  load.widgets.find(one => one.name === 'image').value = name
  load.connect(0, turn, turn.inputs.findIndex(one => one.name === 'image'))
}"""
_OPACITY = "element => Number(getComputedStyle(element).opacity)"


def first_turn(panel: Panel) -> str:
    """The first turn of a chain, alone."""
    panel.editor.open("five_turn_chain")
    first, *others = panel.editor.ids("KontextTurn")
    panel.page.evaluate(REMOVE, others)
    panel.wait_for(first)
    panel.editor.set(first, {"seed": next(SEEDS), "feather": 0})
    return first


def ends(where: torch.Tensor) -> list[float]:
    """First column, last, first row, last of what is marked, (H, W), as fractions of its sides."""
    height, width = where.shape
    rows, columns = where.any(1).nonzero(), where.any(0).nonzero()
    return [
        float(columns[0] / width),
        float((columns[-1] + 1) / width),
        float(rows[0] / height),
        float((rows[-1] + 1) / height),
    ]


@pytest.mark.parametrize("fit", ["crop", "stretch", "pad"])
def test_the_outline_of_an_area_lies_where_the_result_has_it(panel: Panel, server: Server, fit: str) -> None:
    editor, page = panel.editor, panel.page
    turn = first_turn(panel)
    image = torch.full((1, 96, 240, 3), 0.9)
    to_pil(image).save(server.base / "input" / "outlined.png")
    page.evaluate(_LOAD, [turn, "outlined.png"])
    text = json.dumps({"version": 2, "marks": marks_to(AREA)})
    editor.set(turn, {"fit": fit, "marks": text, "instruction": "make the background yellow"})
    editor.run()
    panel.wait_for_states({turn: "finished"})
    thumbnail = panel.row(turn).locator(".kontext-thumbnail")
    expect(thumbnail.locator("svg.kontext-area mask path")).to_have_count(1)
    page.wait_for_function(
        "id => document.querySelector(`.kontext-row[data-id='${id}'] .kontext-thumbnail img`).naturalWidth",
        arg=turn,
    )
    page.add_style_tag(
        content=".kontext-thumbnail img { visibility: hidden } .kontext-thumbnail { background: #fff }"
    )
    page.mouse.move(0, 0)
    page.wait_for_timeout(200)
    seen = picture_of(thumbnail.screenshot())[0]
    blue = seen[..., 2] - seen[..., 0] > VISIBLE
    canvas, place = fit_image(image, (128, 128), fit)
    mask = mask_on_canvas(AREA, canvas.shape[1:3], place)
    if fit == "pad":  # the result is cut out of its canvas, and the thumbnail shows the middle of that
        mask = mask[place.top : place.top + place.height]
    height, width = mask.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    middle = mask[top : top + side, left : left + side] > 0.5
    assert ends(blue) == pytest.approx(ends(middle), abs=1.5 / 52)


# A picture of a row's thumbnail has come, and is decoded.
_LOADED = """([id, kind]) => {
  const image = document.querySelector(`.kontext-row[data-id='${id}'] .kontext-thumbnail img${kind}`)
  return Boolean(image) && image.complete && image.naturalWidth > 0 && image.decode().then(() => true)
}"""


def veiled(panel: Panel, id: str) -> float:
    return panel.row(id).locator(".kontext-veil").evaluate(_OPACITY)


@ON_CANVAS_AND_VUE
def test_what_a_turn_left_as_it_was_is_seen_while_its_thumbnail_is_pointed_at(panel: Panel) -> None:
    editor, page = panel.editor, panel.page
    turn = first_turn(panel)
    box = (Mark(kind="box", points=((0, 0), (0.5, 1)), mask=True),)
    editor.set(turn, {"marks": json.dumps({"version": 2, "marks": marks_to(box)})})
    editor.run()
    panel.wait_for_states({turn: "finished"})
    thumbnail, veil = (panel.row(turn).locator(one) for one in (".kontext-thumbnail", ".kontext-veil"))
    expect(veil).to_have_count(1)
    assert veiled(panel, turn) == 0
    assert thumbnail.get_attribute("title") == "Grey: what this turn left as it was"
    page.wait_for_function(_LOADED, arg=[turn, ":not(.kontext-veil)"], timeout=PATIENCE_MS)
    before = picture_of(thumbnail.screenshot())[0]
    thumbnail.hover()
    page.wait_for_function(_LOADED, arg=[turn, ".kontext-veil"], timeout=PATIENCE_MS)
    page.wait_for_timeout(200)
    after = picture_of(thumbnail.screenshot())[0]
    assert veiled(panel, turn) > 0.5
    changed = (before - after).abs().amax(-1).mean(0)
    assert changed[:20].max() < 0.02 < changed[32:].min(), "its left half is as it was before"
    page.mouse.move(0, 0)
    panel.row(turn).focus()
    page.keyboard.press("Home")
    assert veiled(panel, turn) > 0.5, "also for the keyboard"

    saved = page.evaluate("() => JSON.stringify(app.graph.serialize())")
    assert "data:image" not in saved
    assert "kontext_" not in json.dumps(made_nodes(saved)["KontextTurn"])

    editor.set(turn, {"marks": "", "keep_outside": "off"})
    editor.run()
    panel.wait_for_states({turn: "finished"})
    expect(veil).to_have_count(0)
    assert thumbnail.get_attribute("title") == ""


def made_nodes(saved: str) -> dict[str, Any]:
    """Nodes of a workflow by their types."""
    return {node["type"]: node for node in json.loads(saved)["nodes"]}


def test_each_candidate_has_a_veil_of_its_own(panel: Panel) -> None:
    editor, page = panel.editor, panel.page
    turn = first_turn(panel)
    editor.run()
    panel.wait_for_states({turn: "finished"})
    veil = panel.row(turn).locator(".kontext-veil")
    first = veil.get_attribute("src")
    editor.change(turn, {"instruction": "make the background yellow"})
    editor.run()
    panel.wait_for_states({turn: "finished"})
    expect(panel.row(turn).locator(".kontext-choice")).to_have_count(2)
    assert veil.count() == 0 or veil.get_attribute("src") != first
    panel.row(turn).locator(".kontext-choice").nth(1).click()
    panel.wait_for_states({turn: "finished"})
    page.wait_for_timeout(200)
    assert veil.get_attribute("src") == first
