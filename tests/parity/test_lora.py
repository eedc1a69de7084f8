"""LoRA files that diffusers and PEFT write, in both: the same velocity.

Their own modules say what is right.
"""

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import FluxKontextPipeline, FluxTransformer2DModel
from peft import LoHaConfig, LoKrConfig, LoraConfig, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

from kontext_core.loading import load_transformer
from kontext_core.lora import Lora, with_loras
from kontext_core.model.positions import target_ids, text_ids
from kontext_core.model.transformer import Transformer

CONTEXT, POOLED, WIDTH = 48, 32, 48
CLOSE = Callable[..., float]

# Every kind of linear that there is, as diffusers calls them.
ALL = [
    "x_embedder", "context_embedder", "linear_1", "linear_2", "norm1.linear", "norm1_context.linear",
    "to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out",
    "net.0.proj", "net.2", "norm.linear", "proj_mlp", "proj_out", "norm_out.linear",
]  # fmt: skip
PLAIN = LoraConfig(r=4, lora_alpha=6, init_lora_weights=False, target_modules=ALL)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of diffusers', every parameter drawn anew."""
    theirs = FluxTransformer2DModel(
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=24,
        num_attention_heads=2,
        joint_attention_dim=CONTEXT,
        pooled_projection_dim=POOLED,
        guidance_embeds=True,
        axes_dims_rope=(4, 10, 10),
    )
    generator = torch.Generator().manual_seed(0)
    for name, parameter in theirs.named_parameters():
        offset = 1.0 if name.endswith("norm_q.weight") or name.endswith("norm_k.weight") else 0.0
        parameter.data = offset + 0.15 * torch.randn(parameter.shape, generator=generator)
    folder = tmp_path_factory.mktemp("base")
    theirs.save_pretrained(folder)
    return folder


@pytest.fixture
def theirs(base: Path) -> FluxTransformer2DModel:
    torch.manual_seed(1)  # PEFT draws from it
    return FluxTransformer2DModel.from_pretrained(base).eval()


@pytest.fixture(scope="module")
def ours(base: Path) -> Transformer:
    return load_transformer(base)


@pytest.fixture
def pipeline(theirs: FluxTransformer2DModel) -> FluxKontextPipeline:
    return FluxKontextPipeline(
        scheduler=None, vae=None, text_encoder=None, tokenizer=None, text_encoder_2=None, tokenizer_2=None,
        transformer=theirs,
    )  # fmt: skip


def randomised(model: nn.Module, scale: float = 0.2) -> None:
    """PEFT's start is no change at all for some kinds."""
    generator = torch.Generator().manual_seed(2)
    for name, parameter in model.named_parameters():
        if "magnitude" in name:
            parameter.data *= 1 + 0.3 * torch.rand(parameter.shape, generator=generator)
        elif any(part in name for part in ("lora_", "lokr_", "hada_")):
            parameter.data = scale * torch.randn(parameter.shape, generator=generator)


def asked(model: nn.Module) -> Tensor:
    """What theirs answers to a fixed input."""
    return model(**given()).sample


def given() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return {
        "hidden_states": torch.randn(1, 12, 64, generator=generator),
        "encoder_hidden_states": torch.randn(1, 5, CONTEXT, generator=generator),
        "pooled_projections": torch.randn(1, POOLED, generator=generator),
        "timestep": torch.tensor([0.6]),
        "img_ids": target_ids(3, 4)[0],
        "txt_ids": text_ids(1, 5)[0],
        "guidance": torch.tensor([2.5]),
    }


def answered(ours: Transformer, *loras: Lora, text: Any = None) -> Tensor:
    """What ours answers to the same."""
    ((_, view),) = with_loras(
        ours, text or SimpleNamespace(clip=nn.Identity(), t5=nn.Identity()), loras
    ).stages
    one = given()
    return view(
        one["hidden_states"], one["img_ids"][None], one["encoder_hidden_states"], one["txt_ids"][None],
        one["timestep"], one["pooled_projections"], one["guidance"],
    )  # fmt: skip


CONFIGS = {
    "every layer": PLAIN,
    "alphas and ranks of their own": LoraConfig(
        r=4, lora_alpha=6, init_lora_weights=False, target_modules=ALL,
        alpha_pattern={"proj_mlp": 2, "norm1.linear": 9}, rank_pattern={"to_k": 2},
    ),
    "rank-stabilised": LoraConfig(
        r=4, lora_alpha=6, init_lora_weights=False, target_modules=["to_q", "proj_out"], use_rslora=True
    ),
    "DoRA": LoraConfig(r=3, lora_alpha=5, init_lora_weights=False, target_modules=ALL, use_dora=True),
}  # fmt: skip


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_files_of_diffusers(
    theirs: FluxTransformer2DModel,
    pipeline: FluxKontextPipeline,
    ours: Transformer,
    config: LoraConfig,
    tmp_path: Path,
    assert_close: CLOSE,
) -> None:
    """Saved by diffusers with what PEFT knows in the header, loaded again by both."""
    before = asked(theirs)
    theirs.add_adapter(config)
    randomised(theirs)
    pipeline.save_lora_weights(
        tmp_path,
        transformer_lora_layers=get_peft_model_state_dict(theirs),
        transformer_lora_adapter_metadata=theirs.peft_config["default"].to_dict(),
    )
    file = tmp_path / "pytorch_lora_weights.safetensors"
    pipeline.unload_lora_weights()
    assert torch.equal(asked(theirs), before)
    pipeline.load_lora_weights(file)
    expected = asked(theirs)
    assert (expected - before).norm() > 0.05 * before.norm()
    assert_close(answered(ours, Lora(file)), expected)
    assert_close(answered(ours, Lora(file, merged=True)), expected)


