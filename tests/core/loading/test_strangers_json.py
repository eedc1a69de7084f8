"""Endless numbers, endless nesting, duplicate names and NaN in JSON that comes with weights: one sentence."""

import json
import shutil
import struct
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from safetensors.torch import save_file

from kontext_core.errors import CheckpointError
from kontext_core.loading import inspect, load_text_encoders, load_transformer, save_model
from kontext_core.model.text import TextEncoders
from kontext_core.model.transformer import Transformer

HARM = {
    "digits": ("1" * 5000, "holds a number of 5,000 digits, but 100 is the maximum"),
    "nesting": ("[" * 3000 + "]" * 3000, "is nested deeper than 64 levels"),
    "names twice": ('{"b": 1, "b": 2}', "names 'b' twice"),
    "NaN": ("NaN", "holds NaN, which is not a number in JSON"),
    "infinity": ("-1e999", "holds a number that starts with -1e999 and is too large"),
}
harm = pytest.mark.parametrize(("value", "said"), HARM.values(), ids=HARM)


def refusal(read: Callable[[], object], name: str, said: str) -> None:
    """One sentence that names the file."""
    with pytest.raises(CheckpointError) as error:
        read()
    message = str(error.value)
    assert name in message
    assert said in message
    assert "\n" not in message
    assert "set_int_max_str_digits" not in message
    assert len(message) < 500


@harm
def test_the_header_of_safetensors(tmp_path: Path, value: str, said: str) -> None:
    path = tmp_path / "weights.safetensors"
    header = f'{{"a": {{"dtype": "F32", "shape": [{value}], "data_offsets": [0, 4]}}}}'.encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    refusal(lambda: inspect(path), f"the header of {path}", said)


@harm
def test_config_in_the_header(tmp_path: Path, value: str, said: str) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"x": torch.zeros(1)}, path, {"config": f'{{"a": {value}}}'})
    refusal(lambda: inspect(path), f"'config' in the header of {path}", said)


@harm
@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json"])
def test_files_beside(tmp_path: Path, name: str, value: str, said: str) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    (tmp_path / name).write_text(
        f'{{"weight_map": {{"x": "model.safetensors"}}, "a": {value}}}', encoding="utf-8"
    )
    refusal(lambda: inspect(tmp_path), str(tmp_path / name), said)


