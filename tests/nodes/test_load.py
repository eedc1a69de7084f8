"""The loader: what it offers, what "auto" finds, and its messages when something is missing."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tools.paths import ROOT


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
        "an autoencoder of FLUX.1's build",
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
        "x.safetensors: an autoencoder",
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
    save_file(part("kontext_core.model.vae").VAE(narrow).state_dict(), placed / "vae" / "sd.safetensors")
    (placed / "vae" / "broken.safetensors").write_bytes(b"<html>")
    found = files.select("mine.safetensors", vae="auto", clip_l="auto", t5xxl="auto").parts
    assert {name: path.name for name, path in found.items()} == {
        "transformer": "mine.safetensors",
        "vae": "x.safetensors",
        "text_encoder": "a.safetensors",
        "text_encoder_2": "b.safetensors",
        "tokenizer": "sd1_tokenizer",
        "tokenizer_2": "t5_tokenizer",
    }


USUAL = {"vae": "ae", "clip_l": "clip_l", "t5xxl": "t5xxl"}
PLACED = {"vae": "x", "clip_l": "a", "t5xxl": "b"}
FOLDERS = {"vae": "vae", "clip_l": "text_encoders", "t5xxl": "text_encoders"}


def said_of_auto(run: Callable[..., Any], **choices: str) -> list[str]:
    lines = run("KontextLoadModel", model="mine.safetensors", **choices).ui.as_dict()["text"][0].splitlines()
    return [line for line in lines if ": auto took " in line]


@pytest.mark.parametrize("choice", USUAL)
def test_auto_takes_the_usual_name_and_says_what_stood_beside_it(
    run: Callable[..., Any], node_list: list[Any], part: Callable[[str], Any], placed: Path, choice: str
) -> None:
    """Contents do not tell whose an autoencoder is: Stable Diffusion 3's has the same names and shapes."""
    files, folder = part("nodes.files"), placed / FOLDERS[choice]
    own = folder / f"{PLACED[choice]}.safetensors"
    assert said_of_auto(run) == []
    choices = {"model": "mine.safetensors", "vae": "auto", "clip_l": "auto", "t5xxl": "auto"}
    before = loader(node_list).fingerprint_inputs(**choices)

    with safe_open(own, "pt") as file:
        about = file.metadata()
    larger = {key: value.double() for key, value in load_file(own).items()}
    save_file(larger, folder / f"{USUAL[choice]}other.safetensors", about)  # a name that only begins alike
    shutil.copy(own, folder / f"{USUAL[choice].upper()}-small.safetensors")
    taken = files.select("mine.safetensors", **{choice: "auto"}).parts[files.FILE_INPUTS[choice][0]]
    assert taken.name == f"{USUAL[choice].upper()}-small.safetensors"
    assert said_of_auto(run) == [
        f"{choice}: auto took {taken.name}; {USUAL[choice]}other.safetensors, {own.name} would fit too: "
        "choose another in the node if you prefer"
    ]
    assert loader(node_list).fingerprint_inputs(**choices) != before, "or the node would not say so"
    assert said_of_auto(run, **{choice: own.name}) == []

    (folder / "sub").mkdir()
    shutil.copy(own, folder / "sub" / files.FILE_INPUTS[choice][-1])
    taken = files.select("mine.safetensors", **{choice: "auto"}).parts[files.FILE_INPUTS[choice][0]]
    assert taken == folder / "sub" / files.FILE_INPUTS[choice][-1], (
        "the one with just the usual name comes first"
    )
    (folder / "link.safetensors").symlink_to(taken)
    [note] = said_of_auto(run)
    assert note.startswith(
        f"{choice}: auto took sub/{taken.name}; {USUAL[choice].upper()}-small.safetensors, "
    )
    assert "link.safetensors" not in note, "it is no other file"


