"""GGUF files written by the gguf package load with its own values; damaged ones are refused."""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from torch import Tensor

from kontext_core.config import TransformerConfig
from kontext_core.errors import CheckpointError
from kontext_core.loading import inspect, load_text_encoders, load_transformer, save_model
from kontext_core.loading.checkpoint import open_checkpoint
from kontext_core.model.transformer import Transformer
from kontext_core.quant.gguf import BLOCK_SIZES
from kontext_core.quant.layer import PackedLinear, packed_bytes, whole_state_dict
from tests.core.loading.conftest import randomise
from tests.core.packed_blocks import random_rows

WRITTEN = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1")  # by the gguf package itself

Write = Callable[..., Path]


@pytest.fixture(scope="module")
def transformer(transformer: Transformer) -> Transformer:
    """One block of each kind is enough here."""
    config = replace(transformer.config, depth=1, depth_single_blocks=1)
    return randomise(Transformer(config))


@pytest.fixture
def write_gguf(tmp_path: Path) -> Write:
    """Writes tensors; matrices of whole blocks as `kind`, others as F32.

    Given bytes are blocks of `kind` already.
    """

    def write(
        name: str, tensors: dict[str, Tensor], kind: str, config: Any = None, architecture: str = "flux"
    ) -> Path:
        path = tmp_path / name
        writer = gguf.GGUFWriter(path, architecture)
        if config is not None:
            writer.add_string("kontext.config", json.dumps(config))
        for key, tensor in tensors.items():
            numbers, own = tensor.numpy(), gguf.GGMLQuantizationType[kind]
            whole = gguf.GGML_QUANT_SIZES[own][0]
            if tensor.dtype == torch.uint8:
                writer.add_tensor(key, numbers, raw_dtype=own)
            elif (
                tensor.dtype == torch.float32
                and tensor.ndim == 2
                and tensor.shape[1] % whole == 0
                and kind in WRITTEN
            ):
                writer.add_tensor(key, gguf.quantize(numbers, own), raw_dtype=own)
            else:
                writer.add_tensor(key, numbers)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    return write


def _rounded(tensors: dict[str, Tensor], kind: str) -> dict[str, Tensor]:
    """Return the values that the gguf package unpacks."""
    own = gguf.GGMLQuantizationType[kind]
    whole = gguf.GGML_QUANT_SIZES[own][0]
    return {
        key: torch.from_numpy(gguf.dequantize(gguf.quantize(one.numpy(), own), own)).view(one.shape)
        if one.ndim == 2 and one.shape[1] % whole == 0
        else one
        for key, one in tensors.items()
    }


@pytest.mark.parametrize(
    ("kind", "prefix"), [*((kind, "") for kind in WRITTEN), ("Q8_0", "model.diffusion_model.")]
)
def test_a_transformer(
    transformer: Transformer, write_gguf: Write, velocity: Any, assert_close: Any, kind: str, prefix: str
) -> None:
    tensors = transformer.state_dict()
    named = {prefix + key: tensor for key, tensor in tensors.items()}
    path = write_gguf("x.gguf", named, kind, asdict(transformer.config))
    loaded = load_transformer(path, dtype=torch.float32)
    assert loaded.config == transformer.config
    expected = _rounded(tensors, kind)
    actual = whole_state_dict(loaded)
    assert set(actual) == set(expected)
    assert all(torch.equal(actual[key], tensor) for key, tensor in expected.items())
    same = Transformer(transformer.config).eval()
    same.load_state_dict(expected)
    assert_close(velocity(loaded), velocity(same))

    report = inspect(path)
    assert report.format == "published names, GGUF"
    assert kind in report.dtypes
    assert (packed_bytes(loaded) > 0) == (kind in BLOCK_SIZES)
    assert packed_bytes(load_transformer(path, quantise="full")) == 0


