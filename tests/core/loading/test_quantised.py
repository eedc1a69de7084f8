"""Models that are packed on loading, NF4 files, and forms that are refused."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kontext_core.errors import CheckpointError
from kontext_core.loading import inspect, load_text_encoders, load_transformer, save_model
from kontext_core.loading.verify import not_finite, sha256
from kontext_core.model.transformer import Transformer
from kontext_core.quant import four_bits
from kontext_core.quant.layer import PackedLinear, packed_bytes, whole_state_dict
from kontext_core.quant.schemes import SCHEMES
from tests.core.loading.conftest import lazily

# Relative L2 error of the velocity of random weights, which forgive nothing.
VELOCITY = {
    "fp8": 0.045, "fp8_tensor": 0.045, "int8": 0.01, "int8_zero": 0.009, "int4": 0.16, "int4_zero": 0.15, "nf4": 0.14,
}  # fmt: skip


@pytest.fixture
def file(transformer: Transformer, write: Callable[..., Path]) -> Path:
    return write("x.safetensors", transformer.state_dict(), asdict(transformer.config))


def _packed(model: nn.Module) -> set[str]:
    return {name for name, module in model.named_modules() if isinstance(module, PackedLinear)}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_packed_when_loaded(
    transformer: Transformer, file: Path, velocity: Any, assert_close: Any, scheme: str
) -> None:
    loaded = load_transformer(file, quantise=scheme)
    assert len(_packed(loaded)) == 2 * 8 + 3 * 2
    assert not any("mod" in name for name in _packed(loaded))
    report = inspect(file)
    assert loaded.dtype == torch.float32
    own = sum(one.nbytes for one in (*loaded.parameters(), *loaded.buffers()))
    whole = sum(one.nbytes for one in transformer.parameters())
    assert own < 0.6 * whole
    assert 0.6 < report.memory(torch.float32, scheme) / own < 1.6
    assert_close(velocity(loaded), velocity(transformer), VELOCITY[scheme])
    assert (velocity(loaded) - velocity(transformer)).norm() / velocity(transformer).norm() > 1e-4


def test_everything_else_keeps_its_bits(transformer: Transformer, file: Path) -> None:
    loaded = load_transformer(file, quantise="int4")
    packed = {f"{name}.weight" for name in _packed(loaded)}
    actual = whole_state_dict(loaded)
    for key, tensor in transformer.state_dict().items():
        assert torch.equal(actual[key], tensor) == (key not in packed), key


def test_only_one_tensor_is_there_in_high_precision(
    transformer: Transformer, monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    """Each is read, packed and forgotten before the next one is read."""
    import weakref

    from kontext_core.loading import models
    from kontext_core.loading.tensors import LazyTensor

    alive: list[weakref.ref[Tensor]] = []
    most = 0

    def find(path: Path, part: str) -> Any:
        from kontext_core.loading.locate import locate_part

        report, weights = locate_part(path, part)

        def counted(tensor: LazyTensor) -> Tensor:
            nonlocal most
            made = tensor.read().clone()
            alive.append(weakref.ref(made))
            most = max(most, sum(one() is not None and one().ndim == 2 for one in alive))
            return made

        block = (
            "double_blocks.0.img_mlp.0.weight",
            "double_blocks.0.img_mlp.2.weight",
            "single_blocks.0.linear1.weight",
        )
        return report, weights | {
            key: LazyTensor(weights[key].shape, weights[key].dtype, lambda key=key: counted(weights[key]))
            for key in block
        }

    monkeypatch.setattr(models, "locate_part", find)
    load_transformer(file, quantise="int8")
    assert most == 1


def test_t5_is_packed_too(text_encoders: Any, tmp_path: Path) -> None:
    save_model(tmp_path, text_encoders=text_encoders, dtype=torch.float32)
    loaded = load_text_encoders(tmp_path, text_length=32, quantise="int8")
    assert len(_packed(loaded.t5)) == 7 * len(loaded.t5.encoder.block)
    assert packed_bytes(loaded.clip) == 0
    for actual, wanted in zip(loaded.encode("make it red"), text_encoders.encode("make it red"), strict=True):
        assert (actual - wanted).norm() / wanted.norm() < 0.02


def test_a_packed_model_is_saved_whole(file: Path, tmp_path: Path) -> None:
    loaded = load_transformer(file, quantise="nf4")
    save_model(tmp_path / "saved", transformer=loaded, dtype=torch.float32)
    again = load_transformer(tmp_path / "saved").state_dict()
    assert all(torch.equal(again[key], one) for key, one in whole_state_dict(loaded).items())


def test_an_unknown_scheme_is_refused_before_reading(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="quantise is 'int3'"):
        load_transformer(tmp_path / "nothing", quantise="int3")


def _four_bits(key: str, tensor: Tensor) -> dict[str, Tensor]:
    """As bitsandbytes saves it, without packed factors; written from its documented form."""
    packed = four_bits.quantise(tensor)
    state = {"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": list(tensor.shape)}
    return {
        key: packed.stored[:, None],
        f"{key}.absmax": packed.factors.float(),
        f"{key}.quant_map": packed.table,
        f"{key}.quant_state.bitsandbytes__nf4": torch.tensor(
            list(json.dumps(state).encode()), dtype=torch.uint8
        ),
    }


@pytest.fixture(scope="module")
def nf4(transformer: Transformer) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A diffusers model in NF4 as stored, and what it stands for under the published names."""
    from kontext_core.loading.keys import rename, transformer_rules
    from tests.core.loading.test_keys import to_diffusers

    rules = transformer_rules(2, 3)
    stored: dict[str, Tensor] = {}
    whole: dict[str, Tensor] = {}
    for key, tensor in to_diffusers(transformer.state_dict(), rules, 64).items():
        stored[key] = whole[key] = tensor
        if tensor.ndim == 2 and tensor.numel() % 64 == 0:
            stored |= _four_bits(key, tensor)
            whole[key] = four_bits.quantise(tensor).dequantise(torch.float32)
    return stored, {key: one.read() for key, one in rename(lazily(whole), rules).items()}


