"""Text encoders and tokenizers: every silent failure of transformers is an error here."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from kontext_core.errors import CheckpointError
from kontext_core.loading import inspect, load_text_encoders, save_model, tokenizers
from kontext_core.model.text import TextEncoders
from kontext_core.model.transformer import Transformer
from kontext_core.quant.layer import packed_bytes, whole_state_dict

PROMPTS = ("make the red circle blue", "", 'replace the text "hi" with something unheard of')


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in for the Hugging Face cache of the person who runs this."""
    monkeypatch.setattr(tokenizers, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def folder(text_encoders: TextEncoders, tmp_path: Path) -> Path:
    save_model(tmp_path / "model", text_encoders=text_encoders, dtype=torch.float32)
    return tmp_path / "model"


@pytest.fixture
def change(folder: Path) -> Callable[[str, Callable[[dict[str, Tensor]], dict[str, Tensor]]], Path]:
    """Rewrites the weights of one encoder, with the same metadata. Returns the file."""

    def change(name: str, how: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Path:
        path = folder / name / "model.safetensors"
        tensors = {key: tensor.clone() for key, tensor in load_file(path).items()}
        save_file(how(tensors), path, {"format": "pt"})
        return path

    return change


def _same(loaded: TextEncoders, expected: TextEncoders) -> None:
    for part, wanted in zip(loaded.encode(PROMPTS), expected.encode(PROMPTS), strict=True):
        assert torch.equal(part, wanted)


def test_a_folder(folder: Path, text_encoders: TextEncoders, transformer: Transformer, caplog):
    save_model(folder, transformer=transformer)
    with caplog.at_level(logging.INFO):
        loaded = load_text_encoders(folder)
    _same(loaded, text_encoders)
    assert loaded.text_length == transformer.config.text_length == 32
    assert "a CLIP text encoder" in caplog.text
    assert "a T5 text encoder" in caplog.text


def test_text_length(folder: Path):
    assert load_text_encoders(folder).text_length == 512
    assert load_text_encoders(folder, text_length=40).encode("red")[0].shape == (1, 40, 128)


def test_the_embedding_stays_one_parameter(folder: Path):
    t5 = load_text_encoders(folder).t5
    assert t5.encoder.embed_tokens.weight is t5.shared.weight
    assert sum(parameter is t5.shared.weight for parameter in t5.parameters()) == 1


def test_a_mapping_of_single_files(folder: Path, text_encoders: TextEncoders, tmp_path: Path):
    clip, t5 = tmp_path / "clip_l.safetensors", tmp_path / "t5xxl_fp16.safetensors"
    shutil.move(folder / "text_encoder" / "model.safetensors", clip)
    shutil.move(folder / "text_encoder_2" / "model.safetensors", t5)
    paths = {
        "text_encoder": clip, "text_encoder_2": str(t5), "tokenizer": folder / "tokenizer",
        "tokenizer_2": folder / "tokenizer_2",
    }  # fmt: skip
    _same(load_text_encoders(paths, text_length=32), text_encoders)
    with pytest.raises(CheckpointError, match="text encoders need four paths; not given: tokenizer"):
        load_text_encoders({key: path for key, path in paths.items() if key != "tokenizer"})


def test_sizes_come_from_the_shapes(folder: Path, text_encoders: TextEncoders, change, assert_close):
    """Of T5 all but the reach of its position buckets, which is 128 in all published models."""
    t5 = change("text_encoder_2", lambda tensors: tensors | {"scaled_fp8": torch.zeros(0)})
    config = inspect(t5).config
    for name in ("vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_heads", "feed_forward_proj"):
        assert getattr(config, name) == getattr(text_encoders.t5.config, name), name


def test_clip_l_from_its_shapes(folder: Path, tmp_path: Path):
    torch.manual_seed(0)
    expected = CLIPTextModel(CLIPTextConfig(
        vocab_size=600, hidden_size=768, intermediate_size=96, num_hidden_layers=1, num_attention_heads=12, eos_token_id=599,
    )).eval()  # fmt: skip
    tensors = {f"text_model.{key.removeprefix('text_model.')}": t for key, t in expected.state_dict().items()}
    extra = {"logit_scale": torch.ones(1), "text_model.embeddings.position_ids": torch.arange(77)[None]}
    save_file(tensors | extra, tmp_path / "clip_l.safetensors")
    config = inspect(tmp_path / "clip_l.safetensors").config
    assert (config.num_attention_heads, config.max_position_embeddings, config.eos_token_id) == (12, 77, 599)
    assert config.hidden_act == "quick_gelu"


def test_a_small_clip_without_config(change, folder: Path):
    (folder / "text_encoder" / "config.json").unlink()
    change("text_encoder", lambda tensors: tensors)
    with pytest.raises(CheckpointError, match=r"it is 128 wide, CLIP-L is 768; .* a config\.json is needed"):
        load_text_encoders(folder)


@pytest.mark.parametrize("scaled", [False, True])
def test_fp8_t5(folder: Path, change, scaled: bool):
    def quantise(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        stored = {}
        for key, tensor in tensors.items():
            linear = tensor.ndim == 2 and key.startswith("encoder.block") and "bias" not in key
            scale = tensor.abs().max() / 448 if scaled and linear else torch.tensor(1.0)
            stored[key] = (tensor / scale).to(torch.float8_e4m3fn) if linear else tensor.to(torch.bfloat16)
            if scaled and linear:
                stored[key.removesuffix("weight") + "scale_weight"] = scale
            expected[key] = (stored[key].float() * scale).to(torch.bfloat16)
        return stored | ({"scaled_fp8": torch.empty(0).to(torch.float8_e4m3fn)} if scaled else {})

    expected: dict[str, Tensor] = {}
    change("text_encoder_2", quantise)
    loaded = load_text_encoders(folder)
    weights = whole_state_dict(loaded.t5, torch.bfloat16)
    assert all(torch.equal(weights[key], tensor) for key, tensor in expected.items())
    whole = load_text_encoders(folder, quantise="full")
    assert packed_bytes(loaded.t5) > 0 == packed_bytes(whole.t5)
    _same(loaded, whole)


@pytest.mark.parametrize("asked", [None, torch.float16])
def test_t5_is_never_in_float16(folder: Path, change, asked: torch.dtype | None):
    change("text_encoder_2", lambda tensors: {key: tensor.half() for key, tensor in tensors.items()})
    change("text_encoder", lambda tensors: {key: tensor.half() for key, tensor in tensors.items()})
    loaded = load_text_encoders(folder, dtype=asked)
    assert (loaded.t5.dtype, loaded.clip.dtype) == (torch.bfloat16, torch.float16)
    assert all(part.isfinite().all() for part in loaded.encode(PROMPTS))


def test_a_clip_saved_by_transformers_5(folder: Path, change, text_encoders: TextEncoders):
    change("text_encoder", lambda tensors: {k.removeprefix("text_model."): t for k, t in tensors.items()})
    _same(load_text_encoders(folder, text_length=32), text_encoders)


def test_a_whole_clip_and_a_whole_t5(folder: Path, change, text_encoders: TextEncoders):
    image_half = {
        "vision_model.post_layernorm.weight": torch.ones(2),
        "visual_projection.weight": torch.ones(2, 2),
    }
    change("text_encoder", lambda tensors: tensors | image_half | {"logit_scale": torch.ones(1)})
    decoder = {"decoder.final_layer_norm.weight": torch.ones(2), "lm_head.weight": torch.ones(2, 2)}

    def other_name(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        tensors["encoder.embed_tokens.weight"] = tensors.pop("shared.weight")
        return tensors | decoder

    change("text_encoder_2", other_name)
    _same(load_text_encoders(folder, text_length=32), text_encoders)


@pytest.mark.parametrize("name", ["text_encoder", "text_encoder_2"])
def test_weights_are_strict(folder: Path, change, name: str):
    lost: list[str] = []

    def lose(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        lost.append(sorted(tensors)[-2])
        return {key: tensor for key, tensor in tensors.items() if key != lost[0]} | {
            "extra.weight": torch.ones(1)
        }

    change(name, lose)
    with pytest.raises(CheckpointError, match=r"do not fit: 1 missing .*; 1 unexpected") as error:
        load_text_encoders(folder)
    assert lost[0].removeprefix("text_model.") in str(error.value)


def test_an_encoder_that_is_not_there(folder: Path):
    shutil.rmtree(folder / "text_encoder_2")
    with pytest.raises(
        CheckpointError, match=r"there is no T5 text encoder in .*; needed there: a folder 'text_encoder_2'"
    ):
        load_text_encoders(folder)


def test_encoders_the_wrong_way_round(folder: Path):
    paths = {name: folder / name for name in ("tokenizer", "tokenizer_2")}
    paths |= {"text_encoder": folder / "text_encoder_2", "text_encoder_2": folder / "text_encoder"}
    with pytest.raises(
        CheckpointError, match=r"text_encoder_2 is a T5 text encoder and not the CLIP text encoder"
    ):
        load_text_encoders(paths)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "tokenizer",
            r"no tokenizer for CLIP in .*tokenizer; needed there: vocab\.json and merges\.txt, or tokenizer\.json",
        ),
        (
            "tokenizer_2",
            r"no tokenizer for T5 in .*tokenizer_2; needed there: spiece\.model, or tokenizer\.json",
        ),
    ],
)
@pytest.mark.parametrize("empty", [True, False])
def test_a_missing_tokenizer(folder: Path, name: str, said: str, empty: bool):
    shutil.rmtree(folder / name)
    if empty:
        (folder / name).mkdir()
    with pytest.raises(CheckpointError, match=said):
        load_text_encoders(folder)


def test_tokenizers_in_each_others_place(folder: Path):
    (folder / "tokenizer").rename(folder / "other")
    (folder / "tokenizer_2").rename(folder / "tokenizer")
    (folder / "other").rename(folder / "tokenizer_2")
    with pytest.raises(CheckpointError, match=r"the tokenizer in .* (knows|cannot be read)"):
        load_text_encoders(folder)


@pytest.mark.parametrize("files", [("tokenizer.json",), ("spiece.model",)])
def test_either_file_of_t5s_tokenizer_is_enough(
    folder: Path, text_encoders: TextEncoders, files: tuple[str, ...]
):
    for name in files:
        (folder / "tokenizer_2" / name).unlink()
    _same(load_text_encoders(folder, text_length=32), text_encoders)


def test_clips_tokenizer_as_it_is_published(folder: Path, text_encoders: TextEncoders):
    (folder / "tokenizer" / "tokenizer.json").unlink()
    _same(load_text_encoders(folder, text_length=32), text_encoders)


@pytest.mark.parametrize("file", ["tokenizer/tokenizer.json", "tokenizer_2/tokenizer.json"])
def test_a_damaged_tokenizer(folder: Path, file: str):
    (folder / file).write_text((folder / file).read_text()[:1000])
    with pytest.raises(CheckpointError, match=rf"{file} is not valid JSON: "):
        load_text_encoders(folder)


def _changed(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def test_a_tokenizer_that_its_library_panics_at(folder: Path):
    """Which is no `Exception`."""
    path = folder / "tokenizer_2" / "tokenizer.json"
    _changed(
        path, lambda content: content.update(normalizer={"type": "Precompiled", "precompiled_charsmap": "x"})
    )
    with pytest.raises(CheckpointError, match=r"the tokenizer in .*tokenizer_2 cannot be read: "):
        load_text_encoders(folder)


@pytest.mark.parametrize(
    "change", [{"extra_ids": 2**32}, {"added_tokens_decoder": {"99999999999": {"content": "x"}}}], ids=str
)
def test_a_tokenizer_that_would_fill_the_memory(folder: Path, change: dict[str, Any]):
    path = folder / "tokenizer_2" / "tokenizer_config.json"
    _changed(path, lambda content: content.update(change))
    said = r"tokenizer_config\.json speaks of a token \d+; numbers up to 1,048,576 are read"
    with pytest.raises(CheckpointError, match=said):
        load_text_encoders(folder)


def test_a_token_beyond_the_text_encoder(folder: Path):
    """As many tokens as there should be, and one of them has a number of its own."""

    def move_one(content: dict[str, Any]) -> None:
        content["model"]["vocab"]["a</w>"] += 5000

    _changed(folder / "tokenizer" / "tokenizer.json", move_one)
    said = r"the tokenizer in .* gives a token the number 5\d\d\d, and its text encoder knows \d\d\d$"
    with pytest.raises(CheckpointError, match=said):
        load_text_encoders(folder)


def test_a_vocabulary_of_another_size(folder: Path):
    path = folder / "tokenizer_2" / "tokenizer.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    tokenizer["model"]["vocab"] = tokenizer["model"]["vocab"][:40]
    path.write_text(json.dumps(tokenizer), encoding="utf-8")
    with pytest.raises(
        CheckpointError, match=r"knows 40 tokens, but its text encoder \d+; they do not belong together"
    ):
        load_text_encoders(folder)


def test_an_end_token_of_another_id(folder: Path):
    path = folder / "text_encoder" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"eos_token_id": 7}))
    with pytest.raises(CheckpointError, match=r"ends a text with token \d+, its text encoder expects 7"):
        load_text_encoders(folder)


def test_the_end_token_of_old_configurations(folder: Path, text_encoders: TextEncoders):
    path = folder / "text_encoder" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": 2}))
    _same(load_text_encoders(folder, text_length=32), text_encoders)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("tokenizer", "models--openai--clip-vit-large-patch14/snapshots/abc"),
        ("tokenizer", "models--black-forest-labs--FLUX.1-dev/snapshots/abc/tokenizer"),
        ("tokenizer_2", "models--black-forest-labs--FLUX.1-Kontext-dev/snapshots/abc/tokenizer_2"),
        ("tokenizer_2", "models--google--t5-v1_1-xxl/snapshots/abc"),
    ],
)
def test_a_tokenizer_from_hugging_faces_cache(
    folder: Path, cache: Path, text_encoders: TextEncoders, caplog, name: str, place: str
):
    (cache / place).parent.mkdir(parents=True)
    shutil.move(folder / name, cache / place)
    with caplog.at_level(logging.INFO):
        _same(load_text_encoders(folder, text_length=32), text_encoders)
    assert "in Hugging Face's cache is used" in caplog.text
