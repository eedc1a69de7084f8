"""The pack as ComfyUI loads it, in this process, beside a real ComfyUI's modules; and a tiny model of random weights."""

import asyncio
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from tools import comfyui
from tools.paths import ROOT

PACK = str(ROOT).replace(".", "_x_")  # as ComfyUI names it
WORDS = ("make the circle red", "remove the blue square", "")


@pytest.fixture(scope="session")
def comfy_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ComfyUI's modules can be imported, on the CPU, with all folders below this one. Fails where none can be had."""
    base = tmp_path_factory.mktemp("comfyui")
    sys.path.append(str(comfyui.get().folder))
    from comfy.cli_args import args

    args.cpu = True
    args.base_directory = str(base)
    return base


@pytest.fixture(scope="session")
def comfy_models(comfy_base: Path) -> None:
    """ComfyUI's model code can be imported too. It needs torchvision, which a stand-in may be, as in tools/boot."""
    from transformers.utils import import_utils

    missing = importlib.util.find_spec("torchvision") is None
    if missing:
        import_utils.is_torchvision_available()  # transformers takes note that there is none
        import_utils.is_torchvision_v2_available()
        sys.path.append(str(ROOT / "tools" / "boot" / "standin"))
    try:
        for name in ("comfy.model_base", "comfy.sd", "comfy.sample", "latent_preview"):
            importlib.import_module(name)
    finally:
        if missing:
            sys.path.remove(str(ROOT / "tools" / "boot" / "standin"))
            for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
                del sys.modules[name]


@pytest.fixture(scope="session")
def pack(comfy_base: Path) -> ModuleType:
    """The pack's root module, loaded by path."""
    spec = importlib.util.spec_from_file_location(PACK, ROOT / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACK] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def part(pack: ModuleType) -> Callable[[str], Any]:
    """A module of the pack by its name in it: part("nodes.convert")."""
    return lambda name: importlib.import_module(f"{PACK}.{name}")


@pytest.fixture(scope="session")
def node_list(pack: ModuleType) -> list[Any]:
    """What the entry point gives ComfyUI."""

    async def ask() -> list[Any]:
        extension = await pack.comfy_entrypoint()
        return await extension.get_node_list()

    return asyncio.run(ask())


@pytest.fixture(scope="session")
def run(node_list: list[Any]) -> Callable[..., Any]:
    """Execute a node by id as ComfyUI does, with its schema's defaults for what is not given."""
    by_id = {node.GET_SCHEMA().node_id: node for node in node_list}

    def execute(node_id: str, **inputs: Any) -> Any:
        node = by_id[node_id]
        defaults = {
            one.id: one.default
            for one in node.GET_SCHEMA().inputs
            if not one.optional and getattr(one, "default", None) is not None
        }
        with torch.inference_mode():
            return node.PREPARE_CLASS_CLONE({}).EXECUTE_NORMALIZED(**(defaults | inputs))

    return execute


@pytest.fixture(scope="session")
def random_model(part: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder as the tiny one, never trained."""
    folder = tmp_path_factory.mktemp("model") / "random"
    torch.manual_seed(0)
    config = part("kontext_core.train.config")
    tokenizers = tmp_path_factory.mktemp("tokenizers")
    part("kontext_core.train.tokenizers").train_tokenizers(WORDS, tokenizers)
    transformer = part("kontext_core.transformer").Transformer(config.TINY_TRANSFORMER)
    with torch.no_grad():
        for parameter in transformer.parameters():  # a new one gives nothing
            parameter.normal_(std=0.05)
    part("kontext_core.loading").save_model(
        folder,
        transformer=transformer,
        vae=part("kontext_core.vae").VAE(config.TINY_VAE),
        text_encoders=part("kontext_core.train.text_models").tiny_text_models(tokenizers),
    )
    return folder


@pytest.fixture(scope="session")
def tiny(part: Callable[[str], Any], random_model: Path) -> Iterator[Path]:
    """The random model stands in for the tiny one that comes along."""
    pipeline = part("kontext_core.pipeline")
    own, pipeline.TINY = pipeline.TINY, random_model
    yield random_model
    pipeline.TINY = own


@pytest.fixture(scope="session")
def model(run: Callable[..., Any], tiny: Path) -> Any:
    """A KONTEXT_MODEL."""
    return run("KontextLoadModel")[0]


@pytest.fixture
def image() -> Tensor:
    """An IMAGE of the tiny model's size."""
    return picture(128, 128)


def picture(height: int, width: int, *, batch: int = 1, channels: int = 3, seed: int = 0) -> Tensor:
    """Noise as an IMAGE."""
    return torch.rand(batch, height, width, channels, generator=torch.Generator().manual_seed(seed))
