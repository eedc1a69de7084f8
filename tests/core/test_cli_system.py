"""`kontext info --system`: what a bug report needs, and nothing about the machine's owner."""

import getpass
import platform
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from kontext_core.cli import main, system
from kontext_core.loading.locate import TINY_FOLDER
from tools.paths import ROOT

PERSON, MACHINE = "quillfeather", "burrowhost"  # neither is a part of any version or card


def lines(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """What the command prints, by what stands before the colon."""
    assert main(["info", "--system"]) == 0
    output, errors = capsys.readouterr()
    assert errors == ""
    return dict(line.split(": ", 1) for line in output.splitlines())


def test_versions_system_and_card(capsys: pytest.CaptureFixture[str]) -> None:
    facts = lines(capsys)
    assert re.match(r"\d+\.\d+\.\d+", facts["kontext-nodes"])
    assert facts["Python"].startswith(platform.python_version())
    for name in ("torch", "transformers", "safetensors", "numpy", "pillow"):
        assert facts[name] == version(name)
    assert platform.machine() in facts["system"]
    assert ("no GPU" in facts["GPU"]) or torch.cuda.is_available() or torch.backends.mps.is_available()


def test_a_package_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "PACKAGES", {"no-such-package": True, "no-other-package": False})
    described = system.describe()
    assert "no-such-package: not installed" in described
    assert not any("no-other-package" in line for line in described)


@pytest.fixture
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose every name is known, with a ComfyUI in somebody's own folder."""
    home = tmp_path / PERSON
    host = home / "ComfyUI"
    host.mkdir(parents=True)
    (host / "main.py").touch()
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(home))
    for name in ("USER", "LOGNAME", "USERNAME"):
        monkeypatch.setenv(name, PERSON)
    monkeypatch.setenv("COMFYUI_PATH", str(host))
    monkeypatch.setattr(platform, "node", lambda: MACHINE)
    monkeypatch.setattr(platform, "system", lambda: "Linux")  # the one where people name their kernels
    monkeypatch.setattr(platform, "release", lambda: f"6.1.0-{PERSON}-{MACHINE}")
    return host


