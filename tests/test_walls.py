"""The walls between the parts: nodes use the core, never the reverse; the core knows nothing of ComfyUI.

import-linter sees only inside `kontext_core`; here every import of every file is followed from the root.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.paths import ROOT

HOST = (
    "comfy",
    "comfy_api",
    "comfy_execution",
    "comfy_extras",
    "comfy_config",
    "folder_paths",
    "latent_preview",
    "server",
    "execution",
)
TALK_TO_COMFYUI = {
    "nodes/_api.py",
    "nodes/comfy_editor.py",
    "nodes/managed_pipeline.py",
    *(path.relative_to(ROOT).as_posix() for path in (ROOT / "nodes" / "host").glob("*.py")),
}
MAY_USE = {"": {"nodes"}, "nodes": {"nodes", "kontext_core"}, "kontext_core": {"kontext_core"}}
MAX_LINES = 400

FILES = [
    ROOT / "__init__.py",
    *sorted((ROOT / "nodes").rglob("*.py")),
    *sorted((ROOT / "kontext_core").rglob("*.py")),
]


def breaches(file: str, source: str) -> Iterator[str]:
    """What a file, named from the root, imports and must not: also inside functions and for types."""
    place = file.split("/")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found = [node.module or ""]
        elif isinstance(node, ast.ImportFrom):
            if node.level - 1 > len(place):
                yield f"{file}:{node.lineno} leaves the pack"
                continue
            base = [*place[: len(place) - node.level + 1], *(node.module or "").split(".")]
            targets = [base] if node.module else [[*base[:-1], alias.name] for alias in node.names]
            for target in targets:
                if target[0] not in MAY_USE[place[0] if place else ""]:
                    yield f"{file}:{node.lineno} uses {'.'.join(target)}"
            continue
        else:
            continue
        for name in found:
            top = name.split(".")[0]
            if top in ("kontext_core", "nodes", "tools", "tests"):
                yield f"{file}:{node.lineno} imports {name} absolutely: ComfyUI loads the pack by path"
            if top in HOST and file not in TALK_TO_COMFYUI:
                yield f"{file}:{node.lineno} imports {name}, which is ComfyUI's"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_imports_stay_within_the_walls(file: Path) -> None:
    assert list(breaches(file.relative_to(ROOT).as_posix(), file.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("kontext_core/model/vae.py", "from ...nodes import convert"),
        ("kontext_core/model/vae.py", "from ... import nodes"),
        ("kontext_core/loading/keys.py", "from ...nodes.convert import Frame"),
        ("kontext_core/model/vae.py", "def f():\n    import comfy.utils"),
        ("kontext_core/model/vae.py", "import folder_paths"),
        ("kontext_core/model/vae.py", "import kontext_core.config"),
        ("kontext_core/model/vae.py", "from ....other import pack"),
        ("nodes/edit.py", "from kontext_core.model.vae import VAE"),
        ("nodes/edit.py", "from comfy_api.latest import io"),
        ("nodes/edit.py", "import nodes"),
        ("nodes/edit.py", "from ..tools import paths"),
        ("nodes/edit.py", "from ..tests.nodes import conftest"),
        ("__init__.py", "from .kontext_core import VAE"),
    ],
)
def test_a_breach_is_seen(file: str, source: str) -> None:
    assert len(list(breaches(file, source))) == 1


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("__init__.py", "async def f():\n    from .nodes import KontextExtension"),
        ("nodes/_api.py", "from comfy_api.latest import io"),
        (
            "nodes/edit.py",
            "from . import host\nfrom .. import kontext_core\nfrom ..kontext_core.model.vae import VAE",
        ),
        ("kontext_core/loading/keys.py", "from ..config import LAYOUTS\nfrom . import folders"),
    ],
)
def test_what_is_allowed_is_no_breach(file: str, source: str) -> None:
    assert list(breaches(file, source)) == []


_IMPORT_ALL = """
import importlib, logging, pkgutil, random, sys
HOST = sys.argv[1].split(",")

class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in HOST:
            raise ImportError(f"{name} is ComfyUI's")

sys.meta_path.insert(0, Wall())
import einops, numpy, PIL.Image, safetensors.torch, torch, transformers
from transformers import CLIPTextModel, CLIPTokenizerFast, T5EncoderModel, T5TokenizerFast

def state():
    loggers = [logging.getLogger(), *(logging.getLogger(name) for name in logging.root.manager.loggerDict if "kontext" in name)]
    return (
        [list(logger.handlers) for logger in loggers if logger.handlers], logging.getLogger().level, random.getstate(),
        torch.random.get_rng_state().tolist(), torch.get_num_threads(), torch.get_default_dtype(),
        torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled(),
    )

written = []

def watch(event, arguments):
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if writes or event in ("os.mkdir", "os.rename", "os.remove", "os.putenv", "socket.connect", "subprocess.Popen"):
        written.append((event, arguments[0]))

before = state()
sys.addaudithook(watch)
import kontext_core
names = [module.name for module in pkgutil.walk_packages(kontext_core.__path__, "kontext_core.")]
for name in names:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as missing:  # what needs a GPU's compiler, which a CPU build of torch lacks
        assert missing.name == "triton", (name, missing)
        assert name in ("kontext_core.kernels.triton_blocks", "kontext_core.kernels.triton_group_norm"), name
assert not written, written
assert state() == before, "importing changed logging, random numbers or torch's settings"
assert not torch.cuda.is_initialized(), "importing asked for a GPU"
print(len(names))
"""


def test_core_imports_without_comfyui_and_without_effect() -> None:
    command = [sys.executable, "-B", "-c", _IMPORT_ALL, ",".join((*HOST, "nodes"))]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=180)
    assert result.returncode == 0, result.stderr[-3000:]
    assert int(result.stdout) > 20


@pytest.mark.parametrize("folder", ["nodes", "kontext_core", "tools"])
def test_files_stay_readable_in_one_sitting(folder: str) -> None:
    lengths = {
        file.relative_to(ROOT).as_posix(): len(file.read_text(encoding="utf-8").splitlines())
        for file in (ROOT / folder).rglob("*.py")
    }
    assert {file: lines for file, lines in lengths.items() if lines > MAX_LINES} == {}
