"""The loader: what it offers, what "auto" finds, what it says when something is missing."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tools.paths import ROOT

LIKE_PUBLISHED = {"vocab_size": 49408, "eos_token_id": 49407, "bos_token_id": 49406, "pad_token_id": 49407}


@pytest.fixture
def models(comfy_base: Path) -> Iterator[Path]:
    """ComfyUI's folder of models, empty."""
    folder = comfy_base / "models"
    kinds = [folder / name for name in ("diffusion_models", "vae", "text_encoders", "diffusers")]
    for kind in kinds:
        kind.mkdir(parents=True, exist_ok=True)
    yield folder
    for kind in kinds:  # the folders stay: ComfyUI does not expect them to go away
        for entry in kind.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


@pytest.fixture(scope="session")
def single_files(
    part: Callable[[str], Any], random_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Files as most users have them, tiny but with the whole vocabularies: ComfyUI's tokenizers belong to them."""
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    folder = tmp_path_factory.mktemp("single")
    torch.manual_seed(0)
    width = part("kontext_core.train.config").TINY_TRANSFORMER.context_in_dim
    small = {"num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 77}
    clip = CLIPTextModel(
        CLIPTextConfig(hidden_size=width, intermediate_size=8, projection_dim=8, **small, **LIKE_PUBLISHED)
    )
    t5 = T5EncoderModel(
        T5Config(
            vocab_size=32128, d_model=width, d_ff=8, d_kv=64, num_heads=2, num_layers=1,
            feed_forward_proj="gated-gelu", is_encoder_decoder=False, use_cache=False,
        )
    )  # fmt: skip
    clip_keys = {
        f"text_model.{key.removeprefix('text_model.')}": value for key, value in clip.state_dict().items()
    }
    t5_keys = {key: value for key, value in t5.state_dict().items() if key != "encoder.embed_tokens.weight"}
    paths = {name: folder / f"{name}.safetensors" for name in ("transformer", "vae", "clip", "t5")}
    shutil.copy(random_model / "flux1-kontext-dev.safetensors", paths["transformer"])
    shutil.copy(random_model / "ae.safetensors", paths["vae"])
    config = {"config": json.dumps(clip.config.to_dict())}  # its shapes say it for CLIP-L only
    save_file({key: value.contiguous() for key, value in clip_keys.items()}, paths["clip"], config)
    save_file({key: value.contiguous() for key, value in t5_keys.items()}, paths["t5"])
    return paths


@pytest.fixture
def placed(models: Path, single_files: dict[str, Path]) -> Path:
    """The single files, each in its folder under a name that says nothing."""
    shutil.copy(single_files["transformer"], models / "diffusion_models" / "mine.safetensors")
    shutil.copy(single_files["vae"], models / "vae" / "x.safetensors")
    shutil.copy(single_files["clip"], models / "text_encoders" / "a.safetensors")
    shutil.copy(single_files["t5"], models / "text_encoders" / "b.safetensors")
    return models


def options(node_list: list[Any], name: str) -> list[str]:
    loader = next(node for node in node_list if node.GET_SCHEMA().node_id == "KontextLoadModel")
    return next(one.options for one in loader.GET_SCHEMA().inputs if one.id == name)


def loader(node_list: list[Any]) -> Any:
    return next(node for node in node_list if node.GET_SCHEMA().node_id == "KontextLoadModel")


def test_tiny_is_first_and_says_what_it_is(run: Callable[..., Any], node_list: list[Any], tiny: Path) -> None:
    assert options(node_list, "model")[0] == "tiny (comes along)"
    text = run("KontextLoadModel").ui.as_dict()["text"][0]
    assert text.startswith("float32 on cpu\n")
    for words in (
        "a FLUX transformer",
        "the autoencoder of FLUX.1",
        "a CLIP text encoder",
        "a T5 text encoder",
    ):
        assert words in text


def test_two_loaders_share_a_model(run: Callable[..., Any], tiny: Path) -> None:
    first = run("KontextLoadModel")[0]
    assert run("KontextLoadModel")[0] is first
    assert run("KontextLoadModel", dtype="bfloat16")[0] is not first


def test_dtype_is_the_models(run: Callable[..., Any], tiny: Path) -> None:
    loaded = run("KontextLoadModel", dtype="float16")[0]
    assert loaded.transformer.img_in.weight.dtype == torch.float16
    assert loaded.text.t5.dtype == torch.bfloat16  # it overflows in float16


def test_weights_are_ordinary_tensors(run: Callable[..., Any], tiny: Path) -> None:
    loaded = run("KontextLoadModel", dtype="bfloat16")[0]
    assert not any(parameter.is_inference() for parameter in loaded.transformer.parameters())


def test_single_files_are_found_by_content(run: Callable[..., Any], placed: Path) -> None:
    made = run("KontextLoadModel", model="mine.safetensors")
    text = made.ui.as_dict()["text"][0]
    for name in (
        "mine.safetensors: a FLUX",
        "x.safetensors: the autoencoder",
        "a.safetensors: a CLIP",
        "b.safetensors: a T5",
    ):
        assert name in text
    edited = run(
        "KontextEdit", model=made[0], image=torch.rand(1, 128, 128, 3), instruction="a red cat", steps=1
    )
    assert edited[0].shape == (1, 128, 128, 3)


def test_auto_takes_the_largest_that_fits(
    part: Callable[[str], Any], placed: Path, single_files: dict[str, Path]
) -> None:
    files = part("nodes.files")
    half = {key: value.half() for key, value in load_file(single_files["t5"]).items()}
    save_file(half, placed / "text_encoders" / "0.safetensors")
    narrow = part("kontext_core.config").VAEConfig(
        resolution=32, in_channels=3, ch=32, out_ch=3, ch_mult=(1, 2, 4, 4), num_res_blocks=1, z_channels=4,
        scale_factor=1.0, shift_factor=0.0,
    )  # fmt: skip
    save_file(part("kontext_core.vae").VAE(narrow).state_dict(), placed / "vae" / "sd.safetensors")
    (placed / "vae" / "broken.safetensors").write_bytes(b"<html>")
    found = files.parts_of("mine.safetensors", vae="auto", clip_l="auto", t5xxl="auto")
    assert {name: path.name for name, path in found.items()} == {
        "transformer": "mine.safetensors",
        "vae": "x.safetensors",
        "text_encoder": "a.safetensors",
        "text_encoder_2": "b.safetensors",
        "tokenizer": "sd1_tokenizer",
        "tokenizer_2": "t5_tokenizer",
    }


def test_chosen_files_win_over_auto(part: Callable[[str], Any], placed: Path) -> None:
    (placed / "vae" / "zz").mkdir()
    shutil.copy(placed / "vae" / "x.safetensors", placed / "vae" / "zz" / "y.safetensors")
    found = part("nodes.files").parts_of(
        "mine.safetensors", vae="zz/y.safetensors", clip_l="auto", t5xxl="auto"
    )
    assert found["vae"] == placed / "vae" / "zz" / "y.safetensors"


@pytest.mark.parametrize("where", ["diffusion_models", "diffusers"])
def test_model_folders(
    run: Callable[..., Any], node_list: list[Any], models: Path, random_model: Path, where: str
) -> None:
    shutil.copytree(random_model, models / where / "FLUX.1-Kontext")
    assert options(node_list, "model") == ["tiny (comes along)", "FLUX.1-Kontext/"]
    loaded = run("KontextLoadModel", model="FLUX.1-Kontext/")[0]
    assert loaded.transformer.config.text_length == 32


def test_model_folder_deeper_down(part: Callable[[str], Any], models: Path, random_model: Path) -> None:
    folder = models / "diffusion_models" / "sub" / "mine"
    shutil.copytree(random_model, folder)
    files = part("nodes.files")
    assert files.models() == ["tiny (comes along)", "sub/mine/"]
    assert files.parts_of("sub/mine/", vae="auto")["tokenizer"] == folder / "tokenizer"


def test_missing_model_is_refused_before_the_run(node_list: list[Any], models: Path) -> None:
    said = loader(node_list).validate_inputs(model="gone.safetensors")
    assert "'gone.safetensors' is not there" in said
    assert str(models / "diffusion_models") in said
    assert "flux1-dev-kontext_fp8_scaled.safetensors" in said
    assert "\n" not in said
    assert loader(node_list).validate_inputs(model="tiny (comes along)") is True


@pytest.mark.parametrize("name", ["../../secret.safetensors", "/etc/passwd", "..", "", "mine.safetensors/.."])
def test_paths_do_not_leave_comfyuis_folders(run: Callable[..., Any], placed: Path, name: str) -> None:
    shutil.copy(placed / "vae" / "x.safetensors", placed.parent.parent / "secret.safetensors")
    with pytest.raises(ValueError, match="is not there"):
        run("KontextLoadModel", model=name)
    with pytest.raises(ValueError, match=r"there is no file .* in "):
        run("KontextLoadModel", model="mine.safetensors", vae=name)


@pytest.mark.parametrize(
    ("folder", "file", "wanted"),
    [
        ("vae", "x.safetensors", "ae.safetensors"),
        ("text_encoders", "a.safetensors", "clip_l.safetensors"),
        ("text_encoders", "b.safetensors", "t5xxl_fp16.safetensors"),
    ],
)
def test_missing_part_names_folder_and_file(
    run: Callable[..., Any], placed: Path, folder: str, file: str, wanted: str
) -> None:
    (placed / folder / file).unlink()
    with pytest.raises(
        ValueError, match=f"that fits mine.safetensors is in .*{folder}.*; put {wanted} there"
    ) as caught:
        run("KontextLoadModel", model="mine.safetensors")
    assert type(caught.value) is ValueError  # its own class would be shown with the whole path of the pack
    assert "\n" not in str(caught.value)


def test_tiny_model_that_is_not_there(
    run: Callable[..., Any], part: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part("kontext_core.loading.folders"), "TINY", tmp_path / "nowhere")
    with pytest.raises(
        ValueError, match=r"there is no file or folder .*nowhere, where the transformer should be"
    ):
        run("KontextLoadModel")


def _fill(folder: Path) -> None:
    tensors = {
        "double_blocks.0.img_attn.qkv.weight": torch.zeros(96, 32),
        "img_in.weight": torch.zeros(32, 384),
    }
    save_file(tensors | {"final_layer.linear.weight": torch.zeros(64, 32)}, folder / "m.safetensors")


def _sdxl(folder: Path) -> None:
    tensors = {"input_blocks.0.0.weight": torch.zeros(4, 4), "label_emb.0.0.weight": torch.zeros(4)}
    save_file(tensors, folder / "m.safetensors")


def _text(folder: Path) -> None:
    (folder / "m.safetensors").write_text("hello, this is no model")


def _cut(folder: Path) -> None:
    data = (folder / "mine.safetensors").read_bytes()
    (folder / "m.safetensors").write_bytes(data[: len(data) // 2])


def _misshapen(folder: Path) -> None:
    tensors = load_file(folder / "mine.safetensors")
    tensors["double_blocks.0.img_mod.lin.bias"] = torch.zeros(3)
    with safe_open(folder / "mine.safetensors", "pt") as file:
        save_file(tensors, folder / "m.safetensors", file.metadata())


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (_fill, "FLUX.1 Fill"),
        (_sdxl, "an SDXL UNet"),
        (_text, "not a safetensors file: it is text"),
        (_cut, "is cut off"),
        (_misshapen, "double_blocks.0.img_mod.lin.bias"),
    ],
)
def test_wrong_files_are_refused_by_what_they_are(
    run: Callable[..., Any], placed: Path, write: Callable[[Path], None], said: str
) -> None:
    write(placed / "diffusion_models")
    with pytest.raises(ValueError, match=said) as caught:
        run("KontextLoadModel", model="m.safetensors")
    assert "\n" not in str(caught.value)


def test_folder_without_tokenizer(run: Callable[..., Any], models: Path, random_model: Path) -> None:
    folder = models / "diffusion_models" / "mine"
    shutil.copytree(random_model, folder)
    shutil.rmtree(folder / "tokenizer_2")
    with pytest.raises(
        ValueError,
        match=r"t5_tokenizer knows 32100 tokens and its text encoder \d+; they do not belong together",
    ):  # ComfyUI's own is taken, which fits the published model
        run("KontextLoadModel", model="mine/")
    (folder / "tokenizer_2").mkdir()
    with pytest.raises(
        ValueError, match=r"there is no tokenizer for T5 in .*tokenizer_2; wanted there: spiece.model"
    ):
        run("KontextLoadModel", model="mine/")


def test_a_changed_file_is_loaded_again(run: Callable[..., Any], node_list: list[Any], placed: Path) -> None:
    choices = {"model": "mine.safetensors", "vae": "auto", "clip_l": "auto", "t5xxl": "auto"}
    rest = {"dtype": "auto", "device": "auto"}
    before = loader(node_list).fingerprint_inputs(**choices, **rest)
    assert loader(node_list).fingerprint_inputs(**choices, **rest) == before
    loaded = run("KontextLoadModel", **choices)[0]
    stamp = (placed / "vae" / "x.safetensors").stat().st_mtime_ns + 10**9
    os.utime(placed / "vae" / "x.safetensors", ns=(stamp, stamp))
    assert loader(node_list).fingerprint_inputs(**choices, **rest) != before
    assert run("KontextLoadModel", **choices)[0] is not loaded


def test_cuda_without_a_gpu(run: Callable[..., Any], tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        ValueError, match="device is 'cuda' and PyTorch finds no such GPU here; choose 'auto' or 'cpu'"
    ):
        run("KontextLoadModel", device="cuda")


def test_gguf_files_are_offered(
    run: Callable[..., Any], node_list: list[Any], placed: Path, part: Callable[[str], Any]
) -> None:
    from benchmarks.written import write

    transformer = part("kontext_core.loading").load_transformer(
        placed / "diffusion_models" / "mine.safetensors"
    )
    write("GGUF Q8_0", transformer, placed / "diffusion_models" / "small")
    assert options(node_list, "model") == ["tiny (comes along)", "mine.safetensors", "small.gguf"]
    text = run("KontextLoadModel", model="small.gguf").ui.as_dict()["text"][0]
    assert text.startswith("float32 on cpu, weights packed in ")
    assert "published names, GGUF, tensors: " in text


def test_weights_are_packed_as_chosen(
    run: Callable[..., Any], part: Callable[[str], Any], tiny: Path
) -> None:
    packed_bytes = part("kontext_core.packed.layer").packed_bytes
    plain, small = run("KontextLoadModel"), run("KontextLoadModel", weights="int4")
    assert packed_bytes(plain[0].transformer) == 0 < packed_bytes(small[0].transformer)
    assert run("KontextLoadModel", weights="as stored")[0] is plain[0] is not small[0]
    assert plain.ui.as_dict()["text"][0].startswith("float32 on cpu\n")
    edited = run(
        "KontextEdit", model=small[0], image=torch.rand(1, 128, 128, 3), instruction="a red cat", steps=1
    )
    assert edited[0].isfinite().all()


def test_every_scheme_of_the_core_can_be_chosen(part: Callable[[str], Any]) -> None:
    load, schemes = part("nodes.load"), part("kontext_core.packed.schemes")
    assert set(load.WEIGHTS) == {*schemes.SCHEMES, schemes.FULL, load.AS_STORED, load.AUTO}


def test_help_names_every_form(part: Callable[[str], Any], node_list: list[Any]) -> None:
    page = (ROOT / "web" / "docs" / "KontextLoadModel.md").read_text(encoding="utf-8")
    formats = page.partition("## Formats")[2].partition("## Output")[0]
    kinds = part("kontext_core.packed.gguf").BLOCKS
    named = [
        *kinds,
        "F32",
        "F16",
        "BF16",
        "float16",
        "float32",
        "e4m3fn",
        "e5m2",
        "fp8_scaled",
        "NF4",
        "FP4",
        "int8 and float8 of torchao",
    ]
    assert [one for one in named if one not in formats] == []
    schema = next(node.GET_SCHEMA() for node in node_list if node.GET_SCHEMA().node_id == "KontextLoadModel")
    tooltip = {one.id: one.tooltip for one in schema.inputs}["weights"]
    for scheme in part("nodes.load").WEIGHTS:
        assert f"*{scheme}*" in page
        assert re.search(rf"\b{scheme}\b", tooltip), scheme


def test_a_model_within_a_memory(run: Callable[..., Any], tiny: Path, image: torch.Tensor) -> None:
    plain, small = run("KontextLoadModel"), run("KontextLoadModel", memory=0.017)
    said = small.ui.as_dict()["text"][0].splitlines()[1]
    assert "of weights on the device" in said
    assert "come from the host's memory: " in said
    assert run("KontextLoadModel", memory=0.017)[0] is small[0] is not plain[0]
    edits = [
        run("KontextEdit", model=one[0], image=image, instruction="a", steps=1)[0] for one in (plain, small)
    ]
    assert torch.equal(*edits)
    auto = run("KontextLoadModel", weights="auto", memory=0.017).ui.as_dict()["text"][0].splitlines()
    assert auto[1].startswith("weights ")
    free = run("KontextLoadModel", weights="auto").ui.as_dict()["text"][0]
    assert "weights as stored, the first of as stored, int8, fp8, nf4 whose blocks stay within" in free
    with pytest.raises(RuntimeError, match=r"an edit needs .* even when all blocks visit the device"):
        run("KontextLoadModel", memory=0.001)


@pytest.mark.parametrize(
    ("speed", "compiled", "multiplied", "graph"),
    [
        ("compiled", True, False, False),
        ("graph", False, False, True),
        ("fp8 compiled", True, True, False),
    ],
)
def test_how_steps_are_computed(
    run: Callable[..., Any],
    part: Callable[[str], Any],
    tiny: Path,
    monkeypatch: pytest.MonkeyPatch,
    speed: str,
    compiled: bool,
    multiplied: bool,
    graph: bool,
) -> None:
    done: list[Any] = []
    pipelines = part("kontext_core.pipeline")
    for name in ("compile_blocks", "multiply_in_float8"):
        monkeypatch.setattr(pipelines, name, lambda *_, name=name: done.append(name))
    made = run("KontextLoadModel", speed=speed)[0]
    assert done == ["multiply_in_float8"] * multiplied + ["compile_blocks"] * compiled
    assert made.wishes == part("kontext_core.kernels").Wishes(graph=graph)
    assert run("KontextLoadModel", speed=speed)[0] is made


def test_attention_that_cannot_be_had(run: Callable[..., Any], tiny: Path, image: torch.Tensor) -> None:
    model = run("KontextLoadModel", attention="sage")[0]
    with pytest.raises(ValueError, match="attention 'sage' cannot be had here"):
        run("KontextEdit", model=model, image=image, instruction="a", steps=1)


@pytest.mark.parametrize("what", ["file", "folder", "file in a folder"])
def test_links_that_leave_comfyuis_folders(
    run: Callable[..., Any], placed: Path, random_model: Path, tmp_path: Path, what: str
) -> None:
    models = placed / "diffusion_models"
    name = {"file": "link.safetensors", "folder": "link/", "file in a folder": "copy/"}[what]
    try:
        if what == "file":
            (models / name).symlink_to(shutil.copy(models / "mine.safetensors", tmp_path / "x.safetensors"))
        elif what == "folder":
            (models / "link").symlink_to(random_model, target_is_directory=True)
        else:
            shutil.copytree(random_model, models / "copy")
            (models / "copy" / "ae.safetensors").unlink()
            (models / "copy" / "ae.safetensors").symlink_to(random_model / "ae.safetensors")
        with pytest.raises(
            ValueError, match=r"is a link to .*, outside of ComfyUI's model folders; name its folder in"
        ):
            run("KontextLoadModel", model=name)
    finally:
        if what == "folder":
            (models / "link").unlink()


def test_links_between_comfyuis_folders(run: Callable[..., Any], placed: Path) -> None:
    (placed / "diffusion_models" / "link.safetensors").symlink_to(
        placed / "diffusion_models" / "mine.safetensors"
    )
    assert run("KontextLoadModel", model="link.safetensors")[0].transformer is not None
