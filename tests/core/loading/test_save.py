"""A saved model equals the original, in the published layout, and is never half a file."""

import errno
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from kontext_core.config import TransformerConfig
from kontext_core.loading import load_text_encoders, load_transformer, load_vae, save_model
from kontext_core.model.text import TextEncoders
from kontext_core.model.transformer import Transformer
from kontext_core.model.vae import VAE


@pytest.fixture
def folder(transformer: Transformer, vae: VAE, text_encoders: TextEncoders, tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    save_model(folder, transformer=transformer, vae=vae, text_encoders=text_encoders, dtype=torch.float32)
    return folder


def test_what_is_saved_loads_as_it_was(folder: Path, transformer, vae, text_encoders):
    for saved, model in (
        (load_transformer(folder), transformer),
        (load_vae(folder), vae),
        (load_text_encoders(folder), text_encoders),
    ):
        expected = model.state_dict()
        assert set(saved.state_dict()) == set(expected)
        assert all(torch.equal(tensor, expected[key]) for key, tensor in saved.state_dict().items())
    assert load_transformer(folder).config == transformer.config
    assert load_vae(folder).config == vae.config


def test_files(folder: Path):
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {
        "flux1-kontext-dev.safetensors", "ae.safetensors", "text_encoder/config.json", "text_encoder/model.safetensors",
        "text_encoder_2/config.json", "text_encoder_2/model.safetensors", "tokenizer/merges.txt", "tokenizer/vocab.json",
        "tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json", "tokenizer/special_tokens_map.json",
        "tokenizer_2/spiece.model", "tokenizer_2/tokenizer.json", "tokenizer_2/tokenizer_config.json",
        "tokenizer_2/special_tokens_map.json",
    }  # fmt: skip


def test_header_and_keys_are_the_published_ones(folder: Path, transformer: Transformer):
    with safe_open(folder / "flux1-kontext-dev.safetensors", "pt") as file:
        assert TransformerConfig.from_dict(json.loads(file.metadata()["config"])) == transformer.config
        assert file.metadata()["format"] == "pt"
    clip, t5 = (load_file(folder / name / "model.safetensors") for name in ("text_encoder", "text_encoder_2"))
    assert all(key.startswith("text_model.") for key in clip)
    assert "text_model.encoder.layers.0.mlp.fc1.weight" in clip
    assert all(key.startswith(("encoder.block.", "encoder.final_layer_norm.", "shared.")) for key in t5)


def test_transformers_loads_what_is_saved(folder: Path, text_encoders: TextEncoders):
    from transformers import CLIPTextModel, T5EncoderModel

    for kind, name, model in (
        (CLIPTextModel, "text_encoder", text_encoders.clip),
        (T5EncoderModel, "text_encoder_2", text_encoders.t5),
    ):
        loaded, said = kind.from_pretrained(folder / name, output_loading_info=True)
        assert not any(said[what] for what in ("missing_keys", "unexpected_keys", "mismatched_keys"))
        assert all(
            torch.equal(loaded.state_dict()[key], tensor) for key, tensor in model.state_dict().items()
        )


def test_weights_are_bfloat16_unless_said_otherwise(transformer: Transformer, tmp_path: Path):
    save_model(tmp_path, transformer=transformer)
    assert load_transformer(tmp_path).dtype == torch.bfloat16


def test_saving_over_what_is_loaded(folder: Path, text_encoders: TextEncoders):
    loaded = load_transformer(folder)
    expected = {key: tensor.clone() for key, tensor in loaded.state_dict().items()}
    encoders = load_text_encoders(folder)
    save_model(folder, transformer=loaded, text_encoders=encoders, dtype=torch.float32)
    assert all(
        torch.equal(load_transformer(folder).state_dict()[key], tensor) for key, tensor in expected.items()
    )
    assert torch.equal(load_text_encoders(folder).encode("red")[0], text_encoders.encode("red")[0])


@pytest.fixture
def full_disk() -> Iterator[None]:
    """Limit files of this process to 100 kB."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_leaves_the_old_file(transformer: Transformer, tmp_path: Path):
    old = tmp_path / "flux1-kontext-dev.safetensors"
    old.write_bytes(b"old")
    with pytest.raises(
        OSError, match=r"flux1-kontext-dev\.safetensors could not be written and is unchanged"
    ):
        save_model(tmp_path, transformer=transformer)
    assert old.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [old]


def test_an_interrupted_write_leaves_the_old_file(transformer: Transformer, tmp_path: Path, monkeypatch):
    def stop(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    save_model(tmp_path, transformer=transformer)
    before = (tmp_path / "flux1-kontext-dev.safetensors").read_bytes()
    monkeypatch.setattr("os.replace", stop)
    with pytest.raises(OSError, match="No space left on device"):
        save_model(tmp_path, transformer=transformer, dtype=torch.float32)
    assert (tmp_path / "flux1-kontext-dev.safetensors").read_bytes() == before


def test_a_tokenizer_whose_files_are_gone(text_encoders: TextEncoders, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(text_encoders.clip_tokenizer, "name_or_path", str(tmp_path / "gone"))
    with pytest.raises(
        ValueError, match=r"the tokenizer was loaded from .*gone, where its files no longer are"
    ):
        save_model(tmp_path, text_encoders=text_encoders)