def _larger_vocabulary(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return tensors | {"shared.weight": torch.zeros(69_328, tensors["shared.weight"].shape[1])}


def _without_one(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    name = next(key for key in sorted(tensors) if key.endswith(("norm.weight", "norm1.weight")))
    return {key: value.double() for key, value in tensors.items() if key != name}


def _misshapen_one(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    name = next(key for key in sorted(tensors) if key.endswith(("norm.weight", "norm1.weight")))
    return {key: value.double() for key, value in tensors.items()} | {name: torch.zeros(3)}


def _with_one_more(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: value.double() for key, value in tensors.items()} | {
        "encoder.strange.weight": torch.zeros(3)
    }


UNUSABLE = [(choice, change) for choice in USUAL for change in (_without_one, _misshapen_one, _with_one_more)]


@pytest.mark.parametrize(("choice", "change"), [("t5xxl", _larger_vocabulary), *UNUSABLE])
def test_what_auto_would_take_loads(
    run: Callable[..., Any],
    part: Callable[[str], Any],
    placed: Path,
    choice: str,
    change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]],
) -> None:
    """A file that cannot be loaded is skipped, whatever its name; a single one is named with the reason."""
    files, folder = part("nodes.files"), placed / FOLDERS[choice]
    own = folder / f"{PLACED[choice]}.safetensors"
    with safe_open(own, "pt") as file:
        about = file.metadata()
    unusable = folder / f"{USUAL[choice]}.safetensors"
    save_file(change(load_file(own)), unusable, about)
    assert files.select("mine.safetensors", **{choice: "auto"}).parts[files.FILE_INPUTS[choice][0]] == own
    assert said_of_auto(run) == []
    with pytest.raises(ValueError, match=unusable.name) as alone:
        run("KontextLoadModel", model="mine.safetensors", **{choice: unusable.name})
    own.unlink()
    with pytest.raises(ValueError, match=rf"; {unusable.name} does not fit: ") as caught:
        run("KontextLoadModel", model="mine.safetensors")
    reason = str(caught.value).rpartition(" does not fit: ")[2]
    assert reason in str(alone.value), "both doors give one reason"


def test_parts_that_do_not_belong_together_are_refused_before_they_are_read(
    run: Callable[..., Any], part: Callable[[str], Any], placed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same rule as auto's, for files that were chosen."""
    tensors = load_file(placed / "text_encoders" / "b.safetensors")
    wide = {
        key: value.repeat_interleave(2, dim=-1) if value.shape[-1] == 128 and value.ndim == 2 else value
        for key, value in tensors.items()
    }
    wide = {
        key: value.repeat_interleave(2, dim=0) if key.endswith((".o.weight", ".wo.weight")) else value
        for key, value in wide.items()
    }
    wide = {
        key: value.repeat(2) if key.endswith("layer_norm.weight") else value for key, value in wide.items()
    }
    save_file(wide, placed / "text_encoders" / "wide.safetensors")
    monkeypatch.setattr(part("kontext_core.loading.load_parts"), "load_transformer", None)
    with pytest.raises(
        ValueError, match=r"wide\.safetensors does not fit .*: it is 256 wide, but the transformer takes 128$"
    ):
        run("KontextLoadModel", model="mine.safetensors", t5xxl="wide.safetensors")


def test_chosen_files_win_over_auto(part: Callable[[str], Any], placed: Path) -> None:
    (placed / "vae" / "zz").mkdir()
    shutil.copy(placed / "vae" / "x.safetensors", placed / "vae" / "zz" / "y.safetensors")
    found = (
        part("nodes.files")
        .select("mine.safetensors", vae="zz/y.safetensors", clip_l="auto", t5xxl="auto")
        .parts
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
    assert files.select("sub/mine/", vae="auto").parts["tokenizer"] == folder / "tokenizer"


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
    monkeypatch.setattr(part("kontext_core.loading.locate"), "TINY_FOLDER", tmp_path / "nowhere")
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
        match=r"t5_tokenizer knows 32100 tokens, but its text encoder \d+; they do not belong together",
    ):  # ComfyUI's own is taken, which fits the published model
        run("KontextLoadModel", model="mine/")
    (folder / "tokenizer_2").mkdir()
    with pytest.raises(
        ValueError, match=r"there is no tokenizer for T5 in .*tokenizer_2; needed there: spiece.model"
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
    packed_bytes = part("kontext_core.quant.layer").packed_bytes
    plain, small = run("KontextLoadModel"), run("KontextLoadModel", weights="int4")
    assert packed_bytes(plain[0].transformer) == 0 < packed_bytes(small[0].transformer)
    assert run("KontextLoadModel", weights="as stored")[0] is plain[0] is not small[0]
    assert plain.ui.as_dict()["text"][0].startswith("float32 on cpu\n")
    edited = run(
        "KontextEdit", model=small[0], image=torch.rand(1, 128, 128, 3), instruction="a red cat", steps=1
    )
    assert edited[0].isfinite().all()


def test_every_scheme_of_the_core_can_be_chosen(part: Callable[[str], Any]) -> None:
    load, schemes = part("nodes.load"), part("kontext_core.quant.schemes")
    assert set(load.WEIGHTS) == {*schemes.SCHEMES, schemes.FULL, load.AS_STORED, load.AUTO}


def test_help_names_every_form(part: Callable[[str], Any], node_list: list[Any]) -> None:
    page = (ROOT / "web" / "docs" / "KontextLoadModel.md").read_text(encoding="utf-8")
    formats = page.partition("## Supported formats")[2].partition("## Output")[0]
    kinds = part("kontext_core.quant.gguf").BLOCK_SIZES
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
    parts = part("kontext_core.loading.load_parts")
    for name in ("compile_blocks", "multiply_in_float8"):
        monkeypatch.setattr(parts, name, lambda *_, name=name: done.append(name))
    made = run("KontextLoadModel", speed=speed)[0]
    assert done == ["multiply_in_float8"] * multiplied + ["compile_blocks"] * compiled
    assert made.compute == part("kontext_core.model_spec").ComputeOptions(graph=graph)
    assert run("KontextLoadModel", speed=speed)[0] is made


def test_attention_that_cannot_be_had(run: Callable[..., Any], tiny: Path, image: torch.Tensor) -> None:
    model = run("KontextLoadModel", attention="sage")[0]
    with pytest.raises(ValueError, match="attention 'sage' is not available here"):
        run("KontextEdit", model=model, image=image, instruction="a", steps=1)


def test_links_between_comfyuis_folders(run: Callable[..., Any], placed: Path) -> None:
    (placed / "diffusion_models" / "link.safetensors").symlink_to(
        placed / "diffusion_models" / "mine.safetensors"
    )
    assert run("KontextLoadModel", model="link.safetensors")[0].transformer is not None
