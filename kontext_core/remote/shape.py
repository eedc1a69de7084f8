"""The shape of a workflow, whoever wrote it: looked at once, before anything trusts it."""

from collections.abc import Mapping
from typing import Any

from ..checks.shorten import plain

Json = dict[str, Any]


class WorkflowError(ValueError):
    """A damaged workflow. The message names the node."""


def check_page_form(workflow: Json) -> None:
    """Look over what the page saves. Raises: WorkflowError."""
    ids: set[str] = set()  # as the server will know them
    for node in workflow["nodes"]:
        _check_node(node)
        if str(node["id"]) in ids:
            raise WorkflowError(f"two nodes have the id {plain(node['id'])}")
        ids.add(str(node["id"]))
    for place, link in enumerate(_list(workflow, "links", "the workflow")):
        if link is not None:  # as LiteGraph leaves it, and passes over it
            _check_link(place, link)
    definitions = _object(workflow, "definitions", "the workflow")
    for subgraph in _list(definitions, "subgraphs", "the workflow"):
        if not isinstance(subgraph, dict) or not _is_id(subgraph.get("id")):
            raise WorkflowError("one of its subgraphs has no id")


def check_api_form(prompt: Mapping[str, Any]) -> None:
    """Look over what /prompt takes. Raises: WorkflowError."""
    for id, node in prompt.items():
        if not isinstance(node.get("class_type"), str):
            raise WorkflowError(
                f"node {plain(id)}: its class_type is {plain(node.get('class_type'))}, not text"
            )
        if not isinstance(node.get("inputs"), dict):
            raise WorkflowError(f"{called(id, node)}: its inputs are not an object of names and values")
        _object(node, "_meta", called(id, node))


def check_wires(prompt: Mapping[str, Any], object_info: Json) -> None:
    """Look whether the wires of a graph lead to its nodes.

    Args:
        prompt: in API form.
        object_info: knows which inputs there are.
    Raises: WorkflowError.
    """
    for id, node in prompt.items():
        inputs = object_info[node["class_type"]].get("input") or {}
        for name in {**(inputs.get("required") or {}), **(inputs.get("optional") or {})}:
            value = node["inputs"].get(name)
            if not isinstance(value, list):
                continue
            if len(value) != 2 or not isinstance(value[0], str) or not _is_slot(value[1]):
                raise WorkflowError(
                    f"{called(id, node)}: its input {name} is {plain(value)}, not a wire, which is a node's "
                    "id and the number of an output"
                )
            if value[0] not in prompt:
                raise WorkflowError(
                    f"{called(id, node)}: its input {name} comes from node {plain(value[0])}, which does not "
                    "exist"
                )


def called(id: Any, node: Mapping[str, Any]) -> str:
    """Call a node by id and type."""
    return f"node {plain(id)} ({plain(node.get('type', node.get('class_type')))})"


def _check_node(node: Any) -> None:
    if not isinstance(node, dict) or not _is_id(node.get("id")) or not isinstance(node.get("type"), str):
        raise WorkflowError(f"{plain(node)} is not a node, which has an id and a type")
    name = called(node["id"], node)
    if not isinstance(node.get("mode", 0), int):
        raise WorkflowError(f"{name}: its mode is {plain(node['mode'])}, not a number")
    if not isinstance(node.get("widgets_values"), list | dict | None):
        raise WorkflowError(f"{name}: its widgets_values are {plain(node['widgets_values'])}, not a list")
    for slot in _list(node, "inputs", name):
        if not isinstance(slot, dict) or not isinstance(slot.get("name"), str) or "type" not in slot:
            raise WorkflowError(f"{name}: {plain(slot)} is not an input, which has a name and a type")
        if slot.get("link") is not None and not _is_id(slot["link"]):
            raise WorkflowError(
                f"{name}: its input {plain(slot['name'])} has no link but {plain(slot['link'])}"
            )
        widget = _object(slot, "widget", f"{name}: its input {plain(slot['name'])}")
        if not isinstance(widget.get("name", ""), str):
            raise WorkflowError(f"{name}: the widget of its input {plain(slot['name'])} has no name")
    for slot in _list(node, "outputs", name):
        if not isinstance(slot, dict) or "type" not in slot:
            raise WorkflowError(f"{name}: {plain(slot)} is not an output, which has a type")


def _check_link(place: int, link: Any) -> None:
    if isinstance(link, dict):
        id, origin, slot = (link.get(key) for key in ("id", "origin_id", "origin_slot"))
    elif isinstance(link, list) and len(link) >= 5:
        id, origin, slot = link[:3]
    else:
        id = origin = slot = None
    if not _is_id(id) or not _is_id(origin) or not _is_slot(slot):
        raise WorkflowError(
            f"{plain(link)}, number {place + 1} of its links, is none, which has an id, and the node and "
            "output that it comes from"
        )


def _list(holder: Json, key: str, name: str) -> list[Any]:
    """Get a list. Raises: WorkflowError unless it is one, or not there."""
    value = holder.get(key)
    if not isinstance(value, list | None):
        raise WorkflowError(f"{name}: its {key} are {plain(value)}, not a list")
    return value or []


def _object(holder: Json, key: str, name: str) -> Json:
    """Get an object. Raises: WorkflowError unless it is one, or not there."""
    value = holder.get(key)
    if not isinstance(value, dict | None):
        raise WorkflowError(f"{name}: its {key} is {plain(value)}, not an object")
    return value or {}


def _is_id(value: Any) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _is_slot(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
