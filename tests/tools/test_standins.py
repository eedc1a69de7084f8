"""Stand-ins for packages that a CPU build of torch may lack, under unused names."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tools.boot import standins

ABSENT, PRESENT = "absent_vision", "present_audio"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stand-ins are for these two packages; what transformers was asked before."""
    from transformers.utils import import_utils

    questions: list[str] = []
    monkeypatch.setattr(standins, "PACKAGES", (ABSENT, PRESENT))
    for name in standins._QUESTIONS:
        monkeypatch.setattr(
            import_utils, name, lambda name=name: questions.append(f"{name} {ABSENT in sys.modules}")
        )
    return questions


@pytest.fixture
def present(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / PRESENT).mkdir()
    (tmp_path / PRESENT / "__init__.py").write_text("REAL = True")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop(PRESENT, None)


@pytest.mark.usefixtures("present")
def test_any_name_is_there_and_none_can_be_called(asked: list[str]) -> None:
    with standins.installed():
        vision: Any = importlib.import_module(ABSENT)
        flow: Any = importlib.import_module(f"{ABSENT}.models.optical_flow")
        transforms: Any = importlib.import_module(f"{ABSENT}.transforms.functional")

        class Enlarge(transforms.Resize):
            mode: vision.tv_tensors.Image | None = transforms.InterpolationMode.BICUBIC

        sentence = rf"^{ABSENT} is not installed: {ABSENT}\.models\.optical_flow\.raft_large is a stand-in$"
        with pytest.raises(RuntimeError, match=sentence):
            flow.raft_large(weights=None)
        with pytest.raises(RuntimeError, match=f"^{ABSENT} is not installed"):
            vision.transforms.Compose([])
        with pytest.raises(RuntimeError, match="is not installed"):
            Enlarge((8, 8))
        assert not hasattr(vision, "__version__"), "it has none that could be compared"
    assert len(asked) == len(standins._QUESTIONS)
    assert all(question.endswith(" False") for question in asked), "transformers took note before"


@pytest.mark.usefixtures("asked", "present")
def test_what_is_there_stays_and_nothing_is_left_behind() -> None:
    with standins.installed():
        assert importlib.import_module(PRESENT).REAL
        importlib.import_module(f"{ABSENT}.ops")
    assert not [name for name in sys.modules if name.startswith(ABSENT)]
    assert PRESENT in sys.modules
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(ABSENT)
    with standins.installed(), pytest.raises(ModuleNotFoundError):
        importlib.import_module("some_other_package_that_is_absent")
