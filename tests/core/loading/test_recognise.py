"""A file is recognised by its keys and shapes, whatever its name."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kontext_core.config import FLUX_VAE, KONTEXT_DEV
from kontext_core.errors import CheckpointError
from kontext_core.loading import inspect, load_transformer, load_vae
from kontext_core.loading.checkpoint import Checkpoint
from kontext_core.loading.recognise import FileReport, recognise
from kontext_core.loading.tensors import LazyTensor
from kontext_core.model.transformer import Transformer
from kontext_core.model.vae import VAE

Recognise = Callable[..., FileReport]


@pytest.fixture(scope="module")
def recognised() -> Recognise:
    """The report on a file of a module's shapes, with some of them changed."""

    def recognised(build: Callable[[], nn.Module], **changed: tuple[int, ...]) -> FileReport:
        with torch.device("meta"):
            tensors = build().state_dict()
        shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
        shapes |= {key.replace("__", "."): shape for key, shape in changed.items()}
        weights = {
            key: LazyTensor(shape, torch.bfloat16, lambda: torch.empty(0)) for key, shape in shapes.items()
        }
        return recognise(Checkpoint(Path("some.safetensors"), weights, 2**34))[0]

    return recognised


def test_dev_and_kontext_cannot_be_told_apart(recognised: Recognise):
    report = recognised(lambda: Transformer(KONTEXT_DEV))
    assert report.config == KONTEXT_DEV
    assert report.title == "a FLUX.1 transformer, dev or Kontext"
    assert report.describe().splitlines() == [
        "some.safetensors: a FLUX.1 transformer, dev or Kontext",
        "11,901,408,320 parameters, 16.00 GiB, published names, tensors: 780 x bfloat16",
        "19 double and 38 single blocks of width 3072, with guidance, 512 text tokens, "
        "references by default in layout 'offset'",
        "FLUX.1 dev and Kontext have the same keys and shapes, so the file does not tell which it is; "
        "only Kontext was trained to edit",
    ]


def test_the_dtype_of_every_kind_of_layer_and_the_metadata(transformer, write):
    tensors = {
        key: one.to(torch.float8_e4m3fn) if one.ndim == 2 and "single" in key else one.bfloat16()
        for key, one in transformer.state_dict().items()
    }
    report = inspect(
        write("x.safetensors", tensors, asdict(transformer.config), who="somebody\nelse", long="x" * 999)
    )
    assert report.describe().splitlines()[2] == (
        "by layer: double_blocks 48 x bfloat16; final_layer.adaLN_modulation 2 x bfloat16; others 18 x bfloat16; "
        "single_blocks 15 x bfloat16, 9 x float8_e4m3fn"
    )
    said = report.describe_closely().splitlines()
    assert "single_blocks.*.linear1.weight: 3 x float8_e4m3fn" in said
    assert "double_blocks.*.img_mlp.*.weight: 4 x bfloat16" in said
    assert said[said.index("metadata:") + 1 :] == [
        next(line for line in said if line.startswith("config = {")), f"long = {'x' * 160}...", "who = somebody else",
    ]  # fmt: skip
    assert len(said) < 60


def test_schnell_was_not_trained_to_edit(recognised: Recognise):
    report = recognised(lambda: Transformer(replace(KONTEXT_DEV, guidance_embed=False)))
    assert report.title == "the FLUX.1 schnell transformer"
    assert report.config.text_length == 256
    assert "schnell was not trained to edit" in report.describe()
    assert not report.refusal


@pytest.mark.parametrize(
    ("inputs", "what"), [(384, "FLUX.1 Fill"), (128, "a FLUX.1 control model"), (96, "unknown variant")]
)
def test_variants_with_more_inputs(recognised: Recognise, inputs: int, what: str):
    report = recognised(lambda: Transformer(KONTEXT_DEV), img_in__weight=(3072, inputs))
    assert report.kind == "transformer"
    assert what in report.refusal
    assert f"its image input takes {inputs} numbers a token and not 64" in report.refusal
    assert "it cannot be used here" in report.describe()


