"""What a file is that cannot be used: by how it begins, or by the parts in which its weights are packed.

Never by its name: people rename, and downloads fail under the right name.
"""

import re
from collections.abc import Iterable

TAKE = "take the bf16 file, which can be quantised when it is loaded, or one in GGUF, fp8 or NF4"
AGAIN = "download it again"
PICKLED = "a pickled PyTorch file; opening one can run any code in it, so only safetensors and GGUF are read"

LOOKED_AT = 1024  # bytes at the beginning of a file

_LOGIN = "the download may need a login or an accepted licence"
_EXPORTED = f"exported for other programs; {TAKE}"
_POINTS = "and not the weights; run"
_ARCHIVE = "a compressed archive; unpack it, and use the files in it"

# Beginnings of files and what they are. The first row that fits counts.
_BEGINNINGS: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(pattern, re.DOTALL), what)
    for pattern, what in (
        (rb"PK\x03\x04.{26}[^\0]*(?:data\.pkl|version|byteorder|\.data/)", PICKLED),
        (rb"PK\x03\x04", _ARCHIVE),
        (rb"\x80[\x02-\x05]", PICKLED),
        (rb"\x1f\x8b|7z\xbc\xaf|Rar!\x1a|\x28\xb5\x2f\xfd|BZh[1-9]|\xfd7zXZ", _ARCHIVE),
        (rb"version https://git-lfs", f"a Git LFS pointer {_POINTS} 'git lfs pull' where it came from"),
        (rb"# xet version", f"a Xet pointer {_POINTS} 'git xet' where it came from"),
        (rb"\s*<\?xml.*<net\s", f"an OpenVINO model, {_EXPORTED}"),
        (rb"\s*<\?xml.*<Error>", f"an error message of a server, saved instead of the weights; {_LOGIN}"),
        (rb"\s*<", f"a web page, saved instead of the weights; {_LOGIN}"),
        (rb"[fp]trt", f"a TensorRT engine, built for one kind of card; {TAKE}"),
        (rb"\x08[\x01-\x1f][\x12\x1a:B].*(?:onnx|torch)", f"an ONNX model, {_EXPORTED}"),
        (rb"\x08[\x01-\x1f][\x12\x1a:B]", f"an ONNX or Core ML model, {_EXPORTED}"),
        (rb"SQLite format 3\0", f"a database, as Draw Things keeps its models; {TAKE}"),
        (rb".{4}TFL3", f"a TensorFlow Lite model, {_EXPORTED}"),
        (rb"\x89HDF\r\n", f"an HDF5 file, as Keras keeps its models; {TAKE}"),
        (rb"\x93NUMPY", f"a NumPy array; {TAKE}"),
        (rb"(?:lmgg|tjgg|fmgg|algg)", f"a file of llama.cpp from before GGUF; {TAKE}"),
        (rb"\x89PNG|\xff\xd8\xff|GIF8|RIFF....WEBP", "a picture"),
        (rb"%PDF", "a PDF document"),
        (rb"MZ|\x7fELF", "a program"),
    )
)  # fmt: skip


def begins_as(start: bytes) -> str:
    """Name a kind of file by its beginning; "" where it is none that is known by that."""
    return next((what for pattern, what in _BEGINNINGS if pattern.match(start)), "")


def what_file_is(start: bytes) -> str:
    """Say what a file is that is neither safetensors nor GGUF.

    Args:
        start: its first `LOOKED_AT` bytes.
    """
    if known := begins_as(start):
        return known
    if not start:
        return f"empty; {AGAIN}"
    if not start.strip(b"\0"):
        return f"nothing but zeros at the start, as after an incomplete download; {AGAIN}"
    line = start.decode("utf-8", errors="replace").strip().splitlines()[:1]
    if line and line[0].isprintable() and "\ufffd" not in line[0]:
        return f"text that starts with {line[0][:40]!r}, not weights; {AGAIN}"
    return "something else, by its first bytes"


# The parts in which programs pack a weight, by the last words of their names; all of a row must be there. The
# first row that fits counts. Source: what each program writes.
_PACKED: tuple[tuple[tuple[str, ...], str], ...] = (
    (("qweight", "wscales", "lora_down"), "nunchaku's SVDQuant"),
    (("qweight", "wscales", "proj_down"), "nunchaku's SVDQuant"),
    (("qweight", "wscales", "smooth"), "nunchaku's SVDQuant"),
    (("qweight", "wscales", "smooth_factor"), "nunchaku's SVDQuant"),
    (("qweight", "wscales"), "nunchaku's AWQ"),
    (("qweight", "scaled_zeros"), "nunchaku's AWQ"),
    (("qweight", "qzeros", "g_idx"), "GPTQ"),
    (("qweight", "qzeros"), "AWQ or GPTQ"),
    (("qweight", "scales"), "AWQ or GPTQ"),
    (("q_weight", "q_scale"), "EXL2 of ExLlama"),
    (("trellis", "suh"), "EXL3 of ExLlama"),
    (("W_q",), "HQQ"),
    (("weight._data", "weight._scale"), "quanto's form"),
    (("weight._data._data",), "quanto's form"),
    (("svd_up", "svd_down"), "SDNQ of SD.Next"),
    (("encoded_exponent", "sign_mantissa"), "DFloat11"),
    (("weight_packed", "weight_scale"), "compressed-tensors"),
    (("weight_scale_2",), "NVFP4, as NVIDIA's ModelOpt and ComfyUI save it"),
    (("weight_scale_inv",), "fp8 in blocks (finegrained)"),
    (("weights_scaling_factor",), "TensorRT-LLM's form"),
    (("codes", "codebooks"), "AQLM"),
    (("indices", "centroids"), "VPTQ"),
    (("scales", "biases"), "MLX, for Apple's computers"),
    (("weight", "zero_point", "scale"), "integers with zero points, as SDNQ of SD.Next has them"),
)  # fmt: skip

# What the same programs call themselves in a configuration.
METHODS = {
    "svdquant": "nunchaku's SVDQuant", "nunchaku": "nunchaku's SVDQuant", "quanto": "quanto's form",
    "gptq": "GPTQ", "awq": "AWQ", "hqq": "HQQ", "sdnq": "SDNQ of SD.Next", "exl2": "EXL2 of ExLlama",
    "exl3": "EXL3 of ExLlama", "compressed-tensors": "compressed-tensors", "modelopt": "NVIDIA's ModelOpt",
    "aqlm": "AQLM", "vptq": "VPTQ",
}  # fmt: skip


def packed_as(keys: Iterable[str]) -> str:
    """Name the form in which weights are packed that cannot be read here; "" where it is none of these.

    Args:
        keys: of all tensors in a file.
    """
    words = {word for key in keys for word in _last_words(key)}
    return next((what for parts, what in _PACKED if words.issuperset(parts)), "")


def _last_words(key: str) -> tuple[str, ...]:
    """The last word of a name, and the last two and three."""
    words = key.rsplit(".", 3)
    return words[-1], ".".join(words[-2:]), ".".join(words[-3:])
