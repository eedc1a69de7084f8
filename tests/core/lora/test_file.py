"""Files that cannot be used are refused in one sentence that says what they are and why."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from kontext_core.errors import CheckpointError
from kontext_core.loading.tensors import LazyTensor
from kontext_core.lora import Lora, inspect_lora
from kontext_core.lora.file import LoraFile
from kontext_core.lora.foreign_models import looks_like
from kontext_core.lora.keys import FORMATS, published_names
from kontext_core.lora.report import match
from kontext_core.model.transformer import Transformer

from .conftest import Tensors, attached, low_rank, viewed

QKV = "lora_unet_double_blocks_0_img_attn_qkv"
DOWN, UP = f"{QKV}.lora_down.weight", f"{QKV}.lora_up.weight"
GOOD = low_rank(QKV, 96, 32)
Write = Callable[..., Path]


def refused(transformer: Transformer, file: Path, **options: Any) -> str:
    with pytest.raises(CheckpointError) as error:
        viewed(transformer, Lora(file, **options))
    said = str(error.value)
    assert str(file) in said
    assert "\n" not in said
    return said


def without(*keys: str) -> Tensors:
    return {key: tensor for key, tensor in GOOD.items() if key not in keys}


LOKR = {f"{QKV}.lokr_w1": torch.ones(4, 2), f"{QKV}.lokr_w2": torch.ones(24, 16)}
BAD: dict[str, tuple[Tensors, str]] = {
    "no up": (without(UP), f"{QKV} has a tensor 'down' and no 'up' that belongs to it"),
    "no down": (without(DOWN), f"{QKV} has a tensor 'up' and no 'down' that belongs to it"),
    "rank 0": (GOOD | {DOWN: torch.ones(0, 32), UP: torch.ones(96, 0)}, "of rank 0, which changes nothing"),
    "two ranks": (GOOD | {UP: torch.ones(96, 4)}, r"(down (3, 32), up (96, 4)), whose ranks differ"),
    "three axes": (GOOD | {UP: torch.ones(96, 3, 2)}, "whose ranks differ"),
    "no axes": (GOOD | {UP: torch.tensor(1.0), DOWN: torch.tensor(1.0)}, "whose ranks differ"),
    "too narrow": (GOOD | {DOWN: torch.ones(3, 31)}, "for a layer of 31 inputs and 96 outputs, and here it has 32 and 96"),
    "too high": (GOOD | {UP: torch.ones(95, 3)}, "for a layer of 32 inputs and 95 outputs, and here it has 32 and 96"),
    "too large": (
        {DOWN: torch.zeros(97, 32), UP: torch.zeros(96, 97)},
        "of rank 97, which is more than the layer's 96: it is larger than what it changes",
    ),
    "NaN": (GOOD | {UP: torch.full((96, 3), float("nan"))}, f"'up' of {QKV} holds numbers that are not finite"),
    "infinite": (GOOD | {DOWN: torch.full((3, 32), float("inf"))}, f"'down' of {QKV} holds numbers that are not finite"),
    "infinite alpha": (GOOD | {f"{QKV}.alpha": torch.tensor(float("inf"))}, f"'alpha' of {QKV} holds numbers"),
    "two alphas": (GOOD | {f"{QKV}.alpha": torch.ones(2)}, f"alpha of {QKV} is 2 numbers and must be one"),
    "integers": (GOOD | {UP: torch.ones(96, 3, dtype=torch.int8)}, "is stored as torch.int8, not as floats"),
    "magnitude": (
        GOOD | {f"{QKV}.dora_scale": torch.ones(5, 1)},
        f"the magnitude of {QKV} has the shape (5, 1), and a layer of 32 inputs and 96 outputs needs (96, 1) or (1, 32)",
    ),
    "half of LoKr": (
        {key: one for key, one in LOKR.items() if key.endswith("w1")},
        f"{QKV} has neither 'lokr_w2' nor 'lokr_w2_a'",
    ),
    "LoKr of another size": (LOKR | {f"{QKV}.lokr_w1": torch.ones(4, 3)}, "does not multiply to the 32 inputs and 96"),
    "LoKr with a core": (LOKR | {f"{QKV}.lokr_w2": torch.ones(24, 16, 3, 3)}, "whose ranks are 0, or differ"),
    "LoKr of two ranks": (
        {
            f"{QKV}.lokr_w1": torch.ones(4, 2), f"{QKV}.lokr_w2_a": torch.ones(24, 3),
            f"{QKV}.lokr_w2_b": torch.ones(2, 16),
        },
        "whose ranks are 0, or differ",
    ),
    "half of LoHa": (
        {f"{QKV}.hada_w1_a": torch.ones(96, 2), f"{QKV}.hada_w1_b": torch.ones(2, 32)},
        f"{QKV} has a tensor",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("tensors", "said"), BAD.values(), ids=BAD)
def test_damaged_files(transformer: Transformer, write: Write, tensors: Tensors, said: str) -> None:
    assert said in refused(transformer, write(tensors))


@pytest.mark.parametrize("magnitude", [False, True])
def test_lokr_as_a_convolution(transformer: Transformer, write: Write, magnitude: bool) -> None:
    """A matrix may have the axes of a 1 x 1 convolution, on either side."""
    beside = {f"{QKV}.dora_scale": torch.full((96, 1), 0.5)} if magnitude else {}
    as_convolution = {key: tensor[..., None, None] for key, tensor in LOKR.items()}
    plain, convolution = (
        viewed(transformer, Lora(write(tensors | beside))).state_dict() for tensors in (LOKR, as_convolution)
    )
    assert plain.keys() == convolution.keys()
    assert all(torch.equal(plain[key], tensor) for key, tensor in convolution.items())


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.float16, torch.float64])
def test_alpha_of_any_dtype(transformer: Transformer, write: Write, dtype: torch.dtype) -> None:
    """Whole numbers too, as some trainers save it."""
    made = viewed(transformer, Lora(write(GOOD | {f"{QKV}.alpha": torch.tensor(6, dtype=dtype)})))
    assert made.double_blocks[0].img_attn.qkv.changes[0].scale == 2
    assert "'alpha' of" in refused(
        transformer, write(GOOD | {f"{QKV}.alpha": torch.tensor(True)}, "bool.safetensors")
    )


def test_names_that_would_move_the_cursor(transformer: Transformer, write: Write) -> None:
    tensors = GOOD | low_rank("what\x1b[2J\nis\u202ethis", 4, 4)
    (report,) = attached(transformer, Lora(write(tensors))).reports
    assert r"(what\x1b[2J\nis\u202ethis)" in report.missed
    assert len(report.describe().splitlines()) == 3


def test_a_bad_module_among_good_ones(transformer: Transformer, write: Write) -> None:
    tensors = GOOD | low_rank("lora_unet_single_blocks_0_linear2", 32, 31)
    assert "lora_unet_single_blocks_0_linear2 is (down (3, 31)" in refused(transformer, write(tensors))


def test_4_gib_of_zeros_are_never_read(transformer: Transformer) -> None:
    """The header is enough."""

    def read() -> Tensor:
        raise AssertionError("it was read")

    tensors = {
        "down": LazyTensor((2**25, 32), torch.float32, read),
        "up": LazyTensor((96, 2**25), torch.float32, read),
    }
    file = LoraFile(Path("zeros.safetensors"), 2**34, {QKV: tensors}, {})
    with pytest.raises(CheckpointError, match="of rank 33554432, which is more than the layer's 96"):
        file.delta(QKV, (96, 32), torch.float32, torch.device("cpu"))


def shapes(*names: str, width: int = 4, rank: int = 2) -> Tensors:
    return {
        key: one
        for name in names
        for key, one in {
            f"{name}.lora_down.weight": torch.ones(rank, width), f"{name}.lora_up.weight": torch.ones(4, rank),
        }.items()
    }  # fmt: skip


ATTENTION = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"
OTHERS: dict[str, tuple[str, Tensors]] = {
    "SDXL by kohya": (
        "SDXL",
        shapes(ATTENTION, width=2048) | shapes("lora_te2_text_model_encoder_layers_0_mlp_fc1"),
    ),
    "SDXL by diffusers": (
        "SDXL",
        shapes("unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k", width=2048),
    ),
    "SD1": (
        "Stable Diffusion 1",
        shapes("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_v", width=768),
    ),
    "SD2": ("Stable Diffusion 2", shapes(ATTENTION, width=1024)),
    "a UNet": ("a UNet, of Stable Diffusion 1, 2 or SDXL", shapes("lora_unet_mid_block_resnets_0_conv1")),
    "SDXL's words": ("SDXL", shapes("lora_te2_text_model_encoder_layers_0_mlp_fc1")),
    "SD3": ("Stable Diffusion 3", shapes("diffusion_model.joint_blocks.0.x_block.attn.qkv")),
    "Wan": ("Wan", shapes("diffusion_model.blocks.0.self_attn.q", "diffusion_model.blocks.0.cross_attn.k")),
    "Wan by kohya": ("Wan", shapes("lora_unet_blocks_0_cross_attn_k")),
    "HunyuanVideo": (
        "HunyuanVideo",
        shapes("transformer.double_blocks.0.img_attn_qkv", "transformer.double_blocks.0.img_mlp.fc1"),
    ),
    "Qwen-Image": ("Qwen-Image", shapes("transformer.transformer_blocks.0.img_mlp.net.2")),
    "Qwen-Image, attention": ("Qwen-Image", shapes("transformer_blocks.59.attn.to_q")),
    "FLUX.2": ("FLUX.2", shapes("diffusion_model.double_stream_modulation_img.lin")),
    "HiDream": ("HiDream", shapes("diffusion_model.double_stream_blocks.0.block.attn1.to_q")),
    "Chroma": ("Chroma", shapes("diffusion_model.distilled_guidance_layer.layers.0.in_layer")),
    "Z-Image": ("Lumina or Z-Image", shapes("diffusion_model.layers.0.attention.qkv")),
    "LTX": (
        "LTX-Video, CogVideoX, Mochi, PixArt, Sana or the like",
        shapes("transformer.transformer_blocks.0.attn1.to_q"),
    ),
    "Llama": ("a language model", shapes("base_model.model.model.layers.0.self_attn.q_proj")),
}


@pytest.mark.parametrize(("title", "tensors"), OTHERS.values(), ids=OTHERS)
def test_for_other_models(transformer: Transformer, write: Write, title: str, tensors: Tensors) -> None:
    """Identified by the model it is for, even if some of its names are ours too."""
    said = refused(transformer, write(tensors))
    assert f" is a LoRA for {title}, which FLUX.1 Kontext cannot use" in said
    assert f" is a LoRA for {title}, which" in refused(transformer, write(tensors | GOOD), strength=0.0)
    with pytest.raises(CheckpointError, match=f"a LoRA for {title}, which"):
        inspect_lora(write(tensors))


def test_no_name_of_flux_looks_like_another_models() -> None:
    """Every name of every table, alone in a file: it is ours, and of a model that lacks
    it nothing worse is said.
    """
    tensor = LazyTensor((2, 2), torch.float32, lambda: torch.ones(2, 2))
    names = published_names()
    modules = {
        prefix + name: {"up": tensor}
        for row in FORMATS
        for prefix in (row.prefixes[0], "_orig_mod.", "text_of_somebody.")
        for name in names.targets[row.names][row.joint]
    }
    _, report = match(LoraFile(Path("all"), 0, modules, {}), names)
    assert report.unmatched == ()
    assert looks_like(modules) == ""


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        (
            shapes("some.layer"),
            "is a LoRA for a model that is not known here: none of its 1 modules has a name of FLUX.1's",
        ),
        ({"weight": torch.ones(2)}, "is not a LoRA: it holds 1 tensors, such as weight"),
        ({f"{QKV}.oft_blocks": torch.ones(2)}, "holds only tensors that cannot be used here: OFT"),
        ({f"{QKV}.alpha": torch.ones(1)}, f"is not a LoRA: it holds 1 tensors, such as {QKV}.alpha"),
    ],
)
def test_nothing_of_ours(transformer: Transformer, write: Write, tensors: Tensors, said: str) -> None:
    assert said in refused(transformer, write(tensors))


def test_control_loras_are_refused(transformer: Transformer, write: Write) -> None:
    tensors = {"img_in.lora_A.weight": torch.ones(4, 128), "img_in.lora_B.weight": torch.ones(32, 4)}
    tensors |= {"single_blocks.0.norm.key_norm.scale": torch.ones(16)}
    said = refused(transformer, write(tensors))
    assert (
        "is a control LoRA of FLUX.1 (depth or canny): it widens the image input from 64 to 128 numbers"
        in said
    )


def test_what_is_used_in_part_is_said(
    transformer: Transformer, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    """Blocks that the small model does not have, and kinds of tensors that nobody knows."""
    tensors = (
        GOOD | low_rank("lora_unet_double_blocks_2_img_attn_qkv", 96, 32) | {f"{QKV}.what": torch.ones(1)}
    )
    (report,) = attached(transformer, Lora(write(tensors))).reports
    assert (report.matched, report.unmatched) == (1, ("lora_unet_double_blocks_2_img_attn_qkv",))
    assert caplog.messages == [report.missed]
    assert report.missed == (
        "lora.safetensors is used in part: 1 of 2 modules fit no layer here (lora_unet_double_blocks_2_img_attn_qkv); "
        "left out: 1 x tensors of an unknown kind"
    )
    caplog.clear()
    attached(transformer, Lora(write(GOOD)))
    assert caplog.messages == []


def test_a_module_that_is_there_twice_counts_once(
    transformer: Transformer, inputs: Callable[..., dict[str, Tensor]], write: Write
) -> None:
    """Some files hold the same LoRA under two programs' names."""
    twice = GOOD | {
        key.replace(QKV, "double_blocks.0.img_attn.qkv"): one.clone() for key, one in GOOD.items()
    }
    (report,) = attached(transformer, Lora(write(twice))).reports
    assert report.matched == 1
    assert "1 modules appear twice and are used once" in report.describe()
    alone = viewed(transformer, Lora(write(GOOD, "alone.safetensors")))
    assert torch.equal(viewed(transformer, Lora(write(twice)))(**inputs()), alone(**inputs()))


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ("{", "is not valid JSON"),
        ('{"r": 3, "lora_alpha": "six"}', "says alpha 'six'; a number up to 1,000,000 is needed"),
    ],
)
def test_a_header_that_cannot_be_understood(
    transformer: Transformer, write: Write, metadata: str, said: str
) -> None:
    tensors = {key: one for key, one in GOOD.items() if not key.endswith("alpha")}
    assert said in refused(transformer, write(tensors, lora_adapter_metadata=metadata))


def test_files_that_are_none(transformer: Transformer, tmp_path: Path) -> None:
    assert "there is no file" in refused(transformer, tmp_path / "none.safetensors")
    (tmp_path / "page.safetensors").write_text("<html>", encoding="utf-8")
    assert "a web page" in refused(transformer, tmp_path / "page.safetensors")


def test_a_file_that_changes_is_read_again(transformer: Transformer, write: Write) -> None:
    file = write(GOOD)
    held = attached(transformer, Lora(file))
    assert attached(transformer, Lora(file, 0.5)).files == held.files
    again = attached(transformer, Lora(write(GOOD | low_rank("lora_unet_img_in", 32, 64))))
    assert again.reports[0].matched == 2
