"""Runs before anything else in the ComfyUI process that `tools.server` starts: this folder is on its PYTHONPATH.

1. ComfyUI ends with the process that started it, however that one ended: their pipe breaks.
2. ComfyUI cannot start without torchvision, which has no build beside some CPU builds of torch. Then a stand-in is
   put on the path, after transformers has taken note that there is none (it would import more of it than there is).
"""

import os
import sys
import threading
from importlib.util import find_spec
from pathlib import Path


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


def _stand_in_for_torchvision() -> None:
    from transformers.utils import import_utils

    import_utils.is_torchvision_available()
    import_utils.is_torchvision_v2_available()
    sys.path.append(str(Path(__file__).parent / "standin"))


if os.environ.pop("KONTEXT_END_WITH_STDIN", None):
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if find_spec("torchvision") is None:
        _stand_in_for_torchvision()