def test_the_packed_model_is_as_large_as_its_file(transformer: Transformer, write_gguf: Write) -> None:
    config = asdict(transformer.config)
    path = write_gguf("x.gguf", transformer.state_dict(), "Q4_0", config)
    loaded = load_transformer(path, dtype=torch.bfloat16)
    linears = [module for module in loaded.modules() if isinstance(module, PackedLinear)]
    assert len(linears) == 10 + 3  # with the modulation of each block
    plain = sum(tensor.nbytes for key, tensor in loaded.state_dict().items() if ".pieces." not in key)
    small = {
        key for key in transformer.state_dict() if not key.startswith(("double_blocks", "single_blocks"))
    }
    multiplied_out = sum(transformer.state_dict()[key].numel() for key in small) * 2
    assert packed_bytes(loaded) + plain <= path.stat().st_size + multiplied_out
    source = linears[0].pieces[0].stored
    again = (
        load_transformer(path, dtype=torch.bfloat16).get_submodule("double_blocks.0.img_mod.lin").pieces[0]
    )
    assert source.data_ptr() != again.stored.data_ptr()  # each is mapped from the file
    assert loaded.dtype == torch.bfloat16


WIDE = TransformerConfig(
    in_channels=64, out_channels=64, vec_in_dim=128, context_in_dim=128, hidden_size=256, mlp_ratio=2.0, num_heads=4,
    depth=1, depth_single_blocks=1, axes_dim=(16, 24, 24), theta=100, qkv_bias=True, guidance_embed=True, text_length=32,
)  # fmt: skip