def test_the_published_autoencoder(recognised: Recognise):
    report = recognised(lambda: VAE(FLUX_VAE))
    assert (report.kind, report.config, report.parameters) == ("vae", FLUX_VAE, 83_819_683)


OTHERS: dict[str, tuple[str, ...]] = {
    "SDXL UNet": ("input_blocks.0.0.weight", "label_emb.0.0.weight"),
    "Stable Diffusion 1 or 2 UNet": ("model.diffusion_model.input_blocks.0.0.weight", "cond_stage_model.x"),
    "Stable Diffusion 3": ("model.diffusion_model.joint_blocks.0.context_block.attn.qkv.weight",),
    "Chroma": ("double_blocks.0.img_attn.qkv.weight", "distilled_guidance_layer.in_proj.weight"),
    "FLUX.2": ("double_blocks.0.img_attn.qkv.weight", "double_stream_modulation_img.lin.weight"),
    "ControlNet": ("controlnet_x_embedder.weight",),
    "a LoRA": ("transformer.transformer_blocks.0.attn.to_q.lora_A.weight",),
    "LoRA": ("lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight",),
    "UMT5": (
        "encoder.block.0.layer.0.SelfAttention.q.weight",
        "encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight",
    ),
    "unknown kind": ("what.is.this",),
}


@pytest.mark.parametrize("what", OTHERS)
def test_what_is_something_else_is_refused_by_what_it_is(write, what: str):
    path = write("flux1-kontext-dev.safetensors", {key: torch.zeros(2, 2) for key in OTHERS[what]})
    assert what in inspect(path).describe()
    with pytest.raises(CheckpointError) as error:
        load_transformer(path)
    assert f"{path} is " in str(error.value)
    assert what in str(error.value)
    assert "needed: flux1-kontext-dev.safetensors" in str(error.value)


def test_fill_is_refused(transformer, write):
    tensors = transformer.state_dict() | {"img_in.weight": torch.zeros(64, 384)}
    with pytest.raises(CheckpointError, match=r"cannot be used as the transformer: it is FLUX\.1 Fill"):
        load_transformer(write("flux1-kontext-dev.safetensors", tensors))


@pytest.mark.parametrize(("channels", "whose"), [(4, "Stable Diffusion 1, 2 or SDXL"), (32, "FLUX.2")])
def test_an_autoencoder_with_other_latents(vae: VAE, write, channels: int, whose: str):
    path = write(
        "ae.safetensors", vae.state_dict() | {"decoder.conv_in.weight": torch.zeros(64, channels, 3, 3)}
    )
    with pytest.raises(
        CheckpointError, match=f"an autoencoder with {channels} latent channels.*{whose}.*FLUX.1 has 16"
    ):
        load_vae(path)


@pytest.mark.parametrize(
    "end",
    [
        "lora_A.weight",
        "lora_A.style.weight",
        "lora_A",
        "lora_down.weight",
        "lora.down.weight",
        "lora_linear_layer.down.weight",
        "processor.qkv_lora1.down.weight",
        "processor.proj_lora.down.weight",
        "lokr_w1",
        "lokr_w1_a.default",
        "hada_w1_a",
        "diff",
        "diff_b",
    ],
)
def test_loras_of_every_kind(write, end: str):
    path = write("flux1-kontext-dev.safetensors", {f"double_blocks.0.img_attn.qkv.{end}": torch.zeros(2, 2)})
    report = inspect(path)
    assert (report.kind, report.title) == ("lora", "a LoRA")
    assert "use it with Kontext LoRA" in report.refusal


def test_metadata_that_would_move_the_cursor(transformer, write):
    path = write("x.safetensors", transformer.state_dict(), asdict(transformer.config), who="a\x1b[2Jb\rc")
    assert r"who = a\x1b[2Jb c" in inspect(path).describe_closely()
    path = write("y.safetensors", {"what\x1b[2J": torch.zeros(1)})
    assert r"what\x1b[2J: 1 x float32" in inspect(path).describe_closely()


