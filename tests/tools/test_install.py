"""Putting the pack into somebody's ComfyUI."""

from pathlib import Path

import pytest

from tools.console import ToolError
from tools.install import install


@pytest.fixture
def comfyui(tmp_path: Path) -> Path:
    folder = tmp_path / "ComfyUI"
    (folder / "comfy").mkdir(parents=True)
    for name in ("main.py", "nodes.py"):
        (folder / name).touch()
    return folder


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    folder = tmp_path / "pack"
    (folder / ".git").mkdir(parents=True)
    (folder / "__init__.py").write_text("first")
    return folder


def refuse_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise OSError("links need a privilege here")

    monkeypatch.setattr(Path, "symlink_to", refuse)


def test_links_once(comfyui: Path, pack: Path) -> None:
    place = comfyui / "custom_nodes" / "kontext"
    assert install(comfyui, pack) == f"{place} was linked."
    assert (place / "__init__.py").read_text() == "first"
    assert install(comfyui, pack) == f"{place} is this pack already."


def test_copies_where_links_are_refused_and_renews_its_copy(
    comfyui: Path, pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_links(monkeypatch)
    place = comfyui / "custom_nodes" / "kontext"
    assert install(comfyui, pack) == f"{place} was copied."
    assert not (place / ".git").exists()
    (pack / "__init__.py").write_text("second")
    assert install(comfyui, pack) == f"{place} was copied anew."
    assert (place / "__init__.py").read_text() == "second"


def test_a_foreign_folder_stays(comfyui: Path, pack: Path) -> None:
    place = comfyui / "custom_nodes" / "kontext"
    place.mkdir(parents=True)
    (place / "theirs.py").touch()
    with pytest.raises(ToolError, match=r"is there already and is not this checkout: move it away"):
        install(comfyui, pack)
    assert (place / "theirs.py").exists()


def test_wrong_path_is_one_sentence(comfyui: Path, pack: Path) -> None:
    with pytest.raises(
        ToolError, match=r"^There is no ComfyUI in .*: give the folder that holds main\.py\.$"
    ):
        install(comfyui / "models", pack)
    with pytest.raises(ToolError, match=r": did you mean .*ComfyUI\?$"):
        install(comfyui.parent, pack)
