"""The pack as ComfyUI loads it, in this process, beside a real ComfyUI's modules; and a
tiny model of random weights.
"""

import asyncio
import importlib
import importlib.util
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.stock import Stock, stock_parts
from tools import comfyui
from tools.boot import standins
from tools.paths import ROOT

PACK = str(ROOT).replace(".", "_x_")  # as ComfyUI names it
WORDS = ("make the circle red", "remove the blue square", "")
LIKE_PUBLISHED = {"vocab_size": 49408, "eos_token_id": 49407, "bos_token_id": 49406, "pad_token_id": 49407}


@pytest.fixture(scope="session")
def comfy_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ComfyUI's modules can be imported, on the CPU, with all folders below this one.

    Fails where none can be had.
    """
    base = tmp_path_factory.mktemp("comfyui")
    sys.path.append(str(comfyui.get().folder))
    from comfy.cli_args import args

    args.cpu = True
    args.base_directory = str(base)
    return base


@pytest.fixture(scope="session")
def comfy_models(comfy_base: Path) -> None:
    """ComfyUI's model code can be imported too, with stand-ins for what it needs of
    torchvision and torchaudio.
    """
    with standins.installed():
        for name in ("comfy.model_base", "comfy.sd", "comfy.sample", "latent_preview"):
            importlib.import_module(name)


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
    """The nodes that the entry point gives ComfyUI."""

    async def ask() -> list[Any]:
        extension = await pack.comfy_entrypoint()
        return await extension.get_node_list()

    return asyncio.run(ask())


@pytest.fixture(scope="session")
def run(node_list: list[Any], comfy_models: None) -> Callable[..., Any]:
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
    transformer = part("kontext_core.model.transformer").Transformer(config.TINY_TRANSFORMER)
    with torch.no_grad():
        for parameter in transformer.parameters():  # a new one gives nothing
            parameter.normal_(std=0.05)
    part("kontext_core.loading").save_model(
        folder,
        transformer=transformer,
        vae=part("kontext_core.model.vae").VAE(config.TINY_VAE),
        text_encoders=part("kontext_core.train.text_models").tiny_text_models(tokenizers),
    )
    return folder


@pytest.fixture(scope="session")
def tiny(part: Callable[[str], Any], random_model: Path) -> Iterator[Path]:
    """Let the random model stand in for the included tiny one."""
    folders = part("kontext_core.loading.locate")
    own, folders.TINY_FOLDER = folders.TINY_FOLDER, random_model
    yield random_model
    folders.TINY_FOLDER = own


@pytest.fixture(scope="session")
def model(run: Callable[..., Any], tiny: Path) -> Any:
    """A KONTEXT_MODEL."""
    return run("KontextLoadModel")[0]


@pytest.fixture(scope="session")
def own(part: Callable[[str], Any], model: Any) -> Any:
    """Our own code: the tiny model with guidance as an input and the published scale and
    shift, random weights.
    """
    config = part("kontext_core.train.config")
    torch.manual_seed(0)
    transformer = part("kontext_core.model.transformer").Transformer(
        replace(config.TINY_TRANSFORMER, guidance_embed=True)
    )
    with torch.no_grad():
        for name, parameter in transformer.named_parameters():
            parameter.normal_(std=0.05)
            if name.endswith("_norm.scale"):
                parameter.add_(2)  # attention that is sharp enough for positions to matter
    vae = part("kontext_core.model.vae").VAE(
        replace(config.TINY_VAE, scale_factor=0.3611, shift_factor=0.1159)
    )
    return part("kontext_core.pipeline").Pipeline(transformer, vae, model.text)


@pytest.fixture(scope="session")
def stock(own: Any, comfy_models: None) -> Stock:
    return stock_parts(own)


@pytest.fixture(scope="session")
def hosted(run: Callable[..., Any], stock: Stock) -> Any:
    """The same weights in ComfyUI's code, as a KONTEXT_MODEL."""
    return run("KontextFromComfyUI", **stock._asdict())[0]


