"""What does the pack cost ComfyUI's start?

    python -m benchmarks.start_up [--rounds 3]

A fresh Python each time, with what ComfyUI has loaded before it comes to custom nodes (torch, numpy, PIL,
aiohttp, its own node API) loaded too; then the pack by its path, its entry point, its list of nodes and every
node's schema, as ComfyUI asks for them. In seconds of the process's own time, the fastest of all rounds; and
what of the heavy modules came along, which must be none. Then the same of each package of the core alone:
what its `__init__` costs a program that has torch.
Aims: ComfyUI waits less than 0.3 s, and no package takes 2 s. Printed, and written to
    benchmarks/results/start_up.json.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tools import comfyui
from tools.paths import ROOT

RESULTS = Path(__file__).parent / "results"

# What no node needs before it runs: each takes long to import, or loads what does.
HEAVY = (
    "transformers", "diffusers", "sentencepiece", "tokenizers", "gguf", "scipy", "matplotlib", "triton",
    "torch._dynamo", "torch._inductor", "torch.distributed.tensor", "ray", "onnx",
)  # fmt: skip

_REGISTER = """
import asyncio, importlib.util, json, sys, time
root, comfy, base, heavy = sys.argv[1:5]
sys.path.insert(0, comfy)
sys.argv = sys.argv[:1]
import aiohttp.web, numpy, PIL.Image, PIL.ImageOps, PIL.PngImagePlugin, safetensors.torch, torch
from comfy.cli_args import args
args.cpu, args.base_directory = True, base
import folder_paths, comfy.model_management, comfy.utils
from comfy_api.latest import ComfyExtension, io, ui
before = set(sys.modules)
spent = time.process_time()
name = root.replace(".", "_x_")
spec = importlib.util.spec_from_file_location(name, root + "/__init__.py")
pack = importlib.util.module_from_spec(spec)
sys.modules[name] = pack
spec.loader.exec_module(pack)
async def ask():
    return await (await pack.comfy_entrypoint()).get_node_list()
nodes = asyncio.run(ask())
for node in nodes:
    node.GET_SCHEMA()
    node.GET_NODE_INFO_V1()
result = {"process_seconds": time.process_time() - spent, "nodes": len(nodes)}
new = set(sys.modules) - before
result["heavy"] = [one for one in heavy.split(",") if one in new]
result["core"] = sorted(one.rpartition(".kontext_core.")[2] for one in new if ".kontext_core." in one)
print(json.dumps(result))
"""


# Each package in a child of one process that has torch, so that none profits from what another has imported.
_IMPORT = """
import importlib, json, os, sys, time
root, heavy, *packages = sys.argv[1:]
sys.path.insert(0, root)
import numpy, torch
for package in packages:
    if os.fork():
        if os.wait()[1]:
            sys.exit(package + " cannot be imported")
        continue
    before, spent = set(sys.modules), time.process_time()
    importlib.import_module(package)
    seconds, new = time.process_time() - spent, set(sys.modules) - before
    found = {"process_seconds": seconds, "heavy": [one for one in heavy.split(",") if one in new]}
    print(json.dumps({package: found}), flush=True)
    os._exit(0)
"""


def register(base: Path) -> dict[str, Any]:
    """The pack registered in a fresh Python beside a real ComfyUI's modules.

    Args:
        base: an empty folder for ComfyUI.

    Returns: process_seconds, nodes, heavy (of `HEAVY`, those that came along), core (our modules that did).
    """
    command = [
        sys.executable,
        "-c",
        _REGISTER,
        str(ROOT),
        str(comfyui.get().folder),
        str(base),
        ",".join(HEAVY),
    ]
    done = subprocess.run(command, cwd=base, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        raise RuntimeError(f"the pack did not register: {done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def imported() -> dict[str, dict[str, Any]]:
    """For each package of the core: process_seconds of its import, and the modules of
    `HEAVY` that came along.
    """
    packages = sorted(
        ".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "kontext_core").rglob("__init__.py")
    )
    command = [sys.executable, "-c", _IMPORT, str(ROOT), ",".join(HEAVY), *packages]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        raise RuntimeError(f"a package did not come: {done.stderr.strip()[-2000:]}")
    return {name: found for line in done.stdout.splitlines() for name, found in json.loads(line).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as base:
        rounds = [register(Path(base)) for _ in range(options.rounds)]
    packages = [imported() for _ in range(options.rounds)]
    best = min(rounds, key=lambda one: one["process_seconds"])
    print(
        f"{best['nodes']} nodes registered in {best['process_seconds']:.2f} s of the process's own time; heavy modules: "
        f"{', '.join(best['heavy']) or 'none'}; of the core: {', '.join(best['core']) or 'nothing'}"
    )
    seconds = {name: min(one[name]["process_seconds"] for one in packages) for name in packages[0]}
    slowest = max(seconds, key=lambda name: seconds[name])
    heavy = sorted({one for found in packages[0].values() for one in found["heavy"]})
    print(
        f"{len(seconds)} packages imported one by one: the slowest is {slowest} with {seconds[slowest]:.2f} s; heavy "
        f"modules: {', '.join(heavy) or 'none'}"
    )
    RESULTS.mkdir(exist_ok=True)
    best["process_seconds"] = round(best["process_seconds"], 2)
    best["packages"] = {name: round(one, 2) for name, one in seconds.items()}
    (RESULTS / "start_up.json").write_text(json.dumps(best, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