@pytest.mark.parametrize("error", [OSError, ImportError, RuntimeError, AttributeError])
def test_no_path_and_no_name(
    error: type[Exception],
    private: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Also where torch is broken and names its library, or a file of ComfyUI holds a path."""

    def broken(_: str) -> None:
        raise error(f"{private}/libtorch.so: cannot open shared object file")

    (private / "comfyui_version.py").write_text(f'__version__ = "{private}"\n')
    for importer in (system.import_module, broken):
        monkeypatch.setattr(system, "import_module", importer)
        assert main(["info", "--system"]) == 0
        output = capsys.readouterr().out
        for name in (PERSON, MACHINE, str(ROOT), str(Path.home()), sys.prefix):
            assert name not in output
        for name in (socket.gethostname(), getpass.getuser()):
            assert not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", output)
        assert not re.search(r"(^|\s)(~|[A-Za-z]:)?[/\\]", output, re.MULTILINE)
    assert f"torch: does not import ({error.__name__})" in output
    assert "GPU: unknown" in output
    assert "ComfyUI: version unknown" in output


def pretended(*cards: Any, cuda: str | None = "12.8", driver: Callable[[], int] | None = None) -> Any:
    """A torch that sees these cards."""
    return SimpleNamespace(
        version=SimpleNamespace(cuda=cuda, hip=None),
        _C=SimpleNamespace(_cuda_getDriverVersion=driver),
        cuda=SimpleNamespace(
            is_available=lambda: bool(cards),
            device_count=lambda: len(cards),
            get_device_properties=lambda index: cards[index],
        ),
        backends=SimpleNamespace(mps=SimpleNamespace(is_available=lambda: False)),
    )


def accelerators(monkeypatch: pytest.MonkeyPatch, torch_module: Any) -> list[str]:
    monkeypatch.setattr(system, "import_module", lambda _: torch_module)
    return [line for line in system.describe() if line.startswith(("CUDA", "ROCm", "GPU"))]


def test_each_card_with_its_memory_and_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    cards = [
        SimpleNamespace(name=f"Card {number}", total_memory=number * 2**30, major=8, minor=number)
        for number in (6, 9)
    ]
    assert accelerators(monkeypatch, pretended(*cards, driver=lambda: 12080)) == [
        "CUDA: 12.8, driver up to 12.8",
        "GPU: Card 6, 6.0 GiB, compute capability 8.6",
        "GPU: Card 9, 9.0 GiB, compute capability 8.9",
    ]


def refuses() -> int:
    raise RuntimeError("Found no NVIDIA driver on your system")


@pytest.mark.parametrize(("driver", "said"), [(refuses, ", no driver"), (lambda: 0, ", no driver")])
def test_a_torch_for_cuda_without_a_card(
    driver: Callable[[], int], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert accelerators(monkeypatch, pretended(driver=driver)) == [f"CUDA: 12.8{said}", "GPU: no GPU"]


def test_a_torch_for_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert accelerators(monkeypatch, pretended(cuda=None)) == ["GPU: no GPU"]


def test_a_card_that_torch_cannot_use(monkeypatch: pytest.MonkeyPatch) -> None:
    module = pretended("a card", cuda=None)
    module.cuda.get_device_properties = lambda _: refuses()
    assert accelerators(monkeypatch, module) == ["GPU: torch cannot use it (RuntimeError)"]


@pytest.mark.parametrize(
    ("files", "number"),
    [
        ({"comfyui_version.py": '# by a tool\n__version__ = "0.3.75"\n'}, "0.3.75"),
        ({"pyproject.toml": '[project]\nname = "ComfyUI"\nversion = "0.3.9"\n'}, "0.3.9"),
        ({"comfyui_version.py": "__version__ = made()\n"}, None),
        ({"comfyui_version.py": "\xff", "pyproject.toml": "no = = toml"}, None),
        ({"pyproject.toml": "project = 3\n"}, None),
        ({}, None),
    ],
)
def test_which_comfyui(files: dict[str, str], number: str | None, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="latin-1")
    assert system.comfyui_version(tmp_path) == number


def test_where_comfyui_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    around, named = tmp_path / "around", tmp_path / "named"
    pack = around / "custom_nodes" / "pack"
    pack.mkdir(parents=True)
    named.mkdir()
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    assert system.comfyui_folder(pack) is None
    (around / "main.py").touch()
    assert system.comfyui_folder(pack) == around
    assert system.comfyui_folder(tmp_path) is None
    monkeypatch.setenv("COMFYUI_PATH", str(named))
    assert system.comfyui_folder(pack) == around, "what COMFYUI_PATH names is not ComfyUI"
    (named / "main.py").touch()
    assert system.comfyui_folder(pack) == named


@pytest.fixture
def git(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """`git(folder, *arguments)`, as nobody in particular."""
    if shutil.which("git") is None:
        pytest.skip("there is no git here")
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "A")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "a@example.com")

    def run(folder: Path, *arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    return run


def test_the_commit_of_a_checkout(
    tmp_path: Path, git: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not that of a repository around it, or of one that the surroundings name."""
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "kontext-nodes"\nversion = "7.1"\n')
    assert system.pack_version(tmp_path) == "7.1"
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "a")
    commit = git(tmp_path, "rev-parse", "--short=12", "HEAD")
    git(tmp_path, "tag", "v1")
    monkeypatch.setenv("GIT_DIR", str(ROOT / ".git"))
    assert system.pack_version(tmp_path) == f"7.1, commit {commit}"
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "kontext-nodes"\nversion = "7.2"\n')
    assert system.pack_version(tmp_path) == f"7.2, commit {commit}, changed since"
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "pyproject.toml").write_text('[project]\nname = "kontext-nodes"\nversion = "7.3"\n')
    assert system.pack_version(inner) == "7.3"
    (inner / ".git").mkdir()
    assert system.pack_version(inner) == "7.3"
    monkeypatch.setattr(system.shutil, "which", lambda _: None)
    assert system.pack_version(tmp_path) == "7.2"


def test_the_version_of_another_project_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "other"\nversion = "7.1"\n')
    assert system.pack_version(tmp_path) != "7.1"
    monkeypatch.setattr(system, "DISTRIBUTION", "no-such-package")
    assert system.pack_version(tmp_path) == "version unknown"


def test_files_come_after_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--system", str(TINY_FOLDER / "ae.safetensors")]) == 0
    output = capsys.readouterr().out
    assert output.index("Python: ") < output.index("autoencoder")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name a file or folder of weights, or ask for --system"),
        (["--check"], "--layers, --check and --sha256 apply to files: name one"),
        (["--system", "--sha256"], "--layers, --check and --sha256 apply to files: name one"),
    ],
)
def test_nothing_to_answer(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["info", *arguments])
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith(f"kontext info: error: {said}\n")


def test_it_is_imported_without_torch() -> None:
    code = "import sys, kontext_core.cli.system; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
