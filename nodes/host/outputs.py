"""What a node shows: pictures, text, and warnings of the core."""

from __future__ import annotations

import base64
import logging
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from PIL import Image
from torch import Tensor

from ...kontext_core.images.fitting import scale_mask
from ...kontext_core.images.picture_files import write_png
from .._api import ui

VEIL_PX = 96  # the longer side of what lies over a thumbnail
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


def changes_output(masks: Tensor) -> dict[str, Any]:
    """Make the part of a node's output that says where its pictures changed.

    Args:
        masks: (B, H, W) in [0, 1], white where a picture changed.
    Returns: for each picture a small PNG as a data address, which veils what did not change; "" where all
        did, or nobody knows.
    """
    return {"kontext_changed": [_veil(mask) for mask in masks]}


def _veil(mask: Tensor) -> str:
    if bool((mask == 1).all()):
        return ""
    height, width = mask.shape
    scale = min(VEIL_PX / max(height, width), 1)
    size = max(round(height * scale), 1), max(round(width * scale), 1)
    alpha = (255 * (1 - scale_mask(mask[None, None].float().cpu(), size)[0, 0])).round().byte().numpy()
    shade = Image.fromarray(alpha)
    file = BytesIO()
    write_png(Image.merge("LA", (Image.new("L", shade.size, 128), shade)).convert("RGBA"), file)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def preview_file(image: Tensor, *, cls: Any) -> dict[str, Any]:
    """Keep a single picture (1, H, W, 3) for the page, as ComfyUI keeps what its nodes show.

    Args:
        cls: the node.
    Returns: where the page finds it.
    """
    return ui.PreviewImage(image, cls=cls).as_dict()["images"][0]