@pytest.mark.parametrize("kind", [kind for kind in BLOCK_SIZES if kind.endswith("_K")])
def test_k_quants_of_layers_that_are_wide_enough(
    write_gguf: Write, velocity: Any, assert_close: Any, kind: str
) -> None:
    torch.manual_seed(0)
    model = Transformer(WIDE).eval()
    numbers, size = BLOCK_SIZES[kind]
    stored, expected = {}, {}
    for number, (key, tensor) in enumerate(model.state_dict().items()):
        stored[key] = expected[key] = tensor
        if tensor.ndim == 2 and tensor.shape[1] % numbers == 0 and "_in." not in key and "final" not in key:
            blocks = random_rows(kind, tensor.shape[0], tensor.shape[1] // numbers, scale=1e-3, seed=number)
            stored[key] = blocks
            expected[key] = torch.from_numpy(gguf.dequantize(blocks.numpy(), gguf.GGMLQuantizationType[kind]))
    loaded = load_transformer(write_gguf("x.gguf", stored, kind, asdict(WIDE)), dtype=torch.float32)
    model.load_state_dict(expected)
    assert packed_bytes(loaded) == sum(one.nbytes for one in stored.values() if one.dtype == torch.uint8)
    assert_close(velocity(loaded), velocity(model))
    assert size * 8 / numbers < 7


def test_diffusers_names_and_mixed_types(
    transformer: Transformer, write_gguf: Write, velocity: Any, assert_close: Any
) -> None:
    """Parts of a fused matrix may be packed and others not."""
    from kontext_core.loading.keys import transformer_rules
    from tests.core.loading.test_keys import to_diffusers

    named = to_diffusers(transformer.state_dict(), transformer_rules(1, 1), 64)
    key = "transformer_blocks.0.attn.to_k.weight"
    rounded = _rounded(named, "Q8_0") | {key: named[key].half().float()}
    path = write_gguf("x.gguf", named | {key: named[key].half()}, "Q8_0", asdict(transformer.config))
    assert inspect(path).dtypes["F16"] == 1  # written as it is
    loaded = load_transformer(path, dtype=torch.float32)
    qkv = loaded.double_blocks[0].img_attn.qkv
    assert isinstance(qkv, PackedLinear)
    assert len(qkv.pieces) == 3
    expected = torch.cat([rounded[f"transformer_blocks.0.attn.to_{name}.weight"] for name in "qkv"])
    assert torch.equal(qkv.dequantise(torch.float32), expected)
    linear1 = loaded.single_blocks[0].linear1
    assert [piece.shape[0] for piece in linear1.pieces] == [64, 64, 64, 256]
    assert_close(velocity(loaded), velocity(transformer), 5e-2)


def test_t5_by_llama_cpp_s_names(text_encoders: Any, write_gguf: Write, tmp_path: Path) -> None:
    save_model(tmp_path / "m", text_encoders=text_encoders, dtype=torch.float32)
    t5 = text_encoders.t5
    names = {
        "SelfAttention.q": "attn_q", "SelfAttention.k": "attn_k", "SelfAttention.v": "attn_v",
        "SelfAttention.o": "attn_o", "SelfAttention.relative_attention_bias": "attn_rel_b",
        "DenseReluDense.wi_0": "ffn_gate", "DenseReluDense.wi_1": "ffn_up", "DenseReluDense.wo": "ffn_down",
        "0.layer_norm": "attn_norm", "1.layer_norm": "ffn_norm",
    }  # fmt: skip
    tensors = {"token_embd.weight": t5.shared.weight.detach()}
    tensors["enc.output_norm.weight"] = t5.encoder.final_layer_norm.weight.detach()
    for i, block in enumerate(t5.encoder.block):
        for key, tensor in block.named_parameters():
            name = next(short for long, short in names.items() if key.endswith(f"{long}.weight"))
            tensors[f"enc.blk.{i}.{name}.weight"] = tensor.detach()
    tensors["dec.blk.0.attn_q.weight"] = torch.zeros(1)
    path = write_gguf("t5.gguf", tensors, "Q8_0", t5.config.to_dict(), architecture="t5")
    paths = {"text_encoder": tmp_path / "m" / "text_encoder", "text_encoder_2": path}
    paths |= {name: tmp_path / "m" / name for name in ("tokenizer", "tokenizer_2")}
    loaded = load_text_encoders(paths, dtype=torch.float32, text_length=32)
    assert inspect(path).format == "llama.cpp's names, GGUF"
    assert packed_bytes(loaded.t5) > 0
    weights = whole_state_dict(loaded.t5)
    expected = _rounded(t5.state_dict(), "Q8_0")
    assert all(torch.equal(weights[key], expected[key]) for key in expected)
    for actual, wanted in zip(loaded.encode("make it red"), text_encoders.encode("make it red"), strict=True):
        assert (actual - wanted).norm() / wanted.norm() < 0.02


def test_a_matrix_stored_in_another_shape(tmp_path: Path) -> None:
    """As city96's converter stores those whose rows are no whole blocks."""
    path = tmp_path / "x.gguf"
    numbers = np.random.default_rng(0).normal(size=(6, 32)).astype(np.float32)

    def write(shape: list[int]) -> None:
        writer = gguf.GGUFWriter(path, "flux")
        writer.add_array("comfy.gguf.orig_shape.a", shape)
        writer.add_tensor(
            "a",
            gguf.quantize(numbers, gguf.GGMLQuantizationType.Q8_0),
            raw_dtype=gguf.GGMLQuantizationType.Q8_0,
        )
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    write([12, 16])
    tensor = open_checkpoint(path).weights["a"]
    assert tensor.shape == (12, 16)
    assert tensor.packed is None
    assert np.allclose(tensor.read().reshape(6, 32), numbers, atol=0.02)
    for shape in ([12, 17], [-12, -16], [0, 0]):
        write(shape)
        with pytest.raises(CheckpointError, match=r"'a' of shape \(6, 32\) cannot have shape"):
            open_checkpoint(path)


def test_without_the_gguf_package(write_gguf: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for its tables alone."""
    plain = write_gguf("x.gguf", {"a": torch.arange(2.0)}, "F32")
    tables = write_gguf("y.gguf", {"a": random_rows("IQ2_S", 2, 1)}, "IQ2_S")
    for name in [name for name in sys.modules if name.split(".")[0] == "gguf"]:
        monkeypatch.setitem(sys.modules, name, None)
    assert open_checkpoint(plain).weights["a"].read().tolist() == [0, 1]
    with pytest.raises(
        CheckpointError,
        match="holds IQ2_S, whose tables are in a package that is not installed: pip install gguf",
    ):
        open_checkpoint(tables)


SMALL = [kind for kind in BLOCK_SIZES if not kind.startswith("Q")]


@pytest.mark.parametrize("kind", SMALL)
def test_i_quants_and_their_like_stay_packed(
    write_gguf: Write, velocity: Any, assert_close: Any, kind: str
) -> None:
    """With the very numbers that the gguf package makes of them, at the size that they have in the file."""
    torch.manual_seed(0)
    model = Transformer(WIDE).eval()
    numbers, _ = BLOCK_SIZES[kind]
    stored, expected = {}, {}
    for number, (key, tensor) in enumerate(model.state_dict().items()):
        stored[key] = expected[key] = tensor
        if tensor.ndim == 2 and "blocks" in key:
            blocks = random_rows(kind, tensor.shape[0], tensor.shape[1] // numbers, scale=1e-3, seed=number)
            if kind == "MXFP4":
                blocks.view(-1, 17)[:, 0] = 112  # a factor that is no more than others' are
            if kind == "NVFP4":
                blocks.view(-1, 36)[:, :4] %= 16
            stored[key] = blocks
            expected[key] = torch.from_numpy(gguf.dequantize(blocks.numpy(), gguf.GGMLQuantizationType[kind]))
    path = write_gguf("x.gguf", stored, kind, asdict(WIDE))
    assert inspect(path).dtypes[kind] == sum(one.dtype == torch.uint8 for one in stored.values())
    loaded = load_transformer(path, dtype=torch.float32)
    model.load_state_dict(expected)
    assert packed_bytes(loaded) == sum(one.nbytes for one in stored.values() if one.dtype == torch.uint8)
    actual = whole_state_dict(loaded)
    assert all(torch.equal(actual[key], tensor) for key, tensor in expected.items())
    assert_close(velocity(loaded), velocity(model))


def test_values_are_those_of_the_gguf_package(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    writer = gguf.GGUFWriter(path, "flux")
    for name, value in {
        "uint8": 200, "int8": -3, "uint16": 60000, "int16": -30000, "uint32": 2**32 - 1, "int32": -(2**31),
        "uint64": 2**64 - 1,
        "int64": -(2**63), "float32": 0.1, "float64": 0.1, "bool": True, "string": "zwölf",
    }.items():  # fmt: skip
        getattr(writer, f"add_{name}")(f"a.{name}", value)
    writer.add_array("a.shape", [3, 4, 5])
    writer.add_array("a.words", ["x", "", "ä"])
    writer.add_array("a.sixteen", list(range(16)))
    writer.add_array("a.long", list(range(17)))
    writer.add_array("a.vocabulary", [str(i) for i in range(1000)])
    writer.add_string("a.text", "x" * 1_000_001)
    writer.add_tensor("t", np.arange(6, dtype=np.float64).reshape(2, 3))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    theirs = {name: field.contents() for name, field in gguf.GGUFReader(path).fields.items()}
    for name in ("a.long", "a.vocabulary", "a.text"):  # passed over
        del theirs[name]
    checkpoint = open_checkpoint(path)
    assert checkpoint.metadata == {name: str(value) for name, value in theirs.items()}
    assert checkpoint.weights["t"].dtype == torch.float64
    assert checkpoint.weights["t"].read().tolist() == [[0, 1, 2], [3, 4, 5]]


def test_files_that_are_something_else(transformer: Transformer, write_gguf: Write) -> None:
    path = write_gguf(
        "x.gguf", {"blk.0.attn_q.weight": torch.zeros(2), "output_norm.weight": torch.zeros(2)}, "F32"
    )
    with pytest.raises(CheckpointError, match="is a language model"):
        load_transformer(path)
    config = replace(transformer.config, hidden_size=128, axes_dim=(16, 24, 24))
    path = write_gguf("y.gguf", transformer.state_dict(), "F32", asdict(config))
    with pytest.raises(CheckpointError, match="its config says hidden_size 128, its tensors 64"):
        load_transformer(path)
