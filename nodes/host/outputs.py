"""What a node shows: pictures, text, and warnings of the core."""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .._api import ui

_CORE_LOG = logging.getLogger(__name__.rpartition(".nodes.")[0] + ".kontext_core")


@contextmanager
def collect_warnings() -> Generator[list[str]]:
    """Collect warnings of the core, so that the node can show them too."""
    messages: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    listener = Listener(logging.WARNING)
    _CORE_LOG.addHandler(listener)
    try:
        yield messages
    finally:
        _CORE_LOG.removeHandler(listener)


@dataclass(frozen=True)
class _Told(ui.PreviewText):
    """Text and other data for the page's scripts."""

    value: str
    more: dict[str, Sequence[Any]]

    def as_dict(self) -> dict[str, Any]:
        return {**super().as_dict(), **self.more}


def text_output(*lines: str, **more: Sequence[Any]) -> Any:
    """Make the text of a node's output, which web/js/nodes/node_text.js shows in the node.

    No text clears it again.

    Args:
        more: lists for other scripts of the page.
    """
    return _Told("\n".join(lines), more)


def image_output(image: Tensor, *lines: str, cls: Any) -> dict[str, Any]:
    """Make a node's output from a picture (B, H, W, 3) and text, both shown in the node.

    Args:
        cls: the node.
    """
    return {**ui.PreviewImage(image, cls=cls).as_dict(), "text": ("\n".join(lines),)}


def preview_file(image: Tensor, *, cls: Any) -> dict[str, Any]:
    """Keep a single picture (1, H, W, 3) for the page, as ComfyUI keeps what its nodes show.

    Args:
        cls: the node.
    Returns: where the page finds it.
    """
    return ui.PreviewImage(image, cls=cls).as_dict()["images"][0]
