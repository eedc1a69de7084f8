"""Files that claim more than any model needs are refused, before memory is taken, in one sentence with the
file's name.
"""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from kontext_core.errors import CheckpointError
from kontext_core.loading import inspect, load_text_encoders, save_model
from kontext_core.loading.checkpoint import open_checkpoint
from kontext_core.loading.keys import MOST_LAYERS, count
from kontext_core.loading.locate import locate_part
from kontext_core.loading.tensors import MOST_TENSORS
from kontext_core.lora import inspect_lora
from kontext_core.model.text import TextEncoders

EMPTY = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}


def header_alone(path: Path, header: dict[str, Any]) -> Path:
    """Write a safetensors file of tensors without elements, which takes almost no space."""
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    return path


def test_tensors_are_counted_before_they_are_looked_at(tmp_path: Path) -> None:
    names = [f"x{i}" for i in range(MOST_TENSORS + 1)]
    path = header_alone(tmp_path / "most.safetensors", dict.fromkeys(names[1:], EMPTY))
    assert len(open_checkpoint(path).weights) == MOST_TENSORS
    path = header_alone(tmp_path / "more.safetensors", dict.fromkeys(names, EMPTY))
    with pytest.raises(
        CheckpointError, match=r"more\.safetensors holds 65,537 tensors, but 65,536 is the maximum"
    ):
        open_checkpoint(path)


@pytest.mark.parametrize(
    ("kind", "layers"),
    [
        ("transformer", "single_transformer_blocks.{}.proj_mlp.weight"),
        ("vae", "encoder.down_blocks.{}.resnets.0.norm1.weight"),
        ("vae", "encoder.down_blocks.0.resnets.{}.norm1.weight"),
        ("t5", "enc.blk.{}.attn_q.weight"),
    ],
)
def test_layers_are_counted_before_one_is_made(tmp_path: Path, kind: str, layers: str) -> None:
    header = {layers.format(i): EMPTY for i in range(MOST_LAYERS + 1)}
    path = header_alone(tmp_path / "deep.safetensors", header)
    said = rf"it has more than 1,024 layers {layers.partition('{')[0]}\*, and no model here has as many"
    assert inspect(path).kind == kind
    with pytest.raises(CheckpointError, match=rf"deep\.safetensors cannot be used as .*: {said}"):
        locate_part(path, kind)


def test_layers_are_counted_up_to_the_first_that_is_missing() -> None:
    weights: Any = dict.fromkeys(["a.0.x", "a.0.y", "a.1.x", "a.10.x", "a.3.x", "a.02.x", "b.2.x", "a.2"])
    assert count(weights, "a.{}.") == 2
    assert count(weights, "c.{}.") == 0


def test_texts_of_gguf_are_bounded_together(tmp_path: Path) -> None:
    path, count, length = tmp_path / "x.gguf", 70, 1_000_000
    with path.open("wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, 0, count))
        for i in range(count):
            file.write(struct.pack("<Q3sIQ", 3, f"k{i:02}".encode(), 8, length))
            file.seek(length, 1)  # a hole: it takes no room on the disk
        file.write(bytes(32))
    with pytest.raises(
        CheckpointError, match=r"damaged GGUF file: the texts in its header have more than 64 MiB"
    ):
        open_checkpoint(path)


@pytest.mark.parametrize(("name", "left"), [("spiece.model", "tokenizer_2"), ("merges.txt", "tokenizer")])
def test_files_of_tokenizers(text_encoders: TextEncoders, tmp_path: Path, name: str, left: str) -> None:
    save_model(tmp_path, text_encoders=text_encoders)
    path = tmp_path / left / name
    with path.open("ab") as file:
        file.truncate(64 * 2**20 + 1)
    said = rf"{name} has more than 64 MiB, which no tokenizer needs; download it again"
    with pytest.raises(CheckpointError, match=said):
        load_text_encoders(tmp_path)


def test_what_a_tokenizers_library_lists_is_cut_short(text_encoders: TextEncoders, tmp_path: Path) -> None:
    save_model(tmp_path, text_encoders=text_encoders)
    folder = tmp_path / "tokenizer_2"
    (folder / "tokenizer.json").unlink()
    (folder / "spiece.model").write_bytes(b"no tokenizer\n" * 10)
    with pytest.raises(CheckpointError, match=r"^the tokenizer in .* cannot be read: ") as error:
        load_text_encoders(tmp_path)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < len(str(folder)) + 250


def test_of_a_lora_config_may_be_anything(tmp_path: Path) -> None:
    """Training programs keep their own settings under that name."""
    module = "single_blocks.0.linear1"
    tensors = {
        f"{module}.lora_A.weight": torch.ones(2, 3072),
        f"{module}.lora_B.weight": torch.ones(21504, 2),
    }
    path = tmp_path / "lora.safetensors"
    save_file(tensors, path, {"config": "rank: 2\nlr: 1e-4"})
    assert inspect(path).kind == "lora"
    assert inspect_lora(path).matched == 1
    save_file({"img_in.weight": torch.ones(2, 8)}, path, {"config": "rank: 2\nlr: 1e-4"})
    with pytest.raises(CheckpointError, match=r"'config' in the header of .* is not valid JSON"):
        inspect(path)
