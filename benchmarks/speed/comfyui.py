"""ComfyUI's own FLUX module beside ours, on the same memory: what users would run instead.

Its tree is looked for in COMFYUI_PATH, in `.cache/comfyui` of this checkout, which git ignores and which can
travel to a machine without a network (the folder `comfy` of the tree is enough), and in the cache of
`tools.comfyui`.
"""

import logging
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kontext_core.model.latents import pack, unpack
from kontext_core.model.transformer import Transformer
from tools.comfyui import VERSION, named
from tools.paths import ROOT, cache_folder

from .models import Question

TRAVELS = ROOT / ".cache" / "comfyui"


class UnavailableError(Exception):
    """A contestant that cannot run here. The message says why."""


class ComfyFlux:
    """ComfyUI's network with our weights.

    Args:
        network: `comfy.ldm.flux.model.Flux`.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def step(self, asked: Question, scope: Callable[[], AbstractContextManager[Any]]) -> Callable[[], Tensor]:
        """Return one call of it, as its sampler makes it at each step."""
        size = round(asked.tokens.shape[1] ** 0.5) * 2
        dtype = asked.txt.dtype
        latents = unpack(asked.tokens, size, size).to(dtype)
        references = [reference.to(dtype) for reference in asked.references]

        def run() -> Tensor:
            with scope():
                velocity = self.network(
                    latents,
                    asked.timesteps,
                    asked.txt,
                    y=asked.pooled,
                    guidance=asked.guidance,
                    ref_latents=references or None,
                    transformer_options={},
                )
            return pack(velocity)

        return run

    def parameters(self) -> Any:
        return self.network.parameters()

    def buffers(self) -> Any:
        return self.network.buffers()


def comfyui(model: Transformer) -> ComfyFlux:
    """Build ComfyUI's network on our model's memory.

    Raises: UnavailableError where there is none, or something that it imports is missing.
    """
    flux, ops = _modules(model.device.type)
    config = model.config
    network = flux.Flux(
        dtype=model.dtype,
        device=torch.device("meta"),
        operations=ops.disable_weight_init,
        in_channels=config.in_channels // 4,
        out_channels=config.out_channels // 4,
        vec_in_dim=config.vec_in_dim,
        context_in_dim=config.context_in_dim,
        hidden_size=config.hidden_size,
        mlp_ratio=config.mlp_ratio,
        num_heads=config.num_heads,
        depth=config.depth,
        depth_single_blocks=config.depth_single_blocks,
        axes_dim=list(config.axes_dim),
        theta=config.theta,
        patch_size=2,
        qkv_bias=config.qkv_bias,
        guidance_embed=config.guidance_embed,
    )
    network.load_state_dict(model.state_dict(), assign=True)
    return ComfyFlux(network.eval().requires_grad_(False))


def tree() -> Path:
    """Return the folder that holds `comfy`. Raises: UnavailableError."""
    chosen = named()
    folders = [
        *([chosen] if chosen else []), TRAVELS, cache_folder() / f"comfyui-{VERSION}"
    ]  # fmt: skip
    for folder in folders:
        if (folder / "comfy" / "ldm" / "flux" / "model.py").is_file():
            return folder
    raise UnavailableError(f"there is no ComfyUI: set COMFYUI_PATH, or put its folder comfy into {TRAVELS}")


@cache
def _modules(device: str) -> tuple[Any, Any]:
    """Its network and its layers.

    It looks for a card when it is imported, and is told where there is none.
    """
    folder, before = tree(), logging.getLogger().level
    sys.path.insert(0, str(folder))
    try:
        from comfy.cli_args import args

        args.cpu = device == "cpu"
        from comfy import ops
        from comfy.ldm.flux import model
    except Exception as error:  # whatever of it is missing, or of another version
        raise UnavailableError(f"ComfyUI in {folder} cannot be imported: {error}") from error
    finally:
        sys.path.remove(str(folder))
        logging.getLogger().setLevel(before)
    return model, ops
