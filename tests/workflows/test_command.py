"""`kontext run` on a real ComfyUI: one that it starts itself, from a folder."""

import subprocess
from pathlib import Path

import pytest
from PIL import Image

from kontext_core.cli import main
from kontext_core.remote import local
from tools import comfyui
from tools.paths import ROOT
from tools.place import PACK, link_or_copy
from tools.server import BOOT

pytestmark = pytest.mark.comfy

# ComfyUI's folder is shared by all tests, so its state and the pack lie in another.
_MAIN = """
import os, runpy, sys
sys.argv += ["--base-directory", {base!r}, "--disable-api-nodes", "--database-url", "sqlite:///:memory:"]
sys.argv += ["--disable-all-custom-nodes", "--whitelist-custom-nodes", {pack!r}]
os.chdir({comfyui!r})
sys.path[0] = {comfyui!r}
runpy.run_path("main.py", run_name="__main__")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a ComfyUI with this pack in it."""
    base = tmp_path / "base"
    link_or_copy(base / "custom_nodes" / PACK, ROOT)
    made = tmp_path / "ComfyUI"
    made.mkdir()
    (made / "nodes.py").touch()
    real = str(comfyui.get().folder)
    (made / "main.py").write_text(_MAIN.format(base=str(base), pack=PACK, comfyui=real))
    monkeypatch.setenv("PYTHONPATH", str(BOOT))
    monkeypatch.setenv("KONTEXT_END_WITH_STDIN", "1")
    return made


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """The processes that `kontext run` had to end."""
    ended: list[subprocess.Popen[bytes]] = []
    end = local._end
    monkeypatch.setattr(local, "_end", lambda process: (ended.append(process), end(process)))
    return ended


def test_starts_runs_fetches_and_ends(
    folder: Path,
    started: list[subprocess.Popen[bytes]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    workflow = ROOT / "workflows" / "single_edit.json"
    out = tmp_path / "pictures"
    code = main(["run", str(workflow), "--comfyui", str(folder), "--output", str(out)])
    output, progress = capsys.readouterr()
    assert code == 0, progress
    [picture] = out.iterdir()
    assert output == f"{picture}\n"
    assert picture.name == "kontext_edit_00001_.png"
    with Image.open(picture) as saved:
        assert saved.size == (128, 128)
        assert "workflow" in saved.info
    assert progress.startswith(f"starting the ComfyUI in {folder}\n")
    assert "\nKontext Edit  step 20/20  " in progress
    assert [process.poll() is not None for process in started] == [True]
