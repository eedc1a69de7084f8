"""Damaged files of every kind give a model or a CheckpointError, and nothing else.

For longer: KONTEXT_FUZZ_SECONDS=600 pytest tests/core/loading/test_fuzz.py
"""

import json
import os
import random
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import gguf
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save

from kontext_core.errors import CheckpointError
from kontext_core.loading import load_transformer
from kontext_core.model.transformer import Transformer
from tests.core.loading.conftest import TINY, randomise
from tests.core.loading.test_torchao import DATA

SECONDS = float(os.environ.get("KONTEXT_FUZZ_SECONDS", "10"))


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Good files, as small as they come: plain, scaled fp8, NF4, torchao's and GGUF."""
    config = replace(TINY, hidden_size=64, depth=1, depth_single_blocks=1, mlp_ratio=1.0, num_heads=2)
    model = randomise(Transformer(config))
    said = json.dumps(asdict(config))
    plain = {key: one.bfloat16() for key, one in model.state_dict().items()}
    fp8 = {key: one.to(torch.float8_e4m3fn) if one.ndim == 2 else one for key, one in plain.items()}
    scaled = fp8 | {
        f"{key.removesuffix('.weight')}.scale_weight": torch.ones(1) for key in fp8 if fp8[key].ndim == 2
    }
    from tests.core.loading.test_quantised import _four_bits

    nf4 = dict(plain)
    for key, one in plain.items():
        if one.ndim == 2 and "blocks" in key:
            nf4 |= _four_bits(key, one.float())
    path = tmp_path_factory.mktemp("fuzz") / "x.gguf"
    writer = gguf.GGUFWriter(path, "flux")
    writer.add_string("kontext.config", said)
    for key, one in model.state_dict().items():
        writer.add_tensor(key, one.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = DATA / "int8" / "diffusion_pytorch_model.safetensors"
    with safe_open(file, framework="pt") as opened:
        flattened = save(
            load_file(file), {**opened.metadata(), "config": json.dumps({"axes_dim": [8, 12, 12]})}
        )
    return [*(save(one, {"config": said}) for one in (plain, scaled, nf4)), flattened, path.read_bytes()]


def _cut(data: bytearray, rng: random.Random, header: int) -> None:
    del data[rng.randrange(len(data)) :]


def _flip(data: bytearray, rng: random.Random, header: int) -> None:
    for _ in range(rng.choice((1, 2, 8))):
        data[rng.randrange(min(header, len(data)))] = rng.randrange(256)


def _number(data: bytearray, rng: random.Random, header: int) -> None:
    place = rng.randrange(min(header, len(data) - 8))
    width = rng.choice((1, 4, 8))
    value = rng.choice((0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1, rng.getrandbits(64)))
    data[place : place + width] = (value % 2 ** (8 * width)).to_bytes(width, "little")


def _digits(data: bytearray, rng: random.Random, header: int) -> None:
    """Change a number in the JSON."""
    digits = [i for i in range(min(header, len(data))) if 48 <= data[i] <= 57]
    for _ in range(min(len(digits), 3)):
        data[rng.choice(digits)] = rng.choice(b'0123456789-e.[]{}"')


def _move(data: bytearray, rng: random.Random, header: int) -> None:
    a, b = sorted(rng.randrange(min(header, len(data))) for _ in range(2))
    piece = data[a : min(b, a + 200)]
    place = rng.randrange(min(header, len(data)))
    data[place : place + (len(piece) if rng.random() < 0.5 else 0)] = piece


_DAMAGE: tuple[Callable[[bytearray, random.Random, int], None], ...] = (_cut, _flip, _number, _digits, _move)


def test_nothing_but_a_model_or_a_checkpoint_error(seeds: list[bytes], tmp_path: Path) -> None:
    rng = random.Random(int(os.environ.get("KONTEXT_FUZZ_SEED", "0")))
    path = tmp_path / "x.safetensors"
    said: list[str] = []
    loaded = 0
    end = time.process_time() + SECONDS
    while time.process_time() < end:
        whole = rng.choice(seeds)
        data = bytearray(whole)
        header = int.from_bytes(whole[:8], "little") + 8 if whole[:4] != b"GGUF" else 6000
        for _ in range(rng.choice((1, 1, 2))):
            if len(data) > 16:
                rng.choice(_DAMAGE)(data, rng, header)
        path.unlink(missing_ok=True)  # what is mapped still is not to change under its reader
        path.write_bytes(data)
        try:
            load_transformer(path)
            loaded += 1
        except CheckpointError as error:
            said.append(str(error))
    assert len(said) > 20
    assert [one for one in said if "\n" in one or len(one) > 2000] == []
    assert loaded > 0


def test_good_files_load(seeds: list[bytes], tmp_path: Path) -> None:
    for number, data in enumerate(seeds):
        path = tmp_path / f"{number}.any"
        path.write_bytes(data)
        assert load_transformer(path).config.depth == 1
