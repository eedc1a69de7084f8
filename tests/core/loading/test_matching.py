"""Whether the parts of a model belong together: one rule, from headers alone."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from kontext_core import pipeline as pipelines
from kontext_core.config import FLUX_VAE, KONTEXT_DEV
from kontext_core.errors import CheckpointError
from kontext_core.loading import inspect, load_parts, save_model
from kontext_core.loading.matching import check_tensors, misfit
from kontext_core.loading.recognise import FileReport
from kontext_core.loading.tokenizers import Vocabulary
from kontext_core.model.text import TextEncoders
from kontext_core.model.transformer import Transformer
from kontext_core.model.vae import VAE

from .conftest import TINY, TINY_VAE

Write = Callable[..., Path]


def report(kind: str, config: Any, refusal: str = "") -> FileReport:
    return FileReport(Path("x"), kind, "", "", config, {}, 0, 0, refusal=refusal)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"z_channels": 8}, "it makes 8 channels, but the transformer takes 16"),
        ({"in_channels": 1}, "it is not for pictures of 3 channels whose sides it makes 8 times smaller"),
        ({"out_ch": 4}, "it is not for pictures of 3 channels whose sides it makes 8 times smaller"),
        ({"ch_mult": (1, 2, 4)}, "it is not for pictures of 3 channels whose sides it makes 8 times smaller"),
    ],
)
def test_an_autoencoder(change: dict[str, Any], said: str) -> None:
    assert misfit(report("vae", replace(FLUX_VAE, **change)), KONTEXT_DEV) == said
    assert misfit(report("vae", replace(FLUX_VAE, **change), "it is too old"), KONTEXT_DEV) == "it is too old"


def test_text_encoders(text_encoders: TextEncoders) -> None:
    for kind, config, tokenizer in (
        ("clip", text_encoders.clip.config, text_encoders.clip_tokenizer),
        ("t5", text_encoders.t5.config, text_encoders.t5_tokenizer),
    ):
        own = Vocabulary.of(tokenizer, Path("tokenizer"))
        assert misfit(report(kind, config), TINY, own) == ""
        wide = replace(TINY, vec_in_dim=256, context_in_dim=256)
        assert misfit(report(kind, config), wide, own) == "it is 128 wide, but the transformer takes 256"
        said = misfit(report(kind, config), TINY, replace(own, size=69_328))
        assert said.startswith(
            f"the tokenizer in tokenizer knows 69328 tokens, but its text encoder {config.vocab_size};"
        )
        said = misfit(report(kind, config), TINY, replace(own, end=7))
        assert said.startswith("the tokenizer in tokenizer ends a text with token 7, its text encoder")


@pytest.fixture
def folder(transformer: Transformer, vae: VAE, text_encoders: TextEncoders, tmp_path: Path) -> Path:
    """A whole model."""
    save_model(tmp_path, transformer=transformer, vae=vae, text_encoders=text_encoders, dtype=torch.float32)
    return tmp_path


@pytest.mark.parametrize("change", [{"z_channels": 16, "ch_mult": (1, 2, 2)}])
def test_a_pipeline_is_refused_before_weights_are_read(
    folder: Path, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = VAE(replace(TINY_VAE, **change))
    save_file(other.state_dict(), folder / "ae.safetensors", {"config": json.dumps(asdict(other.config))})
    monkeypatch.setattr(load_parts, "load_transformer", None)
    with pytest.raises(
        CheckpointError, match=r"ae\.safetensors does not fit .*flux1.*: it is not for pictures"
    ):
        pipelines.Pipeline.load(folder, device="cpu")


def test_a_pipelines_vocabulary_is_looked_at_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = folder / "text_encoder_2" / "model.safetensors"
    tensors = load_file(file)
    tensors["shared.weight"] = torch.zeros(1000, 128)
    save_file(tensors, file)
    config = json.loads((folder / "text_encoder_2" / "config.json").read_text())
    (folder / "text_encoder_2" / "config.json").write_text(json.dumps(config | {"vocab_size": 1000}))
    monkeypatch.setattr(load_parts, "load_transformer", None)
    with pytest.raises(CheckpointError, match=r"knows \d+ tokens, but its text encoder 1000"):
        pipelines.Pipeline.load(folder, device="cpu")


@pytest.mark.parametrize("kind", ["vae", "clip", "t5"])
def test_tensors_are_those_that_loading_wants(folder: Path, kind: str) -> None:
    path = folder / {"vae": "ae.safetensors", "clip": "text_encoder", "t5": "text_encoder_2"}[kind]
    check_tensors(path, kind)
    file = path if path.is_file() else path / "model.safetensors"
    whole, about = load_file(file), {"config": json.dumps(asdict(TINY_VAE))} if kind == "vae" else None
    norm = next(key for key in sorted(whole) if "norm" in key and key.endswith("weight"))
    for change, said in (
        ({norm: None}, f"1 missing ({norm})"),
        ({"encoder.strange.weight": torch.zeros(3)}, "1 unexpected (encoder.strange.weight"),
        ({norm: torch.zeros(3)}, f"1 of a wrong shape ({norm} (3,)"),
    ):
        save_file({key: value for key, value in (whole | change).items() if value is not None}, file, about)
        with pytest.raises(CheckpointError) as caught:
            check_tensors(path, kind)
        assert said.replace("text_model.", "") in str(caught.value).replace("text_model.", "")


@pytest.mark.parametrize("said", [[], ["x"], "x", 5])
def test_a_config_that_is_no_object(folder: Path, said: Any) -> None:
    file = folder / "text_encoder" / "model.safetensors"
    save_file(load_file(file), file, {"config": json.dumps(said)})
    with pytest.raises(CheckpointError, match="is not a JSON object"):
        inspect(file)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("text_encoder", {"text_config": 5}),
        ("text_encoder", {"hidden_size": "x"}),
        ("text_encoder", {"num_hidden_layers": 10**9}),
        ("text_encoder_2", {"d_model": "x"}),
        ("text_encoder_2", {"num_layers": 10**9}),
        ("text_encoder_2", {"feed_forward_proj": "a-b-c"}),
    ],
)
def test_a_config_that_does_not_belong_to_the_weights(folder: Path, part: str, said: Any) -> None:
    """Its numbers are compared with the tensors before a model of such a size is made."""
    file = folder / part / "model.safetensors"
    save_file(load_file(file), file, {"config": json.dumps(said)})
    found = inspect(file)
    assert found.kind == ("clip" if part == "text_encoder" else "t5")
    assert found.refusal.startswith("its config ")


@pytest.mark.parametrize("act", ["no such", 5])
def test_a_config_that_makes_no_encoder(folder: Path, act: Any) -> None:
    path = folder / "text_encoder" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"hidden_act": act}))
    with pytest.raises(CheckpointError, match=r"its config says hidden_act .*; it may be quick_gelu"):
        check_tensors(folder / "text_encoder", "clip")


def test_whose_weights_an_autoencoder_holds_is_not_said(write: Write, vae: VAE) -> None:
    """That of Stable Diffusion 3 has FLUX.1's names and shapes."""
    found = inspect(write("v.safetensors", vae.state_dict(), asdict(vae.config)))
    assert found.title == "an autoencoder of FLUX.1's build"


def test_a_file_that_cannot_be_read(write: Write, vae: VAE, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("v.safetensors", vae.state_dict())
    opened = Path.open

    def refused(file: Path, *args: Any, **options: Any) -> Any:
        if file == path:
            raise PermissionError(13, "Permission denied", str(file))
        return opened(file, *args, **options)

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(CheckpointError, match=r"v\.safetensors cannot be read: Permission denied$"):
        inspect(path)
