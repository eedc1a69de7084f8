"""Stand-ins for torchvision and torchaudio, of which some CPU builds of torch have none that fit.

ComfyUI imports them at its start, each version other names of them. So a stand-in has every name, and raises
when one of them is called.
"""

import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

PACKAGES = ("torchvision", "torchaudio")
_QUESTIONS = ("is_torchvision_available", "is_torchvision_v2_available", "is_torchaudio_available")


class _Name(type):
    """A class, so that it may be a base, stand in a signature or be asked for further names; never called."""

    def __getattr__(cls, name: str) -> Any:
        return _lookup(cls.__name__, name)

    def __call__(cls, *_args: object, **_options: object) -> Any:
        package = cls.__name__.partition(".")[0]
        raise RuntimeError(f"{package} is not installed: {cls.__name__} is a stand-in")


class _Module(ModuleType):
    def __getattr__(self, name: str) -> Any:
        return _lookup(self.__name__, name)


def _lookup(owner: str, name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return _Name(f"{owner}.{name}", (), {})


class _StandIns(MetaPathFinder, Loader):
    """Asked last, for what nobody else has."""

    def __init__(self, packages: Sequence[str]) -> None:
        self.packages = tuple(packages)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        known = fullname.partition(".")[0] in self.packages
        return ModuleSpec(fullname, self, is_package=True) if known else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: names appear when they are asked for."""


def install() -> MetaPathFinder:
    """Stand in for those of `PACKAGES` that are missing.

    transformers takes note before that they are: it would import more of them than there is.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        from transformers.utils import import_utils

        for question in _QUESTIONS:
            getattr(import_utils, question, bool)()
    finder = _StandIns(missing)
    sys.meta_path.append(finder)
    return finder


@contextmanager
def installed() -> Generator[None]:
    """Stand in for the time of some imports; other code of this process finds none afterwards."""
    finder = install()
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name, module in list(sys.modules.items()):
            if isinstance(module, _Module):
                del sys.modules[name]
