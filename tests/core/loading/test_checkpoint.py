"""Files that cannot be read are refused in one sentence that identifies them."""

import json
import pickle
from pathlib import Path

import pytest
import torch

from kontext_core.errors import CheckpointError
from kontext_core.loading import load_transformer
from kontext_core.loading.checkpoint import open_checkpoint


def test_a_file_is_read_as_it_was_written(write):
    tensors = {
        "a": torch.randn(3, 5),
        "b": torch.randn(4).bfloat16(),
        "c": torch.randn(2, 2).to(torch.float8_e4m3fn),
    }
    checkpoint = open_checkpoint(write("x.safetensors", tensors, config={"depth": 3}, note="kept"))
    assert checkpoint.config == {"depth": 3}
    assert checkpoint.metadata["note"] == "kept"
    for key, tensor in tensors.items():
        lazy = checkpoint.weights[key]
        assert (lazy.shape, lazy.dtype) == (tuple(tensor.shape), tensor.dtype)
        assert torch.equal(lazy.read().view(torch.uint8), tensor.view(torch.uint8))


def test_tensors_are_mapped_and_not_copied(write):
    path = write("x.safetensors", {"a": torch.zeros(1000)})
    first, again = (open_checkpoint(path).weights["a"] for _ in range(2))
    assert first.read().data_ptr() == first.read().data_ptr()
    assert first.read().data_ptr() != again.read().data_ptr()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a safetensors file: it is empty"),
        (b"{}", "not a safetensors file"),
        (
            b"The weights are on the other disk.\n",
            "it is text that starts with 'The weights are on the other disk.'",
        ),
        (b"<!DOCTYPE html><html><head>", "a web page, saved instead of the weights"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "a Git LFS pointer"),
        (pickle.dumps({"a": 1}, protocol=2), "a pickled PyTorch file"),
        (bytes(range(200, 256)), "something else"),
        ((10).to_bytes(8, "little") + b'{"a": nul}', "is not valid JSON"),
        ((10).to_bytes(8, "little") + b'{"a":    }', "is not valid JSON"),
        ((9).to_bytes(8, "little") + b'{"a": {}}', "its header does not describe 'a'"),
    ],
)
def test_what_is_no_safetensors_file(tmp_path: Path, content: bytes, said: str):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as error:
        open_checkpoint(path)
    assert said in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("left", [20, 100, -400, -1])
def test_a_truncated_file(write, left: int):
    path = write("x.safetensors", {"first": torch.zeros(100), "second": torch.zeros(100)})
    whole = path.read_bytes()
    path.write_bytes(whole[:left])
    with pytest.raises(CheckpointError, match=r"x\.safetensors is cut off: .* download it again"):
        open_checkpoint(path)


def test_a_dtype_that_is_not_known(tmp_path: Path):
    header = json.dumps({"a": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0")
    with pytest.raises(CheckpointError, match="'a' is stored as F4, which is not supported"):
        open_checkpoint(path)


@pytest.mark.parametrize(
    "entry",
    [
        7,
        {"dtype": "F32", "shape": [1]},
        {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": 1, "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0, "4"]},
        {"dtype": "F32", "shape": [1], "data_offsets": {"end": 4}},
    ],
    ids=str,
)
def test_a_header_that_describes_no_tensor(tmp_path: Path, entry: object):
    path = _with_header(tmp_path, {"a": entry})
    with pytest.raises(CheckpointError, match="is damaged: its header does not describe 'a'"):
        open_checkpoint(path)


def test_metadata_that_is_no_object(tmp_path: Path):
    with pytest.raises(CheckpointError, match="the metadata in its header is not a JSON object"):
        open_checkpoint(_with_header(tmp_path, {"__metadata__": [1]}))


def test_a_header_nested_without_end(tmp_path: Path):
    header = b'{"a":' + b"[" * 100_000
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(CheckpointError, match=r"the header of .* is nested deeper than 64 levels"):
        open_checkpoint(path)


def _with_header(folder: Path, content: dict[str, object]) -> Path:
    header = json.dumps(content).encode()
    path = folder / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    return path


def test_a_file_that_the_library_refuses(tmp_path: Path):
    header = json.dumps({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 4]}}).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(CheckpointError, match="is damaged"):
        open_checkpoint(path)


def test_a_path_with_nothing(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"there is no file or folder .*nowhere"):
        open_checkpoint(tmp_path / "nowhere")


def _index(folder: Path, weight_map: object) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def test_shards(write, tmp_path: Path):
    write("m/model-00001-of-00002.safetensors", {"a": torch.ones(2)})
    write("m/model-00002-of-00002.safetensors", {"b": torch.zeros(2)})
    write("m/model.fp16.safetensors", {"a": torch.ones(1)})
    _index(tmp_path / "m", {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"})
    (tmp_path / "m" / "config.json").write_text('{"depth": 2}')
    checkpoint = open_checkpoint(tmp_path / "m")
    assert set(checkpoint.weights) == {"a", "b"}
    assert checkpoint.config == {"depth": 2}


@pytest.mark.parametrize("inner", ["", "transformer"])
def test_shards_without_an_index(write, tmp_path: Path, inner: str):
    for number in (1, 2):
        name = f"diffusion_pytorch_model-0000{number}-of-00003.safetensors"
        write(f"m/{inner}/{name}", {"a": torch.ones(2)})
    said = r"holds 2 of 3 shards and no index of them: get diffusion_pytorch_model\.safetensors\.index\.json from their source"
    for read in (open_checkpoint, load_transformer) if not inner else (load_transformer,):
        with pytest.raises(CheckpointError, match=said):
            read(tmp_path / "m")


def test_a_shard_that_is_not_there(write, tmp_path: Path):
    write("m/one.safetensors", {"a": torch.ones(2)})
    _index(tmp_path / "m", {"a": "one.safetensors", "b": "two.safetensors"})
    with pytest.raises(CheckpointError, match=r"m is incomplete: of 2 shards two\.safetensors is not there"):
        open_checkpoint(tmp_path / "m")


def test_a_tensor_that_is_in_no_shard(write, tmp_path: Path):
    write("m/one.safetensors", {"a": torch.ones(2)})
    _index(tmp_path / "m", {"a": "one.safetensors", "b": "one.safetensors"})
    with pytest.raises(CheckpointError, match=r"1 tensors of .* are in no shard: b"):
        open_checkpoint(tmp_path / "m")


@pytest.mark.parametrize("name", ["../outside.safetensors", "/etc/passwd", "", 7, ["one.safetensors"]])
def test_an_index_may_not_lead_out_of_its_folder(tmp_path: Path, name: object):
    _index(tmp_path / "m", {"a": name})
    with pytest.raises(CheckpointError, match="is not an index of shards"):
        open_checkpoint(tmp_path / "m")


@pytest.mark.parametrize("weight_map", [None, 3, ["one.safetensors"], {}], ids=str)
def test_an_index_that_maps_nothing(tmp_path: Path, weight_map: object):
    _index(tmp_path / "m", weight_map)
    with pytest.raises(CheckpointError, match="is not an index of shards"):
        open_checkpoint(tmp_path / "m")


def test_a_folder_with_several_files(write, tmp_path: Path):
    write("m/one.safetensors", {"a": torch.ones(2)})
    write("m/two.safetensors", {"a": torch.ones(2)})
    with pytest.raises(CheckpointError, match=r"holds several: one\.safetensors, two\.safetensors; name one"):
        open_checkpoint(tmp_path / "m")
    write("m/model.safetensors", {"b": torch.ones(2)})
    assert set(open_checkpoint(tmp_path / "m").weights) == {"b"}
