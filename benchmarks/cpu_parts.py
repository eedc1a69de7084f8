"""What single parts of the model cost or lose on a CPU, in the forms that were weighed against each other.

    python -m benchmarks.cpu_parts [--rounds 400]

One thread, its own time, the fastest of all rounds, forms in turns: products with weights as stored and laid
out inputs first (`tensor_data.lay_out_for_cpu`), GELU and attention in several forms, the group norm of large
pictures by torch and by rows with its error (largest, against float64), and how many times its largest layer
an autoencoder takes beside its weights. Printed, and written to benchmarks/results/cpu_parts.json.
"""

import argparse
import json
import math
import multiprocessing
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kontext_core.config import FLUX_VAE
from kontext_core.kernels import cpu
from kontext_core.kernels.group_norm import group_norm_by_rows
from kontext_core.loading import load_vae
from kontext_core.loading.locate import TINY_FOLDER
from kontext_core.model.tiled_vae import largest_layer
from kontext_core.model.vae import VAE

RESULTS = Path(__file__).parent / "results"
# (tokens, inputs, outputs): of a step of benchmarks.cpu_forward, and larger ones.
PRODUCTS = (
    (144, 128, 896), (144, 640, 128), (128, 128, 512), (128, 512, 128), (128, 128, 384), (16, 128, 512),
    (320, 128, 512), (144, 512, 2048), (64, 3072, 3072),
)  # fmt: skip
SIDES = (128, 256, 512, 1024, 2048, 4096)
PICTURES = (("tiny", 1024), ("tiny", 2048), ("published", 512))


def fastest(forms: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Microseconds of each form's fastest round, after one to warm up."""
    found = dict.fromkeys(forms, math.inf)
    for number in range(rounds + 1):
        for name, form in forms.items():
            start = time.thread_time_ns()
            form()
            if number:
                found[name] = min(found[name], (time.thread_time_ns() - start) / 1000)
    return found


def products(rounds: int) -> dict[str, float]:
    """How many times as fast a product is with its weight laid out."""
    found: dict[str, float] = {}
    for tokens, inputs, outputs in PRODUCTS:
        x, weight, bias = torch.randn(tokens, inputs), torch.randn(outputs, inputs), torch.randn(outputs)
        laid_out = weight.t().contiguous().t()
        forms = {
            "stored": partial(F.linear, x, weight, bias),
            "laid out": partial(F.linear, x, laid_out, bias),
        }
        took = fastest(forms, max(5, min(rounds, int(2e10 / (tokens * inputs * outputs)))))
        found[f"{tokens} x {inputs} x {outputs}"] = took["stored"] / took["laid out"]
    return found


def gelu(rounds: int) -> dict[str, float]:
    """Microseconds for 144 x 512 numbers."""
    x = torch.randn(1, 144, 512)
    first, third = torch.tensor(-2 * math.sqrt(2 / math.pi)), -2 * math.sqrt(2 / math.pi) * 0.044715

    def by_exponential() -> Tensor:
        below = torch.addcmul(first, x, x, value=third).mul_(x).exp_().add_(1)
        return torch.div(x, below, out=below)

    torch.testing.assert_close(by_exponential(), cpu.gelu(x))
    forms = {"torch": lambda: F.gelu(x, approximate="tanh"), "ours": lambda: cpu.gelu(x)}
    return fastest({**forms, "exponential and division": by_exponential}, rounds)


def attention(rounds: int) -> dict[str, float]:
    """Microseconds for 4 heads of 32, 144 tokens."""
    q, k, v = torch.randn(3, 1, 4, 144, 32).unbind()

    def by_products() -> Tensor:
        return torch.bmm(torch.softmax(torch.bmm(q[0] * 32**-0.5, k[0].transpose(1, 2)), -1), v[0])

    torch.testing.assert_close(by_products(), F.scaled_dot_product_attention(q, k, v)[0])
    forms = {"torch": lambda: F.scaled_dot_product_attention(q, k, v), "two products": by_products}
    return fastest(forms, rounds)


def group_norm() -> dict[str, dict[str, float]]:
    """By side in px: errors of torch's, contiguous and channels last, and of ours; how
    many times as fast ours is.
    """
    found: dict[str, dict[str, float]] = {}
    norm = nn.GroupNorm(8, 16, eps=1e-6)
    for side in SIDES:
        plain = torch.randn(1, 16, side, side, generator=torch.Generator().manual_seed(0)) + 0.5
        x = plain.contiguous(memory_format=torch.channels_last)
        group = plain[:, :2].double()
        exact = (group - group.mean()) / (group.var(correction=0) + norm.eps).sqrt()

        def error(form: Callable[[], Tensor], exact: Tensor = exact) -> float:
            return (form()[:, :2] - exact).abs().max().item()

        forms = {"torch": lambda x=x: norm(x), "ours": lambda x=x: group_norm_by_rows(norm, x)}
        found[str(side)] = {
            "torch, contiguous": error(lambda plain=plain: norm(plain)),
            "torch, channels last": error(forms["torch"]),
            "ours": error(forms["ours"]),
        }
        took = fastest(forms, 5)
        found[str(side)]["times as fast"] = took["torch"] / took["ours"]
    return found


def resident() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096


def work(which: str, side: int, said: Connection) -> None:
    """Sends the peak of memory while a picture is decoded, over the largest layer."""
    torch.set_num_threads(1)
    vae = load_vae(TINY_FOLDER, dtype=torch.float32) if which == "tiny" else VAE(FLUX_VAE).eval()
    latents, peaks, ended = torch.randn(1, 16, side // 8, side // 8), [resident()], threading.Event()

    def watch() -> None:
        while not ended.wait(0.002):
            peaks.append(resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    with torch.no_grad():
        vae.decode(latents)
    ended.set()
    watcher.join()
    said.send((max(peaks) - peaks[0]) / (4 * largest_layer(vae.config, side, side)))


def autoencoder() -> dict[str, float]:
    """By picture: how many times its largest layer."""
    spawning, found = multiprocessing.get_context("spawn"), dict[str, float]()
    for which, side in PICTURES:
        hears, says = spawning.Pipe(duplex=False)
        process = spawning.Process(target=work, args=(which, side, says))
        process.start()
        found[f"{which}, {side} px"] = hears.recv()
        process.join()
    return found


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description="What single parts of the model cost or lose on a CPU.")
    parser.add_argument("--rounds", type=int, default=400)
    rounds: int = parser.parse_args().rounds
    torch.set_num_threads(1)
    result = {
        "command": f"python -m benchmarks.cpu_parts --rounds {rounds}",
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "products, times as fast laid out": products(rounds),
        "gelu, us": gelu(rounds),
        "attention, us": attention(rounds),
        "group norm": group_norm(),
        "autoencoder's memory over its largest layer": autoencoder(),
    }
    print(json.dumps(result, indent=2))
    (RESULTS / "cpu_parts.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
