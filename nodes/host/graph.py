"""The graph of a run: what a node expands to, and what a PNG says of it."""

from __future__ import annotations

import json
from typing import Any


def graph_texts(hidden: Any) -> dict[str, str]:
    """What a PNG says of the graph that made it, so that dropping it on the page
    restores that; see `io.Hidden`.
    """
    from comfy.cli_args import args  # pyright: ignore[reportMissingImports]

    if args.disable_metadata or not hidden:
        return {}
    texts = {"prompt": hidden.prompt} if hidden.prompt else {}
    return {name: json.dumps(value) for name, value in (texts | (hidden.extra_pnginfo or {})).items()}


def new_graph() -> Any:
    """An empty graph for a node that expands to others."""
    from comfy_execution.graph_utils import GraphBuilder  # pyright: ignore[reportMissingImports]

    return GraphBuilder()