def _diffusers_config() -> dict[str, Any]:
    return {
        "axes_dims_rope": [8, 12, 12],
        "theta": 100,
        "quantization_config": {"quant_method": "bitsandbytes"},
    }


def test_nf4_as_diffusers_saves_it(nf4: Any, write: Callable[..., Path], tmp_path: Path) -> None:
    stored, expected = nf4
    write("transformer/diffusion_pytorch_model.safetensors", stored)
    (tmp_path / "transformer" / "config.json").write_text(json.dumps(_diffusers_config()))
    loaded = load_transformer(tmp_path / "transformer", dtype=torch.float32)
    assert len(_packed(loaded)) == 2 * 10 + 3 * 3
    assert inspect(tmp_path / "transformer").format == "diffusers' names, NF4 of bitsandbytes"
    actual = whole_state_dict(loaded)
    assert set(actual) == set(expected)
    for key, tensor in expected.items():
        assert torch.equal(actual[key], tensor), key
    assert packed_bytes(load_transformer(tmp_path / "transformer", quantise="full")) == 0


_KEY = "transformer_blocks.0.ff.net.0.proj.weight"
_STATE = f"{_KEY}.quant_state.bitsandbytes__nf4"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({f"{_KEY}.absmax": None}, rf"{_KEY} is packed in 4 bits, and {_KEY}\.absmax is missing"),
        ({f"{_KEY}.quant_map": None}, r"quant_map is missing"),
        ({f"{_KEY}.nested_absmax": torch.ones(1)}, r"nested_quant_map is missing"),
        (
            {f"{_KEY}.absmax": torch.ones(3)},
            r"absmax has 3 entries; for .* of shape \(256, 64\) it needs 256",
        ),
        ({_KEY: torch.zeros(5, 1, dtype=torch.uint8)}, rf"{_KEY} has 5 entries; .* it needs 8192"),
        ({_KEY: torch.zeros(8192, 1)}, r"must be stored as bytes, not as torch\.float32"),
        ({_KEY: None}, rf"{_KEY} is missing, though the description of its packing is there"),
        ({_STATE: torch.zeros(4, dtype=torch.uint8)}, r"\(quant_state\) is not valid JSON"),
        ({_STATE: torch.zeros(70_000, dtype=torch.uint8)}, r"\(quant_state\) cannot be read"),
        (
            {_STATE: torch.tensor(list(b'{"shape": [2, -2], "blocksize": 64}'), dtype=torch.uint8)},
            "cannot be read",
        ),
        ({_STATE: torch.tensor(list(b'{"shape": 7, "blocksize": 64}'), dtype=torch.uint8)}, "cannot be read"),
        ({f"{_KEY}.quant_state.bitsandbytes__int3": torch.zeros(4)}, "packed as 'int3' of bitsandbytes"),
        ({f"{_KEY}.SCB": torch.ones(256)}, "8 bits of bitsandbytes, which are not supported"),
    ],
)
def test_nf4_that_does_not_add_up(
    nf4: Any, write: Callable[..., Path], change: dict[str, Tensor | None], said: str
) -> None:
    stored = {key: tensor for key, tensor in (nf4[0] | change).items() if tensor is not None}
    path = write("x.safetensors", stored, {"axes_dim": [8, 12, 12]})
    with pytest.raises(CheckpointError, match=said) as error:
        load_transformer(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (
            "quanto",
            "it is packed as quanto's form, which only its own programs can read; take the bf16 file",
        ),
        ("sdnq", "it is packed as SDNQ of SD.Next, which"),
        ("fp_quant", "it is quantised by 'fp_quant', which is not known here; take the bf16 file"),
        (7, "it is quantised by '7', which is not known here"),
    ],
)
def test_forms_without_a_settled_layout_are_refused(
    transformer: Transformer, write: Callable[..., Path], tmp_path: Path, method: object, said: str
) -> None:
    write("m/model.safetensors", transformer.state_dict())
    config = asdict(transformer.config) | {"quantization_config": {"quant_method": method}}
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=said):
        load_transformer(tmp_path / "m")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_named(
    transformer: Transformer, write: Callable[..., Path], bad: float
) -> None:
    tensors = dict(transformer.state_dict())
    tensors["single_blocks.1.linear2.bias"] = torch.tensor([0.0, bad, bad]).repeat(22)[:64]
    tensors["img_in.weight"] = torch.full((64, 64), bad)
    path = write("x.safetensors", tensors, asdict(transformer.config))
    assert not_finite(path) == {"single_blocks.1.linear2.bias": (42, 64), "img_in.weight": (4096, 4096)}


def test_finite_files_and_those_of_no_known_model(file: Path, write: Callable[..., Path]) -> None:
    assert not_finite(file) == {}
    path = write(
        "y.safetensors", {"a": torch.tensor([1.0, float("nan")]), "b": torch.ones(2, dtype=torch.int8)}
    )
    assert not_finite(path) == {"a": (1, 2)}


def test_digests(file: Path) -> None:
    import hashlib

    expected = hashlib.sha256(file.read_bytes()).hexdigest()
    assert sha256(file) == {"x.safetensors": expected} == sha256(file.parent)


def test_what_it_will_take_is_what_the_file_takes(nf4: Any, write: Callable[..., Path]) -> None:
    path = write("x.safetensors", nf4[0], {"axes_dim": [8, 12, 12]})
    report = inspect(path)
    assert report.memory(torch.bfloat16, None) < 1.3 * path.stat().st_size
    assert report.memory(torch.bfloat16, "full") == 2 * report.parameters