def test_two_with_strengths(
    theirs: FluxTransformer2DModel,
    pipeline: FluxKontextPipeline,
    ours: Transformer,
    tmp_path: Path,
    assert_close: CLOSE,
) -> None:
    for name, modules in (("a", ["to_q", "proj_mlp", "norm_out.linear"]), ("b", ["to_q", "proj_out"])):
        theirs.add_adapter(
            LoraConfig(r=4, lora_alpha=4, init_lora_weights=False, target_modules=modules), name
        )
        theirs.save_lora_adapter(tmp_path / name, adapter_name=name)
    theirs.set_adapters(["a", "b"], [0.7, -1.5])
    first, second = (tmp_path / name / "pytorch_lora_weights.safetensors" for name in "ab")
    expected = asked(theirs)
    assert_close(answered(ours, Lora(first, 0.7), Lora(second, -1.5)), expected)
    assert_close(answered(ours, Lora(second, -1.5), Lora(first, 0.7, merged=True)), expected)


PEFT = {
    "LoRA": PLAIN,
    "DoRA": CONFIGS["DoRA"],
    "LoKr": LoKrConfig(r=4, alpha=3, target_modules=ALL),
    "LoKr of products": LoKrConfig(r=2, alpha=3, target_modules=ALL, decompose_both=True, decompose_factor=8),
    "LoHa": LoHaConfig(r=3, alpha=5, target_modules=ALL),
}


@pytest.mark.parametrize("config", PEFT.values(), ids=PEFT)
def test_folders_of_peft(
    theirs: FluxTransformer2DModel,
    ours: Transformer,
    config: Any,
    tmp_path: Path,
    assert_close: CLOSE,
) -> None:
    """Whose alpha is in adapter_config.json alone."""
    model = get_peft_model(theirs, copy.deepcopy(config)).eval()
    randomised(model, 0.4)
    model.save_pretrained(tmp_path)
    expected = asked(model)
    for lora in (Lora(tmp_path), Lora(tmp_path / "adapter_model.safetensors", merged=True)):
        assert_close(answered(ours, lora), expected)


def pairs(shapes: Mapping[str, tuple[int, int]], names: tuple[str, str], rank: int = 4) -> dict[str, Tensor]:
    """Random factors of modules (out, in)."""
    generator = torch.Generator().manual_seed(4)
    tensors: dict[str, Tensor] = {}
    for module, (out, width) in shapes.items():
        tensors[f"{module}.{names[0]}"] = 0.3 * torch.randn(rank, width, generator=generator)
        tensors[f"{module}.{names[1]}"] = 0.3 * torch.randn(out, rank, generator=generator)
    return tensors


