"""`python -m tools.same_bits`: a digest of each thing that the tiny model gives at fixed seeds.

Two checkouts on one machine whose code means the same print the same lines, whatever was moved or renamed
between them.
"""

import argparse
import hashlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from kontext_core import Lora, Pipeline, ReferenceLatents, denoise, noise, sigmas
from kontext_core.chain import Chain, load_chain, save_chain

from .console import run, say

_FAST: dict[str, Any] = {"steps": 3, "seed": 7}
_WORDS = "make it night"
_EDIT = "make the red circle blue"

# How the tiny model is loaded, by what it is called here.
_FORMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "bfloat16": {"dtype": torch.bfloat16},
    "nf4": {"quantise": "nf4"},
    "int4": {"quantise": "int4"},
    "int8": {"quantise": "int8"},
    "fp8": {"quantise": "fp8"},
    "float8": {"float8": True},
    "least memory": {"memory_gib": "least"},
    "from files": {"memory_gib": "least", "waits": "file"},
}

Case = tuple[str, Tensor | bytes]


def digest(result: Tensor | bytes) -> str:
    """The first 16 digits of the SHA-256 of all bits, in float32."""
    data = (
        result if isinstance(result, bytes) else result.detach().float().cpu().contiguous().numpy().tobytes()
    )
    return hashlib.sha256(data).hexdigest()[:16]


def random_picture(seed: int, height: int = 128, width: int = 128) -> Tensor:
    """(1, H, W, 3) in [0, 1]."""
    return torch.rand(1, height, width, 3, generator=torch.Generator().manual_seed(seed))


def in_every_form() -> Iterator[Case]:
    """An edit, and two references in each layout, with weights in every form and every place."""
    first, second = random_picture(1), random_picture(2)
    for name, options in _FORMS.items():
        pipeline = Pipeline.load("tiny", device="cpu", **options)
        edit = pipeline.edit(_EDIT, [first], **_FAST)
        yield f"{name}: picture", edit.image
        yield f"{name}: latents", edit.latents
        for layout in ("index", "offset", "diagonal"):
            latents = pipeline.edit(_WORDS, [first, second], layout=layout, **_FAST).latents
            yield f"{name}: two references, {layout}", latents


def options_of_an_edit() -> Iterator[Case]:
    """Mask, fit, negative prompt, and what skips steps."""
    pipeline, picture = Pipeline.load("tiny", device="cpu"), random_picture(1)
    mask = torch.zeros(1, 128, 128)
    mask[:, 32:96, 32:96] = 1
    options: dict[str, dict[str, Any]] = {
        "mask": {"mask": mask, "feather_px": 8},
        "negative prompt": {"negative_prompt": "day", "cfg_scale": 2.0},
        "TeaCache": {"approximate": "teacache:0.5", "steps": 8},
        "of another size": {"width_px": 160, "height_px": 96},
    }
    for name, more in options.items():
        yield name, pipeline.edit(_WORDS, [picture], **(_FAST | more)).image
    yield "padded", pipeline.edit(_WORDS, [picture[:, :100]], fit="pad", **_FAST).image
    yield "from nothing", pipeline.edit("a red circle on sand", [], **_FAST).image


def options_of_a_sample() -> Iterator[Case]:
    """Solvers, start and strength, shift, batch, a weighted and placed reference, and the loop by itself."""
    pipeline = Pipeline.load("tiny", device="cpu")
    text, latents = pipeline.encode_prompt(_WORDS), pipeline.encode(random_picture(1))
    yield "encoded", latents
    yield "decoded", pipeline.decode(latents)
    for solver in ("euler", "heun", "dpmpp_2m"):
        yield solver, pipeline.sample(text, [latents], solver=solver, **_FAST)
    yield "strength", pipeline.sample(text, [latents], start=latents, strength=0.5, **_FAST)
    yield "shift, batch", pipeline.sample(text, [latents], mu=0.3, batch=2, **_FAST)
    weighted = ReferenceLatents(latents, strength=0.5, place=(1, 0, 8))
    yield "weighted and placed", pipeline.sample(text, [weighted], **_FAST)
    start = noise(1, 16, 16, 3)
    yield "denoise", denoise(pipeline.transformer, start, *text, sigmas(3, 64), references=[latents])


def chain_of_turns(folder: Path) -> Iterator[Case]:
    """Two turns, with the latents that are carried on and the record that a PNG keeps of them."""
    pipeline = Pipeline.load("tiny", device="cpu")
    chain = Chain.start(pipeline, random_picture(1)).edit(pipeline, _EDIT, **_FAST)
    chain = chain.edit(pipeline, "remove the star", anchor=True, align=True, **_FAST)
    latents = chain.last.latents
    assert latents is not None
    yield "chain: latents", latents
    yield "chain: settings", repr(sorted(chain.last.settings.items())).encode()
    path = folder / "chain.png"
    save_chain(chain, path)
    loaded = load_chain(path).last.latents
    assert loaded is not None
    yield "chain: loaded again", loaded


def with_a_lora(folder: Path) -> Iterator[Case]:
    """A LoRA beside the weights and merged into them."""
    pipeline = Pipeline.load("tiny", device="cpu")
    width, generator = pipeline.transformer.config.hidden_size, torch.Generator().manual_seed(3)
    layer, file = "lora_unet_single_blocks_0_linear2", folder / "lora.safetensors"
    down = torch.randn(4, 5 * width, generator=generator) * 0.05
    up = torch.randn(width, 4, generator=generator) * 0.05
    save_file({f"{layer}.lora_down.weight": down, f"{layer}.lora_up.weight": up}, file)
    for merged in (False, True):
        changed = pipeline.with_loras([Lora(file, 0.8, merged=merged)])
        yield (
            f"LoRA {'merged' if merged else 'beside'}",
            changed.edit(_EDIT, [random_picture(1)], **_FAST).latents,
        )


def cases(folder: Path) -> Iterator[Case]:
    """Every case, by its name.

    Args:
        folder: for files that come and go.
    """
    groups: tuple[Callable[[], Iterator[Case]], ...] = (
        in_every_form,
        options_of_an_edit,
        options_of_a_sample,
        lambda: chain_of_turns(folder),
        lambda: with_a_lora(folder),
    )
    for group in groups:
        yield from group()


def main() -> None:
    """Print them."""
    argparse.ArgumentParser(prog="python -m tools.same_bits", description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name, result in cases(Path(folder)):
            say(f"{digest(result)}  {name}")


if __name__ == "__main__":
    run(main)
