"""Files that cannot be used are identified by content, and the message says what to use instead."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from kontext_core.errors import CheckpointError
from kontext_core.loading import inspect, load_transformer
from kontext_core.loading.foreign import TAKE, packed_as
from kontext_core.lora import inspect_lora
from kontext_core.model.transformer import Transformer

from .test_keys import to_diffusers

Write = Callable[..., Path]


def saved(value: object, **options: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)  # pyright: ignore[reportArgumentType]
    return buffer.getvalue()


def zipped(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, "x" * 100)
    return buffer.getvalue()


LOGIN = "the download may need a login or an accepted licence"
FILES: dict[str, tuple[bytes, str]] = {
    "PyTorch's ZIP": (saved({"a": torch.zeros(2)}), "a pickled PyTorch file; opening one can run any code"),
    "PyTorch's ZIP of a long name": (zipped(f"{'x' * 200}/data.pkl"), "a pickled PyTorch file"),
    "PyTorch's old form": (
        saved({"a": torch.zeros(2)}, _use_new_zipfile_serialization=False),
        "a pickled PyTorch file",
    ),
    "a pickle of protocol 5": (pickle.dumps({"a": 1}, protocol=5), "a pickled PyTorch file"),
    "an archive": (zipped("flux1-kontext-dev.safetensors"), "a compressed archive; unpack it"),
    "gzip": (b"\x1f\x8b\x08\x00" + bytes(range(60)), "a compressed archive"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(60), "a compressed archive"),
    "LFS": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 23802932552\n",
        "a Git LFS pointer and not the weights; run",
    ),
    "a page": (b"<!DOCTYPE html>\n<html><head>", f"a web page, saved instead of the weights; {LOGIN}"),
    "a page after empty lines": (
        b"\n\n  <html><head>" + bytes(60),
        "a web page, saved instead of the weights",
    ),
    "an error of a store": (
        b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code></Error>',
        f"an error message of a server, saved instead of the weights; {LOGIN}",
    ),
    "a refusal of the hub": (
        b"Access to model black-forest-labs/FLUX.1-Kontext-dev is restricted. You must have access to it.",
        "text that starts with 'Access to model black-forest-labs/FLUX.1', not weights; download it again",
    ),
    "an answer in JSON": (
        b'{"error":"Repository not found"}',
        'text that starts with \'{"error":"Repository not found"}\', not',
    ),
    "JSON with a brace in its ninth place": (
        b'{"err": {"code": 401, "reason": "x"}}',
        'text that starts with \'{"err": {',
    ),
    "TensorRT": (
        b"ftrt\x00\x00\x00\x00\x01\x00\x00\x00" + bytes(60),
        f"a TensorRT engine, built for one kind of card; {TAKE}",
    ),
    "ONNX by PyTorch": (
        b"\x08\x08\x12\x07pytorch\x1a\x052.1.0:\xd4\x01\n" + bytes(60),
        f"an ONNX model, exported for other programs; {TAKE}",
    ),
    "ONNX": (
        b'\x08\x0e:3\n\x0c\n\x01x\x12\x01y"\x04Relu\x12\x01g' + bytes(60),
        "an ONNX or Core ML model, exported",
    ),
    "OpenVINO": (
        b'<?xml version="1.0"?>\n<net name="Model0" version="11">',
        "an OpenVINO model, exported for other programs",
    ),
    "Draw Things": (
        b"SQLite format 3\x00" + bytes(100),
        f"a database, as Draw Things keeps its models; {TAKE}",
    ),
    "TensorFlow Lite": (b"\x1c\x00\x00\x00TFL3" + bytes(60), "a TensorFlow Lite model"),
    "Keras": (b"\x89HDF\r\n\x1a\n" + bytes(60), "an HDF5 file, as Keras keeps its models"),
    "NumPy": (b"\x93NUMPY\x01\x00v\x00{'descr': '<f4'" + bytes(60), "a NumPy array"),
    "old llama.cpp": (b"tjgg\x03\x00\x00\x00" + bytes(60), "a file of llama.cpp from before GGUF"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(60), "a picture"),
    "zeros": (
        bytes(5000),
        "nothing but zeros at the start, as after an incomplete download; download it again",
    ),
    "nothing": (b"", "empty; download it again"),
    "noise": (bytes(range(200, 256)) * 4, "something else, by its first bytes"),
}


@pytest.mark.parametrize("name", ["kontext.safetensors", "kontext.gguf"])
@pytest.mark.parametrize(("content", "said"), FILES.values(), ids=FILES)
def test_by_how_it_begins(tmp_path: Path, content: bytes, said: str, name: str) -> None:
    """As the model, as text encoders and as a LoRA; nothing in the file is executed or unpickled."""
    path = tmp_path / name
    path.write_bytes(content)
    for read in (inspect, load_transformer, inspect_lora):
        with pytest.raises(CheckpointError) as error:
            read(path)
        assert str(error.value).startswith(f"{path} is not a safetensors file: it is {said}")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
@pytest.mark.parametrize("kind", ["safetensors", "gguf"])
def test_downloads_that_did_not_end(
    transformer: Transformer, tmp_path: Path, kind: str, share: float
) -> None:
    import gguf

    path = tmp_path / f"kontext.{kind}"
    if kind == "gguf":
        writer = gguf.GGUFWriter(path, "flux")
        for key, tensor in transformer.state_dict().items():
            writer.add_tensor(key, tensor.numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    else:
        save_file(transformer.state_dict(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CheckpointError, match=r"kontext\.\w+ is cut off.*; download it again"):
        load_transformer(path)


HALF, BYTE, INT8, INT32, UINT32 = torch.bfloat16, torch.uint8, torch.int8, torch.int32, torch.uint32
E4M3 = torch.float8_e4m3fn
# By program: what stands in the place of a linear's weight, by the ends of names, with dtype and shape.
Parts = dict[str, tuple[torch.dtype, tuple[int, ...]]]
PACKED: dict[str, tuple[Parts, str]] = {
    "nunchaku's first files": (
        {
            "qweight": (INT8, (64, 32)),
            "wscales": (HALF, (1, 64)),
            "lora_down": (HALF, (64, 32)),
            "lora_up": (HALF, (64, 32)),
            "smooth": (HALF, (64,)),
            "smooth_orig": (HALF, (64,)),
            "bias": (HALF, (64,)),
        },
        "nunchaku's SVDQuant",
    ),
    "nunchaku's later files, fp4": (
        {
            "qweight": (INT8, (64, 32)),
            "wscales": (E4M3, (4, 64)),
            "proj_down": (HALF, (64, 32)),
            "proj_up": (HALF, (64, 32)),
            "smooth_factor": (HALF, (64,)),
            "wtscale": (HALF, (1,)),
            "wcscales": (HALF, (64,)),
        },
        "nunchaku's SVDQuant",
    ),
    "nunchaku's modulation": (
        {"qweight": (INT32, (16, 32)), "wscales": (HALF, (1, 64)), "wzeros": (HALF, (1, 64))},
        "nunchaku's AWQ",
    ),
    "quanto, 8 bits": (
        {
            "weight._data": (INT8, (64, 64)),
            "weight._scale": (HALF, (64, 1)),
            "input_scale": (HALF, ()),
            "output_scale": (HALF, ()),
        },
        "quanto's form",
    ),
    "quanto, float8": ({"weight._data": (E4M3, (64, 64)), "weight._scale": (HALF, (64, 1))}, "quanto's form"),
    "quanto, 4 bits": (
        {
            "weight._data._data": (BYTE, (32, 64)),
            "weight._scale": (HALF, (64, 1)),
            "weight._shift": (HALF, (64, 1)),
        },
        "quanto's form",
    ),
    "GPTQ": (
        {
            "qweight": (INT32, (8, 64)),
            "qzeros": (INT32, (1, 8)),
            "scales": (HALF, (1, 64)),
            "g_idx": (INT32, (64,)),
        },
        "GPTQ",
    ),
    "AWQ": (
        {"qweight": (INT32, (64, 8)), "qzeros": (INT32, (1, 8)), "scales": (HALF, (1, 64))},
        "AWQ or GPTQ",
    ),
    "EXL2": (
        {
            "q_weight": (INT32, (8, 64)),
            "q_scale": (INT32, (1, 8)),
            "q_groups": (torch.int16, (4,)),
            "q_invperm": (INT32, (64,)),
        },
        "EXL2 of ExLlama",
    ),
    "EXL3": (
        {"trellis": (torch.int16, (4, 4, 32)), "suh": (HALF, (64,)), "svh": (HALF, (64,))},
        "EXL3 of ExLlama",
    ),
    "HQQ": ({"W_q": (BYTE, (32, 64)), "scale": (HALF, (64, 1)), "zero": (HALF, (64, 1))}, "HQQ"),
    "SDNQ with SVD": (
        {
            "weight": (BYTE, (2048,)),
            "scale": (HALF, (64, 1, 1)),
            "zero_point": (HALF, (64, 1, 1)),
            "svd_up": (HALF, (64, 8)),
            "svd_down": (HALF, (8, 64)),
        },
        "SDNQ of SD.Next",
    ),
    "SDNQ": (
        {"weight": (BYTE, (2048,)), "scale": (HALF, (64, 1, 1)), "zero_point": (HALF, (64, 1, 1))},
        "integers with zero points, as SDNQ of SD.Next has them",
    ),
    "DFloat11": (
        {
            "encoded_exponent": (BYTE, (900,)),
            "sign_mantissa": (BYTE, (4096,)),
            "luts": (BYTE, (3, 256)),
            "gaps": (BYTE, (9,)),
            "output_positions": (UINT32, (4,)),
            "split_positions": (torch.int64, (3,)),
        },
        "DFloat11",
    ),
    "compressed-tensors": (
        {
            "weight_packed": (INT32, (64, 8)),
            "weight_scale": (HALF, (64, 1)),
            "weight_shape": (torch.int64, (2,)),
        },
        "compressed-tensors",
    ),
    "NVFP4": (
        {
            "weight": (BYTE, (64, 32)),
            "weight_scale": (E4M3, (64, 4)),
            "weight_scale_2": (torch.float32, ()),
            "input_scale": (torch.float32, ()),
        },
        "NVFP4, as NVIDIA's ModelOpt and ComfyUI save it",
    ),
    "fp8 in blocks": (
        {"weight": (E4M3, (64, 64)), "weight_scale_inv": (torch.float32, (1, 1))},
        "fp8 in blocks",
    ),
    "MLX": (
        {"weight": (UINT32, (64, 8)), "scales": (HALF, (64, 1)), "biases": (HALF, (64, 1))},
        "MLX, for Apple's computers",
    ),
}


def packed_file(linear: str, parts: Parts, others: dict[str, Tensor]) -> dict[str, Tensor]:
    return others | {
        f"{linear}.{end}": torch.zeros(shape, dtype=dtype) for end, (dtype, shape) in parts.items()
    }


@pytest.mark.parametrize(("parts", "form"), PACKED.values(), ids=PACKED)
def test_by_the_parts_of_packed_weights(
    write: Write, transformer: Transformer, parts: Parts, form: str
) -> None:
    """Under the published names, diffusers' and T5's, beside plain tensors; said by all who open it."""
    published = {key: one for key, one in transformer.state_dict().items() if "blocks" not in key}
    for linear, part, title in (
        ("double_blocks.0.img_attn.proj", "transformer", "a transformer"),
        ("single_transformer_blocks.0.proj_mlp", "transformer", "a transformer"),
        ("encoder.block.0.layer.0.SelfAttention.q", "t5", "a T5 text encoder"),
    ):
        path = write("kontext.safetensors", packed_file(linear, parts, published if part != "t5" else {}))
        report = inspect(path)
        assert (report.kind, report.config) == (part, None)
        assert report.title.startswith(f"{title} packed as {form}")
        assert report.refusal.startswith(f"it is packed as {form}")
        assert report.refusal.endswith(f", which only its own programs can read; {TAKE}")
    path = write("kontext.safetensors", packed_file("double_blocks.0.img_attn.proj", parts, published))
    with pytest.raises(CheckpointError) as error:
        load_transformer(path)
    assert f"{path} cannot be used as the transformer: it is packed as {form}" in str(error.value)
    with pytest.raises(CheckpointError, match="is not a LoRA: it holds weights that are packed as"):
        inspect_lora(path)


def test_parts_of_a_model_that_is_none_here(write: Write) -> None:
    """The sentence says what to use instead, not how a transformer's file is named."""
    path = write("kontext.safetensors", packed_file("blocks.7.mlp", PACKED["GPTQ"][0], {}))
    with pytest.raises(CheckpointError) as error:
        load_transformer(path)
    assert (
        str(error.value)
        == f"{path} is a file of weights packed as GPTQ and not the transformer of FLUX.1; {TAKE}"
    )


