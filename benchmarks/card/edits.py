"""What stands around the loop, and a whole edit: text encoders, autoencoder, 28 steps with one reference."""

import argparse
import math
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

from ..speed.__main__ import Bench
from ..speed.cases import CONFIGURATIONS, Case
from ..speed.clock import Clock, Times
from ..speed.contestants import MODES, PEERS
from ..speed.models import random_vae
from .store import Context

ROUNDS = 10
EDITS = ("ours", "ours, fp8", "diffusers")
# Source: the published text_encoder_2 and text_encoder, config.json.
_T5 = {"vocab_size": 32128, "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64}
_CLIP = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
_SMALL = {"vocab_size": 100, "d_model": 32, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}


@torch.no_grad()
def measure_edits(context: Context) -> None:
    """A row for each part, then whole edits."""
    configuration = CONFIGURATIONS["least" if context.rehearse else "kontext"]
    side = configuration.sides[0] if context.rehearse else 1024
    clock, rounds = Clock(context.device), 2 if context.rehearse else ROUNDS
    vae = random_vae(configuration.vae, context.device, context.dtype)
    image = torch.zeros(1, 3, side, side, device=context.device, dtype=context.dtype)
    latents = torch.randn(1, 16, side // 8, side // 8).to(image)
    context.attempt("encode a picture", lambda: _seconds(clock, lambda: vae.encode(image), rounds))
    context.attempt("decode a picture", lambda: _seconds(clock, lambda: vae.decode(latents), rounds))
    context.attempt("encode a prompt", lambda: _seconds(clock, _text(context), rounds))
    options = argparse.Namespace(seconds=0.002, rounds=1, until=math.inf)
    bench = Bench(configuration, context.device, options)
    steps = 2 if context.rehearse else 28
    for name in EDITS:
        chosen = {name: (MODES | PEERS)[name]}

        def edit(name: str = name, chosen: dict[str, Any] = chosen) -> dict[str, Any]:
            if reason := bench._attempt(name, lambda: bench._make(name, chosen[name])):
                return {"unavailable": reason}
            return {"steps": steps, **bench.edits(Case(side, 1), chosen, steps)["contestants"][name]}

        context.attempt(f"whole edit, {name}", edit, needs=0 if context.rehearse else 15)


def _text(context: Context) -> Any:
    """T5 and CLIP of the published sizes with random weights, and one prompt through both."""
    common = {"feed_forward_proj": "gated-gelu", "is_encoder_decoder": False, "use_cache": False}
    sizes = _SMALL if context.rehearse else _T5
    small = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    with torch.device(context.device):
        before = torch.get_default_dtype()
        torch.set_default_dtype(context.dtype)
        try:
            t5 = T5EncoderModel(T5Config(**sizes, **common)).eval()
            clip = CLIPTextModel(CLIPTextConfig(**(small if context.rehearse else _CLIP))).eval()
        finally:
            torch.set_default_dtype(before)
    length = 8 if context.rehearse else 512
    words = torch.zeros(1, length, dtype=torch.long, device=context.device)

    def encode() -> Tensor:
        clip(input_ids=words[:, :77])
        return t5(input_ids=words).last_hidden_state

    return encode


def _seconds(clock: Clock, work: Any, rounds: int) -> dict[str, Any]:
    times: Times = clock.race({"it": work}, rounds)["it"]
    return {"seconds": times.typical, "spread": times.spread, "rounds": rounds}
