"""Files that torchao and diffusers wrote themselves (tests/data/torchao, made by
written_by_torchao.py), and what they may lack.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from kontext_core.errors import CheckpointError
from kontext_core.loading import inspect, load_transformer
from kontext_core.loading.checkpoint import open_checkpoint
from kontext_core.loading.keys import rename, transformer_rules
from kontext_core.loading.torchao import names, unpack
from kontext_core.quant.layer import PackedLinear, packed_bytes, whole_state_dict
from tests.core.loading.conftest import lazily

DATA = Path(__file__).parents[2] / "data" / "torchao"
FORMS = {
    "int8_rows": "int8", "int8_groups": "int8", "int8_whole": "int8", "int8_dynamic": "int8",
    "int4_shifted": "integers in 8 bits", "float8_rows": "float8", "float8_e5m2": "float8", "float8_whole": "float8",
    "float8_blocks": "float8",
}  # fmt: skip


@pytest.fixture(scope="module")
def forms() -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(DATA / "forms.safetensors", framework="pt") as file:
        metadata: dict[str, str] = file.metadata()
    return load_file(DATA / "forms.safetensors"), metadata


def _only(form: str, forms: Any) -> tuple[dict[str, Tensor], dict[str, str]]:
    tensors, metadata = forms
    kept = {key: one for key, one in tensors.items() if key.startswith(f"{form}.")}
    said = {key: text for key, text in metadata.items() if key.startswith(f"{form}.")}
    return kept, {**said, "tensor_names": json.dumps(sorted(said))}


@pytest.mark.parametrize("form", FORMS)
def test_each_scheme_gives_torchaos_numbers(forms: Any, form: str) -> None:
    tensors, metadata = _only(form, forms)
    weights, name = unpack(lazily(tensors), metadata)
    assert name == f"{FORMS[form]} of torchao"
    expected = {
        key.removeprefix("expected."): one for key, one in forms[0].items() if f"expected.{form}." in key
    }
    assert weights.keys() == expected.keys()
    for key, one in expected.items():
        assert torch.equal(weights[key].read().float(), one), key
    packed = weights[f"{form}.weight"].packed
    assert packed is not None
    (piece,) = packed()
    assert torch.equal(piece.dequantise(torch.float32), expected[f"{form}.weight"])
    assert sum(one.nbytes for one in piece.buffers()) <= 32 * 64 * 1.25


@pytest.mark.parametrize(("folder", "form"), [("int8", "int8"), ("float8", "float8")])
def test_a_diffusers_folder(folder: str, form: str) -> None:
    """One file and shards: every number is torchao's, all linears stay packed, as small as they are."""
    report = inspect(DATA / folder)
    assert (report.kind, report.format, report.refusal) == (
        "transformer",
        f"diffusers' names, {form} of torchao",
        "",
    )
    loaded = load_transformer(DATA / folder)
    assert loaded.dtype == torch.bfloat16
    actual = whole_state_dict(loaded, torch.float32)
    digests = json.loads((DATA / "digests.json").read_text(encoding="utf-8"))[folder]
    found = open_checkpoint(DATA / folder)
    weights, _ = unpack(found.weights, found.metadata)
    assert {
        key: hashlib.sha256(one.read().float().numpy().tobytes()).hexdigest() for key, one in weights.items()
    } == digests
    for key, one in rename(weights, transformer_rules(1, 1)).items():
        wanted = one.read()
        assert torch.equal(actual[key].to(torch.bfloat16), wanted.to(torch.bfloat16)), key
    linears = {name for name, module in loaded.named_modules() if isinstance(module, PackedLinear)}
    assert all("blocks" in name for name in linears)
    assert len(linears) == 10 + 3
    numbers = sum(
        module.in_features * module.out_features
        for module in loaded.modules()
        if isinstance(module, PackedLinear)
    )
    assert numbers < packed_bytes(loaded) < 1.2 * numbers
    assert packed_bytes(load_transformer(DATA / folder, quantise="full")) == 0


_LAYER = "int8_rows.weight"
_SAID = {"_type": "Int8Tensor", "_data": {"block_size": [1, 64]}, "_tensor_data_names": ["qdata", "scale"]}


