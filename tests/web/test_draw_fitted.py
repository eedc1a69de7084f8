"""Marks for a first turn whose picture is fitted: drawn on all of it, and seen in the same place."""

from __future__ import annotations

import pytest
import torch

from kontext_core.images.fitting import fit_image
from kontext_core.images.marks import draw_on_canvas
from kontext_core.images.picture_files import to_pil
from tools.server import Server

from .drawing import NEWEST_ALONE, build, button, closed, command, drag, marks, shown
from .editor import Editor
from .layout import pick

pytestmark = [pytest.mark.comfy, NEWEST_ALONE]
MIDDLE, HALF = (0.42, 0.42), 0.04  # of what is on the picture; a crop leaves 0.3 to 0.7


@pytest.mark.parametrize("shape", [(96, 240), (240, 96)], ids=["wide", "high"])
def test_what_is_drawn_around_a_thing_is_around_it_for_the_model(
    editor: Editor, server: Server, shape: tuple[int, int]
) -> None:
    height, width = shape
    (x, y), image = MIDDLE, torch.zeros(1, height, width, 3)
    sides = [
        slice(round((at - HALF) * side), round((at + HALF) * side)) for at, side in ((y, height), (x, width))
    ]
    image[:, sides[0], sides[1]] = torch.tensor([0.0, 1, 0])
    to_pil(image).save(server.base / "input" / f"thing-{width}.png")
    load, turn = build(editor, "LoadImage", "KontextTurn")
    pick(editor, load, image=f"thing-{width}.png")
    editor.page.wait_for_timeout(300)  # the page shows it
    command(editor, turn)
    seen = shown(editor)
    assert tuple(seen.shape[1:3]) == shape, "all of the picture is drawn upon"
    drag(editor, (x - 2 * HALF, y - 2 * HALF), (x + 2 * HALF, y + 2 * HALF))
    button(editor, "Done").click()
    closed(editor)
    (mark,) = drawn = marks(editor, turn)
    assert mark.kind == "ellipse"
    for fit in ("crop", "pad", "stretch"):
        canvas, place = fit_image(image, (128, 128), fit)
        marked = draw_on_canvas(canvas, drawn, place)
        around, thing = (marked != canvas).any(-1)[0], canvas[0, ..., 1] > 0.5
        for axis in (0, 1):
            lines = [where.any(axis).nonzero()[:, 0].float() for where in (around, thing)]
            centres = [(line.min() + line.max()) / 2 for line in lines]
            assert abs(centres[0] - centres[1]) <= 1.28, f"{fit}: within 1 % of the canvas"