def with_alphas(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return tensors | {
        key.replace("lora_down.weight", "alpha"): torch.tensor(2.0 + i)
        for i, key in enumerate(tensors)
        if key.endswith("lora_down.weight")
    }


KOHYA = {
    f"lora_unet_double_blocks_{i}_{stream}_{name}": shape
    for i in range(2)
    for stream in ("img", "txt")
    for name, shape in {
        "attn_qkv": (3 * WIDTH, WIDTH), "attn_proj": (WIDTH, WIDTH), "mlp_0": (4 * WIDTH, WIDTH),
        "mlp_2": (WIDTH, 4 * WIDTH), "mod_lin": (6 * WIDTH, WIDTH),
    }.items()
} | {f"lora_unet_single_blocks_{i}_linear2": (WIDTH, 5 * WIDTH) for i in range(2)}  # fmt: skip
XLABS = {
    f"double_blocks.{i}.processor.{name}": shape
    for i in range(2)
    for name, shape in {
        "qkv_lora1": (3 * WIDTH, WIDTH), "qkv_lora2": (3 * WIDTH, WIDTH), "proj_lora1": (WIDTH, WIDTH),
        "proj_lora2": (WIDTH, WIDTH),
    }.items()
} | {f"single_blocks.{i}.processor.qkv_lora": (3 * WIDTH, WIDTH) for i in range(2)}  # fmt: skip
ONETRAINER = {
    f"lora_transformer_{block}_{i}_attn_{name}": (WIDTH, WIDTH)
    for i in range(2)
    for block, names in {
        "transformer_blocks": ("to_q", "to_v", "add_k_proj", "to_out_0", "to_add_out"),
        "single_transformer_blocks": ("to_q", "to_k"),
    }.items()
    for name in names
} | {"lora_transformer_norm_out_linear": (2 * WIDTH, WIDTH), "lora_transformer_proj_out": (64, WIDTH)}
LORA_DOWN_UP = ("lora_down.weight", "lora_up.weight")
OTHERS = {
    "kohya": with_alphas(pairs(KOHYA, LORA_DOWN_UP)),
    "XLabs": pairs(XLABS, ("down.weight", "up.weight")),
    "OneTrainer": with_alphas(pairs(ONETRAINER, LORA_DOWN_UP)),
}


@pytest.mark.parametrize("tensors", OTHERS.values(), ids=OTHERS)
def test_files_that_diffusers_converts(
    theirs: FluxTransformer2DModel,
    pipeline: FluxKontextPipeline,
    ours: Transformer,
    tensors: dict[str, Tensor],
    tmp_path: Path,
    assert_close: CLOSE,
) -> None:
    """What of other trainers' files diffusers can read for a width that is not the published one."""
    before = asked(theirs)
    save_file(tensors, tmp_path / "other.safetensors")
    pipeline.load_lora_weights(tmp_path / "other.safetensors")
    expected = asked(theirs)
    assert (expected - before).norm() > 0.05 * before.norm()
    assert_close(answered(ours, Lora(tmp_path / "other.safetensors")), expected)


@pytest.fixture
def encoders() -> SimpleNamespace:
    """What `with_loras` asks of text encoders."""
    torch.manual_seed(5)
    small = {"vocab_size": 50, "num_hidden_layers": 2, "num_attention_heads": 2, "eos_token_id": 49}
    clip = CLIPTextModel(CLIPTextConfig(hidden_size=32, intermediate_size=48, **small)).eval()
    t5 = T5EncoderModel(
        T5Config(
            vocab_size=50,
            d_model=32,
            d_ff=48,
            d_kv=16,
            num_heads=2,
            num_layers=2,
            feed_forward_proj="gated-gelu",
        )
    ).eval()
    return SimpleNamespace(clip=clip, t5=t5, with_encoders=lambda t5, clip: SimpleNamespace(t5=t5, clip=clip))


def test_text_encoders(
    pipeline: FluxKontextPipeline, ours: Transformer, encoders: Any, tmp_path: Path, assert_close: CLOSE
) -> None:
    """CLIP by diffusers' own files and loader, T5 by PEFT's modules under OneTrainer's names."""
    ids = torch.randint(3, 49, (1, 9), generator=torch.Generator().manual_seed(6))
    clip, t5 = copy.deepcopy(encoders.clip), copy.deepcopy(encoders.t5)
    clip.add_adapter(
        LoraConfig(r=2, lora_alpha=5, init_lora_weights=False, target_modules=["q_proj", "out_proj", "fc1"])
    )
    wrapped = get_peft_model(
        t5, LoraConfig(r=2, lora_alpha=2, init_lora_weights=False, target_modules=["q", "wi_0", "wo"])
    )
    tensors = {
        "lora_te2_" + key.removeprefix("base_model.model.").rpartition(".lora_")[0].replace(".", "_")
        + (".lora_down.weight" if "lora_A" in key else ".lora_up.weight"): tensor
        for key, tensor in get_peft_model_state_dict(wrapped).items()
    }  # fmt: skip
    save_file(tensors, tmp_path / "t5.safetensors")
    pipeline.save_lora_weights(
        tmp_path,
        text_encoder_lora_layers=get_peft_model_state_dict(clip),
        text_encoder_lora_adapter_metadata=clip.peft_config["default"].to_dict(),
    )
    file = tmp_path / "pytorch_lora_weights.safetensors"
    loaded = copy.deepcopy(encoders.clip)
    read, alphas, metadata = pipeline.lora_state_dict(file, return_alphas=True, return_lora_metadata=True)
    pipeline.load_lora_into_text_encoder(read, alphas, text_encoder=loaded, metadata=metadata)
    made = with_loras(ours, encoders, [Lora(file), Lora(tmp_path / "t5.safetensors")])
    assert made.reports[0].parts == {"clip": 6}
    assert made.reports[1].parts == {"t5": 6}
    before = encoders.clip(ids).pooler_output
    assert_close(made.text.clip(ids).pooler_output, loaded(ids).pooler_output)
    assert (loaded(ids).pooler_output - before).norm() > 0.05 * before.norm()
    assert_close(made.text.t5(ids).last_hidden_state, wrapped(ids).last_hidden_state)
    assert torch.equal(encoders.clip(ids).pooler_output, before)
