"""Live previews by taef1 if the user has it, else in rough colours."""

import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

LATENTS = 2 * torch.randn(2, 16, 6, 10, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def folder(comfy_base: Path, monkeypatch: pytest.MonkeyPatch, part: Callable[[str], Any]) -> Iterator[Path]:
    """ComfyUI's folder for it, empty; and models whose own autoencoder is too slow for previews."""
    import folder_paths

    folder = comfy_base / "models" / "vae_approx"
    folder.mkdir(parents=True, exist_ok=True)
    monkeypatch.setitem(
        folder_paths.folder_names_and_paths, "vae_approx", ([str(folder)], {".safetensors", ".pth"})
    )
    monkeypatch.setattr(folder_paths, "models_dir", str(comfy_base / "models"))
    monkeypatch.setattr(part("kontext_core.pipeline"), "_QUICK", 0)
    part("nodes.preview")._say_once.cache_clear()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def decoder(part: Callable[[str], Any]) -> Any:
    torch.manual_seed(0)
    return part("kontext_core.model.preview_decoder").PreviewDecoder()


def _pixels(image: Any) -> Tensor:
    return torch.from_numpy(np.asarray(image).astype(np.float32))


def test_it_is_what_comfyui_makes_of_it(
    part: Callable[[str], Any], comfy_models: None, model: Any, folder: Path, decoder: Any
) -> None:
    from comfy.taesd.taesd import TAESD
    from latent_preview import TAESDPreviewerImpl

    save_file(decoder.state_dict(), folder / "taef1_decoder.safetensors")
    shown = part("nodes.preview").thumbnail(model, LATENTS)
    theirs = TAESD(None, str(folder / "taef1_decoder.safetensors"), latent_channels=16)
    with torch.no_grad():
        wanted = TAESDPreviewerImpl(theirs).decode_latent_to_preview(LATENTS)
    assert shown.size == wanted.size == (80, 48)
    assert (_pixels(shown) - _pixels(wanted)).abs().max() <= 1
    assert _pixels(shown).std() > 1


def test_diffusers_folder_and_comfyuis_name_first(
    part: Callable[[str], Any], model: Any, folder: Path, decoder: Any
) -> None:
    other = {f"decoder.layers.{int(key.split('.')[0]) - 1}.{key.split('.', 1)[1]}": one
             for key, one in decoder.state_dict().items()}  # fmt: skip
    (folder / "taef1").mkdir()
    save_file(other, folder / "taef1" / "diffusion_pytorch_model.safetensors")
    thumbnail = part("nodes.preview").thumbnail
    first = thumbnail(model, LATENTS)
    assert first.size == (80, 48)
    save_file(
        {key: one / 2 for key, one in decoder.state_dict().items()}, folder / "taef1_decoder.safetensors"
    )
    assert (_pixels(thumbnail(model, LATENTS)) - _pixels(first)).abs().max() > 1


def _damaged(folder: Path) -> str:
    (folder / "taef1_decoder.safetensors").write_text("damaged")
    return "taef1_decoder.safetensors is not a safetensors file"


def _pickled(folder: Path) -> str:
    (folder / "taef1_decoder.pth").write_bytes(b"\x80\x02")
    return "taef1_decoder.pth is pickled and is not read; put taef1_decoder.safetensors next to it"


@pytest.mark.parametrize("put", [_damaged, _pickled])
def test_what_cannot_be_used_is_said_once(
    part: Callable[[str], Any],
    model: Any,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
    put: Callable[[Path], str],
) -> None:
    said = put(folder)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert part("nodes.preview").thumbnail(model, LATENTS).size == (10, 6)
    assert caplog.text.count(said) == 1
    assert caplog.text.count("the preview is in rough colours: ") == 1


def test_a_link_to_another_drive_is_followed_and_one_to_nothing_is_passed_over(
    part: Callable[[str], Any], model: Any, folder: Path, decoder: Any, tmp_path: Path
) -> None:
    save_file(decoder.state_dict(), tmp_path / "far.safetensors")
    (folder / "taef1_decoder.safetensors").symlink_to(tmp_path / "nowhere.safetensors")
    (folder / "taef1_decoder.pth").symlink_to(tmp_path / "nowhere.pth")
    assert part("nodes.preview").thumbnail(model, LATENTS).size == (10, 6)
    (folder / "taef1.safetensors").symlink_to(tmp_path / "far.safetensors")
    assert part("nodes.preview").thumbnail(model, LATENTS).size == (80, 48)


def test_rough_where_that_was_asked_for_or_memory_is_short(
    part: Callable[[str], Any], model: Any, folder: Path, decoder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from comfy.cli_args import LatentPreviewMethod, args

    preview = part("nodes.preview")
    save_file(decoder.state_dict(), folder / "taef1_decoder.safetensors")
    assert preview.thumbnail(model, LATENTS).size == (80, 48)
    monkeypatch.setattr(args, "preview_method", LatentPreviewMethod.Latent2RGB)
    assert preview.thumbnail(model, LATENTS).size == (10, 6)
    monkeypatch.undo()

    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(part("kontext_core.pipeline"), "_QUICK", 0)
    monkeypatch.setattr(part("kontext_core.model.preview_decoder").PreviewDecoder, "decode", full)
    assert preview.thumbnail(model, LATENTS).size == (10, 6)