def test_nothing_that_can_be_read_is_taken_for_it(transformer: Transformer) -> None:
    """By its own names, diffusers', LoRAs' and those of the forms that open."""
    own = transformer.state_dict()
    from kontext_core.loading.keys import transformer_rules

    helpers = (
        "weight.absmax",
        "weight.quant_map",
        "weight.quant_state.bitsandbytes__nf4",
        "scale_weight",
        "weight_scale",
        "input_scale",
        "scale_input",
        "comfy_quant",
        "_weight_qdata",
        "_weight_scale",
        "_weight_zero_point",
        "lora_down.weight",
        "lora_up.weight",
        "alpha",
        "lora_A.weight",
        "lora_B.weight",
        "dora_scale",
        "lokr_w1",
        "diff_b",
    )
    keys = [*own, *to_diffusers(own, transformer_rules(2, 3), 64)]
    keys += [f"double_blocks.0.img_attn.proj.{end}" for end in helpers]
    assert packed_as(keys) == ""


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int32, torch.bool])
def test_whole_numbers_in_place_of_weights(
    write: Write, transformer: Transformer, dtype: torch.dtype
) -> None:
    """They are never mistaken for the weights themselves."""
    key = "double_blocks.0.img_attn.proj.weight"
    tensors = transformer.state_dict() | {key: torch.ones(64, 64).to(dtype)}
    path = write("kontext.safetensors", tensors, asdict(transformer.config))
    name = str(dtype).removeprefix("torch.")
    said = rf"1 of its tensors hold {name} and nothing says what they stand for \({key}\); take the bf16 file"
    with pytest.raises(CheckpointError, match=said):
        load_transformer(path)


