"""No node of a template covers another, once it has run and shows pictures and texts, drawn either way."""

from collections.abc import Iterator
from itertools import combinations

import pytest

from kontext_core.remote.client import Client
from tools import frontend
from tools.page import open_browser, open_page
from tools.panel_picture import VUE_NODES
from tools.server import Server
from tools.workflow_graphs import GRAPHS

from ..web.editor import Editor

# As the page draws them now: the newest front end. Every template once is a minute or two each way.
pytestmark = [pytest.mark.comfy, pytest.mark.matrix]
OVERLAP_PX = 2  # of the graph, where edges touch

# Left, top, right and bottom of each node, in the graph's own pixels; Vue nodes can be
# larger than the graph knows.
_BOXES = """() => app.graph._nodes.map(node => {
  const drawn = document.querySelector(`[data-node-id="${node.id}"]`)
  if (drawn) {
    const box = drawn.getBoundingClientRect(), {scale} = app.canvas.ds
    return [node.title, box.left / scale, box.top / scale, box.right / scale, box.bottom / scale]
  }
  const [x, y, width, height] = node.boundingRect ?? node.getBounding()
  return [node.title, x, y, x + width, y + height]
})"""


@pytest.fixture(scope="module", params=[False, True], ids=["canvas", "vue"])
def editor(request: pytest.FixtureRequest) -> Iterator[Editor]:
    with Server(front_end=frontend.get(frontend.NEWEST)) as server, open_browser() as browser:
        with Client(server.url) as client:
            client.settings(dict.fromkeys(VUE_NODES, request.param))
        with open_page(browser, server.url) as page:
            yield Editor(page, server.url)


@pytest.mark.parametrize("name", list(GRAPHS))
def test_nodes_keep_clear_of_each_other(editor: Editor, name: str) -> None:
    editor.open(name)
    editor.queue()
    editor.wait_for("execution_success")
    editor.page.wait_for_timeout(1_500)  # pictures are there, and nodes have grown
    for (one, *a), (other, *b) in combinations(editor.page.evaluate(_BOXES), 2):
        shared = [min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1)]
        assert min(shared) <= OVERLAP_PX, f"{one} and {other} share {shared} px"
