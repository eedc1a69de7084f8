"""Stands in for torchvision where there is no build of it: enough for ComfyUI to start (see boot/sitecustomize.py)."""

from . import transforms

__all__ = ["transforms"]
