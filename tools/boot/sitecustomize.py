"""Runs before all else in the ComfyUI that `tools.server` starts, by way of its PYTHONPATH.

1. ComfyUI ends with the process that started it, however that one ended: their pipe breaks.
2. ComfyUI cannot start without torchvision, and newer ones not without torchaudio; stand-ins take their
places.
"""

import os
import threading


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


if os.environ.pop("KONTEXT_END_WITH_STDIN", None):
    import standins

    threading.Thread(target=_end_with_parent, daemon=True).start()
    standins.install()
