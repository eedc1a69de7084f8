"""What ComfyUI says: events over its websocket, records of its history, reasons for refusing a graph."""

import json
import struct
from typing import Any, NamedTuple

Json = dict[str, Any]

_PREVIEW_WITH_METADATA = 4


class Event(NamedTuple):
    """One message of the server: `kind` as ComfyUI names it, or "preview", which has an image.

    The image is the bytes of a JPEG or PNG.
    """

    kind: str
    data: Json
    image: bytes | None = None


def read_event(message: str | bytes) -> Event | None:
    """Read a websocket message; None for what the client does not use, or nobody could."""
    try:
        if isinstance(message, str):
            parsed = json.loads(message)
            kind, data, image = parsed["type"], parsed.get("data") or {}, None
        else:
            code, length = struct.unpack_from(">II", message)
            if code != _PREVIEW_WITH_METADATA:
                return None
            kind, data, image = "preview", json.loads(message[8 : 8 + length]), message[8 + length :]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, struct.error):
        return None
    return Event(kind, data, image) if isinstance(kind, str) and isinstance(data, dict) else None


def missed_events(prompt_id: str, record: Json) -> list[Event]:
    """List what would have been heard of a graph that ended, from its record in the history."""
    status = record.get("status")
    messages = status.get("messages") if isinstance(status, dict) else None
    events = [
        Event(message[0], message[1])
        for message in (messages if isinstance(messages, list) else [])
        if isinstance(message, list) and len(message) == 2 and isinstance(message[1], dict)
    ]
    return [*events, Event("executing", {"node": None, "prompt_id": prompt_id})]


def refusal(answer: Json) -> str:
    """Put ComfyUI's answer to a graph that it will not run as text: one line for each fault."""
    lines: list[str] = []
    faults = answer.get("node_errors")
    for node, fault in faults.items() if isinstance(faults, dict) else ():
        if isinstance(fault, dict):
            errors = fault.get("errors") or []
            lines += [f"node {node} ({fault.get('class_type')}): {_fault(error)}" for error in errors]
    error = answer.get("error")
    head = (
        f"ComfyUI refused the graph: {_fault(error)}"
        if isinstance(error, dict)
        else "ComfyUI refused a part of it"
    )
    return "\n".join([head, *lines])


def _fault(error: Any) -> str:
    if not isinstance(error, dict):
        return str(error)
    return ": ".join(str(error[key]).strip() for key in ("message", "details") if error.get(key))