@pytest.mark.parametrize(
    ("header", "change", "said"),
    [
        ({"tensor_names": "["}, {}, "'tensor_names' in its header is not valid JSON"),
        ({"tensor_names": "[7]"}, {}, "it is not a list of names"),
        ({"tensor_names": None}, {}, "'tensor_names' in the header, which says how, cannot be read"),
        ({"tensor_names": "[]"}, {}, r"the header says nothing of int8_rows\._weight_\w+, a part of a weight"),
        ({_LAYER: "{"}, {}, rf"'{_LAYER}' in its header is not valid JSON"),
        ({_LAYER: None}, {}, rf"what the header says of {_LAYER} cannot be read"),
        ({_LAYER: {"_type": "Int8Tensor"}}, {}, rf"what the header says of {_LAYER} cannot be read"),
        ({_LAYER: {**_SAID, "_data": 7}}, {}, rf"what the header says of {_LAYER} cannot be read"),
        ({_LAYER: {**_SAID, "_data": {"block_size": [0, 64]}}}, {}, r"its block_size is \[0, 64\]"),
        ({_LAYER: {**_SAID, "_tensor_data_names": [7]}}, {}, r"its parts are \[7\]"),
        ({_LAYER: {**_SAID, "_type": "Int4Tensor"}}, {}, "stored as torchao's Int4Tensor; of torchao's forms Int8Tensor, "),
        ({_LAYER: {**_SAID, "_type": ["Int8Tensor"]}}, {}, r"cannot be read: .*its _type is \['Int8Tensor'\]"),
        ({_LAYER: {**_SAID, "_type": "os.system"}}, {}, "stored as torchao's os.system"),
        ({_LAYER: {**_SAID, "_tensor_data_names": ["qdata"]}}, {}, "the header names no part 'scale' of it"),
        ({_LAYER: {**_SAID, "_tensor_data_names": ["qdata", "scale", "x"]}}, {}, r"int8_rows\._weight_x is missing"),
        (
            {_LAYER: {**_SAID, "_tensor_data_names": ["qdata", "scale", "x"]}}, {"_weight_x": torch.ones(1)},
            "has a part 'x' that torchao's Int8Tensor is not known to have",
        ),
        (
            {_LAYER: {**_SAID, "_tensor_data_names": ["qdata", "scale", "act_pre_scale"]}},
            {"_weight_act_pre_scale": torch.ones(64)},
            "wants its inputs scaled",
        ),
        ({}, {"_weight_scale": None}, r"is packed by torchao, and int8_rows\._weight_scale is missing"),
        ({}, {"_weight_scale": torch.ones(3)}, r"of shape \(32, 64\) has factors of shape \(3,\); its tiles need \(32, 1\)"),
        ({}, {"_weight_zero_point": torch.ones(5)}, r"has factors of shape \(5,\)"),
        ({_LAYER: {**_SAID, "_data": {"block_size": [1, 48]}}}, {}, "is not made of whole tiles of 1 x 48"),
        ({}, {"_weight_qdata": torch.ones(32, 64)}, r"is stored as torch\.float32 of shape \(32, 64\); torchao's Int8Tensor"),
        ({}, {"_weight_qdata": torch.ones(64, dtype=torch.int8)}, r"of shape \(64,\)"),
    ],
)  # fmt: skip
def test_what_does_not_add_up(
    forms: Any, header: dict[str, Any], change: dict[str, Tensor | None], said: str
) -> None:
    tensors, metadata = _only("int8_rows", forms)
    tensors |= {f"int8_rows.{part}": one for part, one in change.items()}  # pyright: ignore[reportArgumentType]
    metadata |= {
        key: text if isinstance(text, str) else json.dumps(text)
        for key, text in header.items()
        if text is not None
    }
    for key in [key for key, text in header.items() if text is None]:
        del metadata[key]
    with pytest.raises(CheckpointError, match=said) as error:
        unpack(lazily({key: one for key, one in tensors.items() if one is not None}), metadata)
    assert "\n" not in str(error.value)


def test_linears_of_t5_are_renamed_too() -> None:
    """The layout is torchao's own: transformers writes it as diffusers does."""
    stored = {"encoder.block.0.layer.0.SelfAttention.q._weight_qdata": torch.ones(1)}
    assert names(lazily(stored)) == {"encoder.block.0.layer.0.SelfAttention.q.weight"}


def test_a_folder_whose_header_was_lost(tmp_path: Path) -> None:
    """Programs that load and save tensors without a thought for the header leave what nobody can read."""
    shutil.copy(DATA / "int8" / "config.json", tmp_path)
    file = "diffusion_pytorch_model.safetensors"
    save_file(load_file(DATA / "int8" / file), tmp_path / file)
    with pytest.raises(
        CheckpointError, match="quantised by 'torchao', and its header does not say how; save it again"
    ):
        load_transformer(tmp_path)


@pytest.mark.parametrize("folder", ["", "transformer"])
def test_a_pickled_folder(tmp_path: Path, folder: str) -> None:
    """Files that diffusers wrote with older versions of torchao."""
    (tmp_path / "transformer").mkdir()
    shutil.copy(DATA / "int8" / "config.json", tmp_path / "transformer")
    torch.save({"a": torch.zeros(2)}, tmp_path / "transformer" / "diffusion_pytorch_model.bin")
    with pytest.raises(CheckpointError) as error:
        load_transformer(tmp_path / folder)
    assert "holds diffusion_pytorch_model.bin: a pickled PyTorch file; opening one can run any code" in str(
        error.value
    )
    assert "get the model as safetensors" in str(error.value)