def test_a_folder_of_nunchaku(write: Write, tmp_path: Path) -> None:
    """Blocks in one file, what is not packed in another, and a configuration of its own."""
    parts = PACKED["nunchaku's first files"][0]
    write("m/transformer_blocks.safetensors", packed_file("transformer_blocks.0.qkv_proj", parts, {}))
    write("m/unquantized_layers.safetensors", {"x_embedder.weight": torch.zeros(64, 64)})
    (tmp_path / "m" / "config.json").write_text(json.dumps({"_class_name": "NunchakuFluxTransformer2dModel"}))
    with pytest.raises(
        CheckpointError, match="cannot be used as the transformer: it is packed as nunchaku's SVDQuant"
    ):
        load_transformer(tmp_path / "m")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            saved({"a": torch.zeros(2)}),
            "holds weights.any: a pickled PyTorch file; .*; get the model as safetensors, or convert it where it",
        ),
        (
            b"\x08\x08\x12\x07pytorch\x1a\x052.1.0:",
            "holds weights.any: an ONNX model, exported for other programs; take the bf16",
        ),
        (b"readme", "holds none$"),
    ],
)
def test_a_folder_with_other_files_alone(tmp_path: Path, content: bytes, said: str) -> None:
    """Recognised by their contents."""
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "weights.any").write_bytes(content)
    with pytest.raises(CheckpointError, match=f"a safetensors file is needed in .*, which {said}"):
        inspect(tmp_path)