@harm
def test_pairs_of_gguf(tmp_path: Path, value: str, said: str) -> None:
    path = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(path, "flux")
    writer.add_string("kontext.config", f'{{"a": {value}}}')
    writer.add_tensor("x", torch.zeros(2).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    refusal(lambda: inspect(path), str(path), said)


FORMS = {
    "scaled fp8": (
        {"img_in.scale_weight": torch.ones(1)},
        "_quantization_metadata",
        "'_quantization_metadata' in its header",
    ),
    "NF4": ({}, "img_in.weight.quant_state.bitsandbytes__nf4", "how img_in.weight is packed (quant_state)"),
    "ComfyUI's layers": ({}, "img_in.comfy_quant", "img_in.comfy_quant"),
}


@harm
@pytest.mark.parametrize("form", FORMS)
def test_what_is_said_of_packed_weights(
    write: Callable[..., Path], transformer: Transformer, form: str, value: str, said: str
) -> None:
    tensors, key, where = FORMS[form]
    tensors = transformer.state_dict() | tensors
    text, metadata = f'{{"layers": {value}, "format": 1}}', {}
    if key.startswith("_"):
        metadata[key] = text
    else:
        tensors[key] = torch.tensor(list(text.encode()), dtype=torch.uint8)
    path = write("weights.safetensors", tensors, asdict(transformer.config), **metadata)
    refusal(lambda: load_transformer(path), f"{path} cannot be used as the transformer: {where}", said)


TOKENIZERS = (
    "tokenizer/tokenizer.json",
    "tokenizer/vocab.json",
    "tokenizer/tokenizer_config.json",
    "tokenizer_2/tokenizer.json",
    "tokenizer_2/special_tokens_map.json",
    "tokenizer_2/added_tokens.json",
    "tokenizer_2/config.json",
)


@harm
def test_files_of_tokenizers(text_encoders: TextEncoders, tmp_path: Path, value: str, said: str) -> None:
    save_model(tmp_path / "model", text_encoders=text_encoders)
    for name in TOKENIZERS:
        folder = tmp_path / name.replace("/", "_")
        shutil.copytree(tmp_path / "model", folder)
        (folder / name).write_text(f'{{"a": {value}}}', encoding="utf-8")
        refusal(lambda folder=folder: load_text_encoders(folder), str(folder / name), said)


# Values that JSON allows and no model has: by file, the field, the value, and what is said.
CONFIGS: list[tuple[str, str, Any, str]] = [
    (
        "transformer",
        "text_length",
        10**9,
        "its config says text_length 1000000000; whole numbers from 1 to 16,384 are",
    ),
    ("transformer", "text_length", 10**50, "whole numbers from 1 to 16,384 are allowed"),
    ("transformer", "text_length", 32.0, "its config says text_length 32.0; whole numbers"),
    ("transformer", "text_length", True, "its config says text_length True; whole numbers"),
    (
        "transformer",
        "axes_dim",
        [8, 12, "12"],
        "its config says axes_dim [8, 12, '12']; lists of whole numbers from 0 to 65,536",
    ),
    ("transformer", "axes_dim", [-2, 22, 12], "whole numbers from 0 to 65,536"),
    ("transformer", "axes_dim", 32, "its config says axes_dim 32; lists of whole numbers from 0 to 65,536"),
    ("transformer", "text_length", [32], "its config says text_length [32]; whole numbers from 1 to 16,384"),
    ("transformer", "theta", [[100]], "its config says theta [[100]]; numbers from 2"),
    (
        "transformer",
        "preferred_sizes",
        [128, 128],
        "its config says preferred_sizes [128, 128]; lists of lists of whole numbers from 16 to 65,536",
    ),
    ("vae", "scale_factor", [0.5], "its config says scale_factor [0.5]; numbers from"),
    ("text_encoder", "num_attention_heads", [2], "its config says num_attention_heads [2]; whole numbers"),
    (
        "text_encoder",
        "layer_norm_eps",
        [[1e-5]],
        "its config says layer_norm_eps [[1e-05]]; numbers from 0.0",
    ),
    ("text_encoder_2", "relative_attention_max_distance", [128], "whole numbers from 1 to 1,048,576"),
    ("transformer", "axes_dim", [[[8]], 12, 12], "whole numbers from 0 to 65,536"),
    ("transformer", "theta", 1e300, "its config says theta 1e+300; numbers from 2 to 1,000,000,000.0"),
    ("transformer", "theta", "100", "its config says theta '100'; numbers"),
    ("transformer", "preferred_sizes", [[16, 16 * 10**9]], "whole numbers from 16 to 65,536"),
    ("transformer", "layout", ["index"], "layout ('index',) is not one of"),
    ("transformer", "hidden_size", {"a": 1}, "its config says hidden_size {'a': 1}, its tensors 64"),
    ("vae", "scale_factor", 0, "its config says scale_factor 0; numbers from 1e-06 to 1,000,000.0"),
    ("vae", "shift_factor", "x", "its config says shift_factor 'x'; numbers"),
    ("vae", "norm_groups", 0, "its config says norm_groups 0; whole numbers from 1 to 65,536"),
    ("vae", "resolution", None, ""),
    ("text_encoder", "num_hidden_layers", 10**8, "whole numbers from 1 to 1,024 are allowed"),
    ("text_encoder", "num_hidden_layers", 3, "its config says num_hidden_layers 3, its tensors 2"),
    ("text_encoder", "vocab_size", 7, "its config says vocab_size 7, its tensors "),
    (
        "text_encoder",
        "num_attention_heads",
        7,
        "its config says 7 heads, and it is 128 wide, which is not a multiple",
    ),
    ("text_encoder", "num_attention_heads", 0, "whole numbers from 1 to 1,024"),
    (
        "text_encoder",
        "hidden_act",
        "exec",
        "its config says hidden_act 'exec'; it may be quick_gelu, gelu, gelu_new, relu",
    ),
    ("text_encoder", "layer_norm_eps", "x", "its config says layer_norm_eps 'x'; numbers from 0.0 to 1.0"),
    ("text_encoder", "attn_implementation", "flash_attention_2", ""),
    ("text_encoder", "to_dict", 3, ""),
    ("text_encoder", "quantization_config", {"quant_method": "bitsandbytes"}, ""),
    ("text_encoder_2", "num_layers", 10**8, "whole numbers from 1 to 1,024"),
    ("text_encoder_2", "d_kv", 8, "its config says d_kv 8, its tensors 32"),
    ("text_encoder_2", "relative_attention_max_distance", 10**30, "whole numbers from 1 to 1,048,576"),
    (
        "text_encoder_2",
        "feed_forward_proj",
        "gated-nonsense",
        "it may be gated-gelu, gated-silu, relu, gelu, silu",
    ),
    ("text_encoder_2", "architectures", [["x"]], ""),
]


@pytest.mark.parametrize(("part", "name", "value", "said"), CONFIGS)
def test_values_that_no_model_has(
    part: str,
    name: str,
    value: Any,
    said: str,
    transformer: Transformer,
    vae: Any,
    text_encoders: TextEncoders,
    tmp_path: Path,
) -> None:
    """Refused before anything is built by them; what the model does not need is passed over."""
    save_model(tmp_path, transformer=transformer, vae=vae, text_encoders=text_encoders)
    if part.startswith("text"):
        path, beside = tmp_path / part, tmp_path / part / "config.json"
        beside.write_text(json.dumps(json.loads(beside.read_text()) | {name: value}), encoding="utf-8")
    else:
        path = tmp_path / {"transformer": "flux1-kontext-dev.safetensors", "vae": "ae.safetensors"}[part]
        model = transformer if part == "transformer" else vae
        config = asdict(model.config) | {name: value}
        save_file(model.state_dict(), path, {"config": json.dumps(config)})
    report = inspect(path)
    assert said in report.refusal
    assert bool(said) == bool(report.refusal)
    assert "\n" not in report.refusal
    if not said and part.startswith("text"):
        assert load_text_encoders(tmp_path).clip.config.vocab_size
