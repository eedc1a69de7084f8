"""The small decoder for previews (taef1), in the files that it comes in."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderTiny
from torch import Tensor

from kontext_core.errors import CheckpointError
from kontext_core.loading import inspect, load_preview, load_vae
from kontext_core.loading.keys import preview_rules
from kontext_core.model.preview_decoder import PreviewDecoder

Write = Callable[..., Path]


@pytest.fixture(scope="module")
def theirs() -> AutoencoderTiny:
    torch.manual_seed(0)
    return AutoencoderTiny(latent_channels=16).eval()


@pytest.fixture(scope="module")
def decoder() -> PreviewDecoder:
    torch.manual_seed(1)
    return PreviewDecoder().eval()


def _latents() -> Tensor:
    return 3 * torch.randn(2, 16, 4, 6, generator=torch.Generator().manual_seed(2))


def test_diffusers_own(theirs: AutoencoderTiny, tmp_path: Path, assert_close: Callable[..., None]) -> None:
    """Read from a folder of theirs, from its file alone, and in half the bits, it gives their picture."""
    theirs.save_pretrained(tmp_path / "taef1")
    with torch.no_grad():
        wanted = (theirs.decode(_latents()).sample / 2 + 0.5).clamp(0, 1)
    assert wanted.std() > 0.01
    for path in (tmp_path / "taef1", tmp_path / "taef1" / "diffusion_pytorch_model.safetensors"):
        assert_close(load_preview(path).decode(_latents()), wanted)
    half = load_preview(tmp_path / "taef1", dtype=torch.bfloat16).decode(_latents())
    assert half.dtype == torch.bfloat16
    assert (half.float() - wanted).abs().max() < 0.02
    report = inspect(tmp_path / "taef1")
    assert (report.kind, report.format, report.config) == ("preview", "diffusers' names", 16)
    assert "taesd3) have the same keys and shapes" in report.describe()


def test_the_table_both_ways(theirs: AutoencoderTiny, decoder: PreviewDecoder) -> None:
    ours, rules = decoder.state_dict(), preview_rules()
    names = {rule.sources[0]: ours[rule.published] for rule in rules if rule.published in ours}
    assert len(names) == len(ours)
    wanted = {key for key in theirs.state_dict() if key.startswith("decoder.")}
    assert names.keys() == wanted
    assert {key: one.shape for key, one in names.items()} == {
        key: theirs.state_dict()[key].shape for key in wanted
    }


@pytest.mark.parametrize("prefix", ["", "taesd_decoder."])
def test_published_names(decoder: PreviewDecoder, write: Write, prefix: str) -> None:
    """As ComfyUI keeps it: the decoder alone, or beside the encoder in one file."""
    tensors = {prefix + key: one for key, one in decoder.state_dict().items()}
    if prefix:
        tensors |= {"taesd_encoder.0.weight": torch.ones(64, 3, 3, 3), "vae_scale": torch.tensor(0.3611)}
    path = write("taef1_decoder.safetensors", tensors)
    loaded = load_preview(path)
    assert torch.equal(loaded.decode(_latents()), decoder.decode(_latents()))
    assert loaded.decode(_latents()).shape == (2, 3, 32, 48)
    assert inspect(path).parameters == 1_229_443
    with pytest.raises(
        CheckpointError, match=r"is a small decoder for previews \(TAESD\) and not the autoencoder"
    ):
        load_vae(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"1.weight": torch.ones(64, 4, 3, 3)}, "cannot be used as the decoder for previews: it is for latents of 4 channels"),
        ({"19.bias": None}, r"1 missing \(19\.bias\)"),
        ({"9.conv.2.weight": torch.ones(2, 2)}, r"1 of a wrong shape \(9\.conv\.2\.weight"),
        ({"1.weight": None}, r"1\.weight is missing"),
        ({"18.conv.0.weight": None}, "of an unknown kind and not the decoder for previews of FLUX.1; needed: taef1_decoder"),
    ],
)  # fmt: skip
def test_what_does_not_fit(
    decoder: PreviewDecoder, write: Write, change: dict[str, Tensor | None], said: str
) -> None:
    tensors = {key: one for key, one in (decoder.state_dict() | change).items() if one is not None}
    with pytest.raises(CheckpointError, match=said):
        load_preview(write("x.safetensors", tensors))


def test_the_encoder_is_named(write: Write) -> None:
    keys = ("0.weight", "1.conv.0.weight", "14.weight")
    path = write("taef1_encoder.safetensors", {key: torch.ones(1) for key in keys})
    with pytest.raises(
        CheckpointError, match=r"is the encoder of a small autoencoder \(TAESD\) and not the decoder"
    ):
        load_preview(path)
