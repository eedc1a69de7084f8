"""Compilation of every fused kernel for cards that are not present, run by `test_fused.py`."""

import sys
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from kontext_core.kernels import triton_blocks, triton_group_norm

ROW = {"ADD": True, "NORM": True, "PACK": False, "FINITE": False, "BLOCK": 4096}
KERNELS: list[tuple[Any, dict[str, Any]]] = [
    (triton_blocks._row_kernel, ROW),
    (triton_blocks._row_kernel, ROW | {"NORM": False, "FINITE": True}),
    (triton_blocks._row_kernel, ROW | {"ADD": False, "PACK": True}),
    (triton_blocks._turn_kernel, {"HEADS": 32, "BLOCK": 128}),
    (triton_blocks._beside_kernel, {"PACK": False, "BLOCK": 4096}),
    (triton_blocks._beside_kernel, {"PACK": True, "BLOCK": 16384}),
    (triton_group_norm._moments_kernel, {"ROWS": 64, "GROUPS": 32, "WIDTH": 4}),
    (triton_group_norm._apply_kernel, {"ROWS": 16, "CHANNELS": 512, "SWISH": True}),
]
FLOATS = {"pe", "factors"}
MOMENTS = {"means", "squares", "mean", "factor", "added"}


def compiled(kernel: Any, constants: dict[str, Any], capability: int) -> str:
    """Return the PTX, after ptxas has compiled it."""
    pack = constants.get("PACK", False)
    pointers = {
        "x",
        "gate",
        "update",
        "shift",
        "scale",
        "out",
        "normed",
        "factors",
        "qkv",
        "q_scale",
        "k_scale",
        "pe",
    }
    pointers |= {"first", "second", *MOMENTS}
    types = {}
    for name in kernel.arg_names:
        if name in constants:
            types[name] = "constexpr"
        elif name in pointers:
            wide = name in MOMENTS or (name in FLOATS and (pack or name == "pe"))
            types[name] = "*fp32" if wide else "*bf16"
        else:
            types[name] = "i32"
    if pack:
        types["normed" if "normed" in types else "out"] = "*fp8e4nv"
    source = ASTSource(fn=kernel, signature=types, constexprs=constants)
    warps = (
        triton_blocks._warps(constants["BLOCK"] * constants.get("HEADS", 1)) if "BLOCK" in constants else 8
    )
    target = GPUTarget("cuda", capability, 32)
    return triton.compile(source, target=target, options={"num_warps": warps}).asm["ptx"]


for kernel, constants in KERNELS:
    for capability in (80, 90):
        if constants.get("PACK") and capability < 89:
            continue  # such cards have no float8
        ptx = compiled(kernel, constants, capability)
        assert ("cvt.rn.satfinite.e4m3x2.f32" in ptx) == bool(constants.get("PACK")), kernel
        assert "ld.global.v4" in ptx or "ld.global.v2" in ptx or "st.global" in ptx, kernel
        sys.stdout.write(f"{kernel.__name__} {capability}\n")
