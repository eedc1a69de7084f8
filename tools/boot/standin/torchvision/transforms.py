"""The names that ComfyUI imports; nothing of the pack calls them."""

from enum import Enum


class InterpolationMode(Enum):
    """Named in signatures."""

    NEAREST = "nearest"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"


class _Absent:
    def __init__(self, *_args: object, **_options: object) -> None:
        raise RuntimeError(f"torchvision is not installed: {type(self).__name__} is a stand-in")


class Compose(_Absent):
    """Absent."""


class Normalize(_Absent):
    """Absent."""


class Resize(_Absent):
    """Absent."""


class ToTensor(_Absent):
    """Absent."""
