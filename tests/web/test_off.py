"""A turn that is muted or bypassed is skipped: what follows continues with what came before it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from kontext_core.remote.client import Client
from kontext_core.world import examples

from .editor import PATIENCE_MS, Editor
from .panel import SEEDS, Panel

pytestmark = pytest.mark.comfy
_MODE = "([id, mode]) => app.graph.getNodeById(id).mode === mode"
_MUTED, _BYPASSED = 2, 4


def pictures(editor: Editor, kind: str) -> dict[str, np.ndarray]:
    """Run; the last picture of each node of one type."""
    editor.run()
    with Client(editor.url) as client:
        shown = {
            id: editor.page.evaluate("id => app.nodeOutputs[id].images[0]", id) for id in editor.ids(kind)
        }
        return {
            id: np.asarray(Image.open(io.BytesIO(client.view(one))).convert("RGB"))
            for id, one in shown.items()
        }


def switch(editor: Editor, keys: str, id: str, mode: int) -> None:
    """Mute or bypass a node by its key, or take it back."""
    editor.select(id)
    editor.page.keyboard.press(keys)
    editor.page.wait_for_function(_MODE, arg=[id, mode], timeout=PATIENCE_MS)


@pytest.mark.parametrize(("keys", "mode"), [("Control+b", _BYPASSED), ("Control+m", _MUTED)])
def test_an_edit_that_is_off_shows_what_came_before_it(panel: Panel, keys: str, mode: int) -> None:
    """Its Save Image saves the picture before it, and the next edit goes on from that."""
    editor = panel.editor
    editor.open("three_turn_edit")
    edits, saves = editor.ids("KontextEdit"), editor.ids("SaveImage")
    panel.wait_for(*edits)
    (example,) = editor.ids("KontextExample")
    editor.set(edits[0], {"seed": next(SEEDS)})
    whole = pictures(editor, "SaveImage")
    start = (255 * examples.picture(editor.value(example, "picture"))[0].numpy()).astype(np.uint8)
    for number, id in enumerate(edits):
        switch(editor, keys, id, mode)
        panel.wait_for_states({id: "off"})
        shown = pictures(editor, "SaveImage")
        before = start if number == 0 else whole[saves[number - 1]]
        assert np.array_equal(shown[saves[number]], before)
        assert all(np.array_equal(shown[one], whole[one]) for one in saves[:number])
        assert not any(np.array_equal(shown[one], whole[one]) for one in saves[number:])
        switch(editor, keys, id, 0)
    assert all(np.array_equal(one, whole[id]) for id, one in pictures(editor, "SaveImage").items())


def test_a_chain_counts_the_turns_that_are_not_off(panel: Panel) -> None:
    editor = panel.editor
    editor.open("five_turn_chain")
    turns = editor.ids("KontextTurn")
    (save,) = editor.ids("KontextSaveChain")
    panel.wait_for(*turns)
    editor.run()
    panel.wait_for_states(dict.fromkeys(turns, "finished"))
    names = ["Turn 1", "Turn 2", "Turn 3", "Turn 4", "Turn 5"]
    assert [row["name"] for row in panel.rows()] == names
    for number, id in enumerate((turns[0], turns[2], turns[4])):
        switch(editor, "Control+b", id, _BYPASSED)
        panel.wait_for_states({id: "off"})
        behind = [one for one in turns[2 * number + 1 :] if one != id]
        panel.wait_for_states(dict.fromkeys(behind, "out of date"))
        editor.run()
        editor.wait_for_info(save, "4 turns")
        panel.wait_for_states(dict.fromkeys(behind, "finished"))
        on = [one for one in turns if one != id]
        for place, one in enumerate(on, 1):
            expect(panel.row(one).locator(".kontext-name")).to_have_text(f"Turn {place}")
            editor.wait_for_info(one, f"turn {place}")
        switch(editor, "Control+b", id, 0)
    for id in turns:
        switch(editor, "Control+m", id, _MUTED)
    editor.run()
    editor.wait_for_info(save, "0 turns")


def test_where_a_picture_is_not_enough_the_node_says_so(editor: Editor) -> None:
    page = editor.page
    editor.open("single_edit")
    (edit,) = editor.ids("KontextEdit")
    page.evaluate(
        """id => {
          const edit = app.graph.getNodeById(id), decode = LiteGraph.createNode('KontextDecode')
          app.graph.add(decode)
          edit.connect(1, decode, decode.inputs.findIndex(one => one.name === 'latent'))
        }""",
        edit,
    )
    switch(editor, "Control+b", edit, _BYPASSED)
    editor.queue()
    editor.wait_for_info(edit, "This turn is off, and not every node after it")
    page.evaluate("id => { app.graph.getNodeById(id).mode = 0 }", edit)
    page.evaluate("() => app.graphToPrompt().then(() => app.api.dispatchCustomEvent('graphCleared', {}))")
    page.wait_for_function(
        "id => !app.graph.getNodeById(id).widgets.some(one => String(one.value).includes('is off'))", arg=edit
    )
