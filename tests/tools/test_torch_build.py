"""Which PyTorch is chosen, by what the machine has and what pip is offered."""

import pytest

from tools import torch_build
from tools.torch_build import CPU_INDEX, TESTED, choose, cpu_version


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ([], None),
        (["2.15.0", "2.13.0"], None),
        (["2.15.0+cpu", f"{TESTED}+cpu", TESTED], f"{TESTED}+cpu"),
        (["2.9.1+cpu", "2.10.0+cpu", "2.10.0+cu130"], "2.10.0+cpu"),
        (["2.5.1+cpu"], None),
    ],
)
def test_cpu_version(offered: list[str], chosen: str | None) -> None:
    assert cpu_version(offered) == chosen


@pytest.mark.parametrize(
    ("platform", "gpu", "configured", "public", "arguments"),
    [
        ("linux", True, ["2.13.0+cpu"], [], ("torch",)),
        ("linux", False, ["2.15.0", "2.13.0+cpu"], [], ("torch==2.13.0+cpu",)),
        ("linux", False, ["2.15.0"], ["2.14.0+cpu"], ("torch==2.14.0+cpu", "--extra-index-url", CPU_INDEX)),
        ("linux", False, ["2.15.0"], [], ("torch",)),
        ("darwin", False, ["2.15.0"], [], ("torch",)),
        ("win32", False, ["2.15.0"], ["2.15.0+cpu"], ("torch",)),
    ],
)
def test_choose(
    monkeypatch: pytest.MonkeyPatch,
    platform: str,
    gpu: bool,
    configured: list[str],
    public: list[str],
    arguments: tuple[str, ...],
) -> None:
    def offered(_python: str, _name: str, *options: str) -> list[str]:
        return public if CPU_INDEX in options else configured

    monkeypatch.setattr(torch_build, "offered_versions", offered)
    monkeypatch.setattr(torch_build, "nvidia_gpu", lambda: gpu)
    monkeypatch.setattr(torch_build.sys, "platform", platform)
    assert choose("python").arguments == arguments
