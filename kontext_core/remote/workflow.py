"""Workflows as the page saves them, turned into the form that ComfyUI's /prompt takes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Json = dict[str, Any]

_WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
_SILENT = {2, 4}  # LiteGraph's modes: muted, bypassed
_BYPASSED = 4
_NOTES = ("Note", "MarkdownNote")


def read_workflow(path: Path) -> Json:
    """A workflow file, in either form.

    Raises: ValueError if the file is not a workflow.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not a workflow: it is not JSON ({error})") from error
    if not isinstance(data, dict) or not (is_api_form(data) or isinstance(data.get("nodes"), list)):
        raise ValueError(f"{path} is not a workflow of ComfyUI; save one from the page with Workflow > Save")
    return data


def is_api_form(data: Mapping[str, Any]) -> bool:
    """Whether this is what /prompt takes: nodes by id, each with a class_type."""
    return bool(data) and all(isinstance(node, dict) and "class_type" in node for node in data.values())


def to_api_form(workflow: Json, object_info: Json) -> Json:
    """What the page would queue for this workflow.

    Args: object_info: what the server says of its nodes (/object_info).
    Returns: {node id: {"class_type", "inputs", "_meta"}}.
    Raises: ValueError that names a node type that the server does not have.
    """
    nodes = {node["id"]: node for node in workflow["nodes"]}
    links = {link[0]: (link[1], link[2]) for link in workflow.get("links", [])}
    prompt: Json = {}
    for node in nodes.values():
        kind = node["type"]
        if node.get("mode", 0) in _SILENT or kind in (*_NOTES, "Reroute", "PrimitiveNode"):
            continue
        if kind not in object_info:
            raise ValueError(
                f"this ComfyUI has no node {kind} (node {node['id']}); install the pack that brings it"
            )
        inputs = widget_values(node, object_info[kind])
        for slot in node.get("inputs", []):
            source = _source(slot.get("link"), links, nodes)
            if source is not None:
                inputs[slot["name"]] = source
        prompt[str(node["id"])] = {
            "inputs": inputs,
            "class_type": kind,
            "_meta": {"title": node.get("title") or object_info[kind].get("display_name") or kind},
        }
    return prompt


def widget_values(node: Json, info: Json) -> Json:
    """A node's widget values by name. The page saves them as a list, with what it added itself in between."""
    saved = node.get("widgets_values") or []
    if isinstance(saved, dict):
        return {name: value for name, value in saved.items() if name in _specs(info)}
    values = iter(saved)
    found: Json = {}
    for name, (kind, options) in _specs(info).items():
        if not (isinstance(kind, list) or kind in _WIDGETS) or options.get("forceInput"):
            continue
        try:
            found[name] = next(values)
        except StopIteration:
            break
        if options.get("control_after_generate") or (kind == "INT" and name in ("seed", "noise_seed")):
            next(values, None)  # the page's own "fixed / randomize" widget
    return found


def _specs(info: Json) -> dict[str, tuple[Any, Json]]:
    """Inputs in the page's order: (kind, options) by name."""
    given: Json = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
    order: Json = info.get("input_order") or {}
    names = [*order.get("required", []), *order.get("optional", [])] or list(given)
    return {name: (spec[0], spec[1] if len(spec) > 1 else {}) for name in names if (spec := given.get(name))}


def _source(
    link: int | None, links: Mapping[int, tuple[Any, int]], nodes: Mapping[Any, Json]
) -> list[Any] | None:
    """[node id, output] at the other end of a link, past reroutes and bypassed nodes; None where nothing is."""
    while link is not None and link in links:
        origin, slot = links[link]
        node = nodes[origin]
        if node["type"] == "Reroute":
            link = node["inputs"][0].get("link")
        elif node.get("mode", 0) == _BYPASSED:
            kind = node["outputs"][slot]["type"]
            link = next((one.get("link") for one in node.get("inputs", []) if one["type"] == kind), None)
        elif node.get("mode", 0) in _SILENT:
            return None
        else:
            return [str(origin), slot]
    return None
