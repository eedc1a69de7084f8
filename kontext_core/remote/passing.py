"""What comes behind a turn that is muted or bypassed goes on with what came before it.

It is wired as web/js/lib/passing.js wires it. ComfyUI's page passes on what has the same type alone, and
behind a muted node nothing.
"""

from collections.abc import Callable, Mapping
from typing import Any

Json = dict[str, Any]
Origin = tuple[Json, int]  # a node as the page saves it, and which of its outputs
Bypass = Callable[[Json, int, str], int | None]  # the input that ComfyUI wires through to an output

_MUTED, _BYPASSED = 2, 4
_CHAIN, _IMAGE = "KONTEXT_CHAIN", "IMAGE"
# Nodes that hand on a picture changed, in the order of the inputs that have it.
_PASSED = ("KontextTurn", "KontextScript", "KontextEdit", "KontextPickTurn", "KontextVisualCue")
_BEFORE = ("chain", "latent", "image")
_ONE_PICTURE = (*_PASSED, "KontextLoadChain")  # whose outputs are one and the same picture
# What only changes the kind, and where it comes in.
_SAME_PICTURE = {"KontextEncode": "image", "KontextDecode": "latent"}
# Nodes that take a picture in place of a chain, which is then one without turns.
_TAKE_PICTURE = ("KontextPickTurn", "KontextCompare", "KontextChainSheet", "KontextSaveChain")


def pass_over(
    prompt: Json, nodes: Mapping[Any, Json], origins: Mapping[Any, tuple[Any, int]], bypass: Bypass
) -> None:
    """Wire a graph past the turns that are off.

    Args:
        prompt: in API form, as ComfyUI's page would have it; is changed.
        nodes: of the workflow, by their ids.
        origins: of its links, (node, output) by the link's id.
        bypass: ComfyUI's own rule for nodes of other packs.
    """
    graph = _Graph(nodes, origins, bypass)
    for id, node in nodes.items():
        if str(id) not in prompt:
            continue
        for index, slot in enumerate(node.get("inputs") or []):
            origin, passed = graph.feed(node, index, set())
            if passed:
                _rewire(prompt[str(id)]["inputs"], slot, node, origin)


class _Graph:
    """The wires of a workflow, followed back as a run has them."""

    def __init__(
        self, nodes: Mapping[Any, Json], origins: Mapping[Any, tuple[Any, int]], bypass: Bypass
    ) -> None:
        self.nodes = nodes
        self.origins = origins
        self.bypass = bypass

    def feed(self, node: Json, index: int, seen: set[Any]) -> tuple[Origin | None, bool]:
        """What feeds an input, and whether a turn was passed over on the way."""
        origin = self._begin(node, index)
        if origin is None or (node["id"], index) in seen:
            return None, False
        source, slot = origin
        if source.get("mode", 0) not in (_MUTED, _BYPASSED):
            return origin, False
        seen.add((node["id"], index))
        if source["type"] in _PASSED:
            return self._before(origin, seen), True
        if source.get("mode") == _MUTED:
            return None, False
        through = self.bypass(source, slot, node["inputs"][index]["type"])
        return (None, False) if through is None else self.feed(source, through, seen)

    def _before(self, turn: Origin, seen: set[Any]) -> Origin | None:
        """What came into a turn that is passed over, as the kind that was asked of it."""
        node, _ = turn
        for name in _BEFORE:
            index = _input(node, name)
            if index is not None and self._begin(node, index) is not None:
                origin, _ = self.feed(node, index, seen)
                return None if origin is None else self._as_kind(origin, _kind(turn), seen)
        return None

    def _as_kind(self, origin: Origin, kind: str, seen: set[Any]) -> Origin:
        """The same picture as another kind of output, where there is one."""
        node, _ = origin
        if _kind(origin) == kind:
            return origin
        slots = [slot for slot, output in enumerate(node.get("outputs") or []) if output.get("type") == kind]
        if node["type"] in _ONE_PICTURE and slots:
            return node, slots[0]
        index = _input(node, _SAME_PICTURE.get(node["type"], ""))
        before = None if index is None else self.feed(node, index, seen)[0]
        return origin if before is None else self._as_kind(before, kind, seen)

    def _begin(self, node: Json, index: int) -> Origin | None:
        """Where the wire into an input begins, past nodes that only lead it round."""
        seen: set[Any] = set()
        link = node["inputs"][index].get("link")
        while link in self.origins and link not in seen:
            seen.add(link)
            id, slot = self.origins[link]
            source = self.nodes.get(id)
            if source is None or source["type"] != "Reroute":
                return None if source is None else (source, slot)
            inputs = source.get("inputs") or [{}]
            link = inputs[0].get("link")
        return None


def _rewire(inputs: Json, slot: Json, node: Json, origin: Origin | None) -> None:
    """Give an input of a node what feeds it now, or another input that takes it, or nothing."""
    inputs.pop(slot["name"], None)
    if origin is None:
        return
    link = [str(origin[0]["id"]), origin[1]]
    kinds = {part.strip() for part in str(slot["type"]).split(",")}
    if kinds & {"*", _kind(origin)}:
        inputs[slot["name"]] = link
    elif _kind(origin) == _IMAGE and slot["name"] in _BEFORE and _input(node, "image") is not None:
        inputs.setdefault("image", link)
    elif _kind(origin) == _IMAGE and slot["type"] == _CHAIN and node["type"] in _TAKE_PICTURE:
        inputs[slot["name"]] = link


def _kind(origin: Origin) -> str:
    node, slot = origin
    outputs = node.get("outputs") or []
    return str(outputs[slot].get("type")) if slot < len(outputs) else ""


def _input(node: Json, name: str) -> int | None:
    names = [slot.get("name") for slot in node.get("inputs") or []]
    return names.index(name) if name in names else None
