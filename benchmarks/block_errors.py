"""What does each format of weights cost one block of the published width?

    python -m benchmarks.block_errors

One double and one single block of 3072 with random weights (normal, scaled by the fan-in) in every scheme in
which weights can be packed, and in those of GGUF that the gguf package can write. The linears of one block at
a time are packed, its modulation is not. For each: relative L2 error of the block's output against float32,
and of what the block adds to its input. Printed, and written to benchmarks/results/block_errors.json after
each format.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gguf
import torch
from torch import Tensor, nn

from kontext_core.config import KONTEXT_DEV
from kontext_core.model.positions import layout_ids, target_ids, text_ids
from kontext_core.model.transformer import Transformer
from kontext_core.quant.float8 import Float8
from kontext_core.quant.gguf import Blocks
from kontext_core.quant.layer import PackedLinear, PackedWeight, UnquantisedRows
from kontext_core.quant.schemes import SCHEMES, fits, pack

RESULTS = Path(__file__).parent / "results"
GGUF = ("Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0")
SIDE, N_TEXT = 4, 16  # tokens
Pack = Callable[[Tensor], PackedWeight]


def by_gguf(kind: str) -> Pack:
    def packed(weight: Tensor) -> PackedWeight:
        return Blocks(kind, torch.from_numpy(gguf.quantize(weight.numpy(), gguf.GGMLQuantizationType[kind])))

    return packed


def formats() -> dict[str, Pack]:
    made: dict[str, Pack] = {
        "bfloat16": lambda weight: UnquantisedRows(weight.bfloat16()),
        "float16": lambda weight: UnquantisedRows(weight.half()),
        "fp8 e4m3": lambda weight: Float8(weight.to(torch.float8_e4m3fn)),
        "fp8 e5m2": lambda weight: Float8(weight.to(torch.float8_e5m2)),
    }
    made |= {scheme: lambda weight, scheme=scheme: pack(weight, scheme) for scheme in SCHEMES}
    return made | {f"GGUF {kind}": by_gguf(kind) for kind in GGUF}


def random_model() -> Transformer:
    """One block of each kind. Biases 0, scales of norms 1 and gates of about 1, as nothing says better."""
    config = replace(KONTEXT_DEV, depth=1, depth_single_blocks=1)
    with torch.device("meta"):
        model = Transformer(config)
    generator = torch.Generator().manual_seed(0)
    tensors: dict[str, Tensor] = {}
    for name, one in model.state_dict().items():
        made = torch.ones(one.shape) if name.endswith("norm.scale") else torch.zeros(one.shape)
        tensors[name] = made.normal_(0, one.shape[1] ** -0.5, generator=generator) if one.ndim == 2 else made
    model.load_state_dict(tensors, assign=True)
    return model.eval().requires_grad_(False)


def seen(model: Transformer) -> dict[str, tuple[Tensor, Tensor]]:
    """What goes into each block and what comes out, text and pictures side by side."""
    found: dict[str, tuple[Tensor, Tensor]] = {}

    def listen(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, given: tuple[Tensor, ...], out: Tensor | tuple[Tensor, Tensor]) -> None:
            before = given[:2] if isinstance(out, tuple) else (given[0][:, -out.shape[1] :],)
            after = out if isinstance(out, tuple) else (out,)
            found[name] = torch.cat(before, dim=1).clone(), torch.cat(after, dim=1).clone()

        return hook

    config = model.config
    generator = torch.Generator().manual_seed(1)
    ids = torch.cat([target_ids(SIDE, SIDE), *layout_ids((SIDE, SIDE), [], config.layout)[1:]], dim=1)
    img = torch.randn(1, ids.shape[1], config.in_channels, generator=generator)
    txt = torch.randn(1, N_TEXT, config.context_in_dim, generator=generator)
    pooled = torch.randn(1, config.vec_in_dim, generator=generator)
    blocks = {"double": model.double_blocks[0], "single": model.single_blocks[0]}
    handles = [block.register_forward_hook(listen(name)) for name, block in blocks.items()]
    half = torch.tensor([0.5])
    model(img, ids, txt, text_ids(1, N_TEXT), half, pooled, guidance=5 * half)
    for handle in handles:
        handle.remove()
    return found


def error(actual: Tensor, wanted: Tensor) -> float:
    return ((actual - wanted).norm() / wanted.norm()).item()


def measured(model: Transformer, name: str, packed: Pack, before: Tensor, wanted: Tensor) -> dict[str, float]:
    """With the linears of one block packed, which are then put back."""
    block = {"double": model.double_blocks[0], "single": model.single_blocks[0]}[name]
    linears = {
        key: module
        for key, module in block.named_modules()
        if isinstance(module, nn.Linear) and fits(tuple(module.weight.shape)) and "mod" not in key
    }
    for key, module in linears.items():
        block.set_submodule(key, PackedLinear([packed(module.weight)], module.bias))
    _, found = seen(model)[name]
    for key, module in linears.items():
        block.set_submodule(key, module)
    return {"output": error(found, wanted), "added": error(found - before, wanted - before)}


def main() -> None:
    torch.set_grad_enabled(False)
    model = random_model()
    plain = seen(model)
    rows: dict[str, dict[str, dict[str, float]]] = {}
    for form, packed in formats().items():
        rows[form] = {name: measured(model, name, packed, *plain[name]) for name in plain}
        print(
            f"{form:12} " + "  ".join(f"{name} {row['output']:.2e}" for name, row in rows[form].items()),
            flush=True,
        )
        result = {"width": KONTEXT_DEV.hidden_size, "tokens": SIDE**2 + N_TEXT, "formats": rows}
        (RESULTS / "block_errors.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
