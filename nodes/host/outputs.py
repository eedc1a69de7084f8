"""What a node shows: pictures, text, and what the core warns of."""

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
    """Collects what the core warns of meanwhile, so that the node can say it too."""
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
    """Text and what else the page's scripts want to know."""

    value: str
    more: dict[str, Sequence[Any]]

    def as_dict(self) -> dict[str, Any]:
        return {**super().as_dict(), **self.more}


def text_output(*lines: str, **more: Sequence[Any]) -> Any:
    """Text of a node's output, which web/js/nodes/node_text.js shows in the node.

    Nothing to say empties it again.

    Args:
        more: lists for other scripts of the page.
    """
    return _Told("\n".join(lines), more)


def image_output(image: Tensor, *lines: str, cls: Any) -> dict[str, Any]:
    """A picture (B, H, W, 3) and text of a node's output, both to be seen in the node.

    Args:
        cls: the node.
    """
    return {**ui.PreviewImage(image, cls=cls).as_dict(), "text": ("\n".join(lines),)}