def test_one_kind_is_not_another(transformer, vae: VAE, write):
    transformer_path = write("t.safetensors", transformer.state_dict(), asdict(transformer.config))
    vae_path = write("v.safetensors", vae.state_dict())
    with pytest.raises(
        CheckpointError, match=r"is a FLUX transformer of its own size and not the autoencoder"
    ):
        load_vae(transformer_path)
    with pytest.raises(CheckpointError, match=r"is an autoencoder of FLUX\.1's build and not"):
        load_transformer(vae_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"img_in.bias": None}, r"1 missing \(img_in\.bias\)"),
        (
            {"img_in.bias": None, "extra": torch.ones(1)},
            r"1 missing \(img_in\.bias\); 1 unexpected \(extra\)",
        ),
        ({"img_in.bias": torch.ones(3)}, r"1 of a wrong shape \(img_in\.bias \(3,\) in place of \(64,\)\)"),
        ({f"x{i}": torch.ones(1) for i in range(6)}, r"6 unexpected \(x0, x1, x2, x3 and 2 more\)"),
        ({"img_in.weight": torch.ones(32, 64)}, r"its config says hidden_size 64, its tensors 32"),
        ({"img_in.weight": None}, r"img_in\.weight is missing, without which its sizes are unknown"),
        (
            {"txt_in.weight": torch.ones(64)},
            r"txt_in\.weight has the wrong shape \(64,\); it should have 2 axes",
        ),
        (
            {"img_in.weight.quant_state.bitsandbytes__nf4": torch.ones(1)},
            r"how img_in\.weight is packed \(quant_state\) cannot be read",
        ),
    ],
)
def test_keys_are_strict(transformer, write, change: dict[str, Tensor | None], said: str):
    tensors = {key: t for key, t in (transformer.state_dict() | change).items() if t is not None}
    path = write("x.safetensors", tensors, asdict(transformer.config))
    with pytest.raises(CheckpointError, match=rf"x\.safetensors.*{said}"):
        load_transformer(path)


def test_a_config_that_says_too_little(transformer, write):
    with pytest.raises(
        CheckpointError, match="heads are 32 wide and nothing says how the rotary axes share them"
    ):
        load_transformer(write("x.safetensors", transformer.state_dict()))


def test_a_config_that_is_impossible(transformer, write):
    path = write(
        "x.safetensors", transformer.state_dict(), asdict(transformer.config) | {"axes_dim": [1, 2, 3]}
    )
    with pytest.raises(CheckpointError, match="its sizes make no model: axes_dim"):
        load_transformer(path)


def test_a_model_that_is_not_there(write, tmp_path: Path):
    with pytest.raises(
        CheckpointError, match=r"no file or folder .*models, where the transformer should be; needed: flux1"
    ):
        load_transformer(tmp_path / "models")
    write("models/readme.safetensors", {"what": torch.ones(1)})
    with pytest.raises(CheckpointError) as error:
        load_vae(tmp_path / "models")
    assert str(error.value) == (
        f"there is no autoencoder in {tmp_path / 'models'}; needed there: ae.safetensors, or diffusers' files in a "
        "folder 'vae'; readme.safetensors is of an unknown kind"
    )


def test_a_folder_is_searched_by_content(transformer, vae: VAE, write, tmp_path: Path):
    write("m/b.safetensors", transformer.state_dict(), asdict(transformer.config))
    write("m/a.safetensors", vae.state_dict(), asdict(vae.config))
    (tmp_path / "m" / "c.safetensors").write_text("damaged, and not asked for")
    assert load_transformer(tmp_path / "m").config == transformer.config
    assert load_vae(tmp_path / "m").config == vae.config


def test_a_folder_with_a_damaged_file_only(tmp_path: Path):
    (tmp_path / "flux1-kontext-dev.safetensors").write_text("damaged")
    with pytest.raises(CheckpointError, match=r"flux1-kontext-dev\.safetensors is not a safetensors file"):
        load_transformer(tmp_path)


def test_a_folder_with_several_transformers(transformer, write, tmp_path: Path):
    for name in ("one", "two"):
        write(f"m/{name}.safetensors", transformer.state_dict(), asdict(transformer.config))
    with pytest.raises(
        CheckpointError, match=r"could be the transformer: one\.safetensors, two\.safetensors; name one"
    ):
        load_transformer(tmp_path / "m")
