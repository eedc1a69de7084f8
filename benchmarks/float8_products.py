"""What do products in float8 cost, block by block and in the velocity?

    python -m benchmarks.float8_products

The tiny model's transformer with `optimise.multiply_in_float8`, on a CPU: rows of numbers and of weights are
rounded as on a card, sums are float32. Each block is given what it is given in float32; of its result and of
what it adds to its input the relative L2 error counts, for a double block that of the image's tokens. Beside
it bfloat16 as it is, and float8 that only stores the weights. Printed, and written to
benchmarks/results/float8_products.json.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.formats import error, velocity
from kontext_core.loading import load_transformer
from kontext_core.loading.locate import TINY_FOLDER
from kontext_core.model.optimise import multiply_in_float8
from kontext_core.model.transformer import Transformer

RESULTS = Path(__file__).parent / "results" / "float8_products.json"

Calls = dict[str, tuple[tuple[Any, ...], dict[str, Any], Tensor]]


def blocks(model: Transformer) -> dict[str, nn.Module]:
    doubles = {f"double_blocks.{i}": block for i, block in enumerate(model.double_blocks)}
    return doubles | {f"single_blocks.{i}": block for i, block in enumerate(model.single_blocks)}


def image(result: Tensor | tuple[Tensor, Tensor]) -> Tensor:
    return result[0] if isinstance(result, tuple) else result


def recorded(model: Transformer) -> Calls:
    """What each block is called with in one step, and what it makes of it."""
    calls: Calls = {}

    def keep(name: str) -> Callable[..., None]:
        return lambda _, args, kwargs, result: calls.update({name: (args, kwargs, image(result))})

    handles = [
        block.register_forward_hook(keep(name), with_kwargs=True) for name, block in blocks(model).items()
    ]
    velocity(model)
    for handle in handles:
        handle.remove()
    return calls


@torch.no_grad()
def by_block(model: Transformer, calls: Calls) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for name, block in blocks(model).items():
        args, kwargs, wanted = calls[name]
        made, before = image(block(*args, **kwargs)), args[0][:, kwargs.get("wanted", slice(None))]
        found[name] = {"result": error(made, wanted), "what it adds": error(made - before, wanted - before)}
    return found


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    exact = load_transformer(TINY_FOLDER, dtype=torch.float32)
    wanted, calls = velocity(exact), recorded(exact)
    multiplied = load_transformer(TINY_FOLDER, dtype=torch.float32)
    count = multiply_in_float8(multiplied)
    found = {
        "linears": count,
        "velocity": {
            "float8 products": error(velocity(multiplied), wanted),
            "float8 weights alone": error(
                velocity(load_transformer(TINY_FOLDER, dtype=torch.float32, quantise="fp8")), wanted
            ),
            "bfloat16": error(velocity(load_transformer(TINY_FOLDER, dtype=torch.bfloat16)).float(), wanted),
        },
        "blocks": by_block(multiplied, calls),
        "torch": torch.__version__,
    }
    text = json.dumps(found, indent=2, default=float)
    RESULTS.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
