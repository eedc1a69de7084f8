"""The graph of a run: what a node expands to, and what a PNG records of it."""

from __future__ import annotations

import json
from typing import Any


def graph_texts(hidden: Any) -> dict[str, str]:
    """Return what a PNG records of the graph, which restores it on the page; see `io.Hidden`."""
    from comfy.cli_args import args  # pyright: ignore[reportMissingImports]

    if args.disable_metadata or not hidden:
        return {}
    texts = {"prompt": hidden.prompt} if hidden.prompt else {}
    return {name: json.dumps(value) for name, value in (texts | (hidden.extra_pnginfo or {})).items()}


def new_graph() -> Any:
    """Make an empty graph for a node that expands to others."""
    from comfy_execution.graph_utils import GraphBuilder  # pyright: ignore[reportMissingImports]

    return GraphBuilder()