@pytest.fixture
def models(comfy_base: Path) -> Iterator[Path]:
    """ComfyUI's folder of models, empty."""
    folder = comfy_base / "models"
    kinds = [folder / name for name in ("diffusion_models", "vae", "text_encoders", "diffusers", "loras")]
    for kind in kinds:
        kind.mkdir(parents=True, exist_ok=True)
    yield folder
    for kind in kinds:  # the folders stay: ComfyUI does not expect them to go away
        for entry in kind.iterdir():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


@pytest.fixture(scope="session")
def single_files(
    part: Callable[[str], Any], random_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Files as most users have them, tiny but with the vocabularies of ComfyUI's tokenizers."""
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    folder = tmp_path_factory.mktemp("single")
    torch.manual_seed(0)
    width = part("kontext_core.train.config").TINY_TRANSFORMER.context_in_dim
    small = {"num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 77}
    clip = CLIPTextModel(
        CLIPTextConfig(hidden_size=width, intermediate_size=8, projection_dim=8, **small, **LIKE_PUBLISHED)
    )
    t5 = T5EncoderModel(
        T5Config(
            vocab_size=32128, d_model=width, d_ff=8, d_kv=64, num_heads=2, num_layers=1,
            feed_forward_proj="gated-gelu", is_encoder_decoder=False, use_cache=False,
        )
    )  # fmt: skip
    clip_keys = {
        f"text_model.{key.removeprefix('text_model.')}": value for key, value in clip.state_dict().items()
    }
    t5_keys = {key: value for key, value in t5.state_dict().items() if key != "encoder.embed_tokens.weight"}
    paths = {name: folder / f"{name}.safetensors" for name in ("transformer", "vae", "clip", "t5")}
    shutil.copy(random_model / "flux1-kontext-dev.safetensors", paths["transformer"])
    shutil.copy(random_model / "ae.safetensors", paths["vae"])
    config = {"config": json.dumps(clip.config.to_dict())}  # its shapes say it for CLIP-L only
    save_file({key: value.contiguous() for key, value in clip_keys.items()}, paths["clip"], config)
    save_file({key: value.contiguous() for key, value in t5_keys.items()}, paths["t5"])
    return paths


@pytest.fixture
def placed(models: Path, single_files: dict[str, Path]) -> Path:
    """The single files, each in its folder under a name that says nothing."""
    shutil.copy(single_files["transformer"], models / "diffusion_models" / "mine.safetensors")
    shutil.copy(single_files["vae"], models / "vae" / "x.safetensors")
    shutil.copy(single_files["clip"], models / "text_encoders" / "a.safetensors")
    shutil.copy(single_files["t5"], models / "text_encoders" / "b.safetensors")
    return models


@pytest.fixture
def image() -> Tensor:
    """An IMAGE of the tiny model's size."""
    return picture(128, 128)


def picture(height: int, width: int, *, batch: int = 1, channels: int = 3, seed: int = 0) -> Tensor:
    """Noise as an IMAGE."""
    return torch.rand(batch, height, width, channels, generator=torch.Generator().manual_seed(seed))


def distance(ours: Tensor, theirs: Tensor) -> float:
    """Relative L2."""
    return float((ours - theirs).norm() / ours.norm())


def references(run: Callable[..., Any], *sizes: tuple[int, int], **options: Any) -> Any:
    """A stack of pictures of (height, width) in pixels, as they are."""
    stack = None
    for seed, (height, width) in enumerate(sizes):
        given = {"image": picture(height, width, seed=seed), "fit": "none", "references": stack}
        stack = run("KontextReference", **(given | options))[0]
    return stack


def sampled(run: Callable[..., Any], model: Any, **options: Any) -> Tensor:
    """Latents of the sampler node, three steps at 64 x 96 px unless said otherwise."""
    words = {"text": "make the circle red", "negative": "blue"}
    prompt = run("KontextEncodePrompt", model=model, **words)[0]
    size = {} if "start" in options else {"width": 96, "height": 64}
    given = {"prompt": prompt, "steps": 3, "seed": 5, "layout": "offset", **size} | options
    return run("KontextSampler", model=model, **given)[0]["samples"]
