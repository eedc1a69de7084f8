"""Prompts, tokens and states."""

import logging
from pathlib import Path

import pytest
import torch
from transformers import CLIPTokenizerFast, T5TokenizerFast

from kontext_core.model.text import TextEncoders
from kontext_core.train.text_models import tiny_text_models
from kontext_core.train.tokenizers import train_tokenizers

SENTENCES = [
    "make the red circle blue",
    "remove the small green star in the top left corner.",
    'replace the text "hi" with "ok" and move it',
    "add a large yellow square at the bottom right",
]
WORDS = " ".join(["make the red circle blue remove small green star in top left corner"] * 4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizers")
    train_tokenizers(SENTENCES, folder)
    return folder


@pytest.fixture
def encoders(folder: Path) -> TextEncoders:
    torch.manual_seed(0)
    return tiny_text_models(folder).eval()


def test_every_word_is_one_token(folder: Path):
    t5, clip = (
        T5TokenizerFast.from_pretrained(folder / "tokenizer_2"),
        CLIPTokenizerFast.from_pretrained(folder / "tokenizer"),
    )
    for sentence in SENTENCES:
        words = sentence.replace('"', ' " ').replace(".", " .").split()
        assert len(t5(sentence)["input_ids"]) == len(words) + 1
        assert len(clip(sentence)["input_ids"]) == len(words) + 2
        assert t5.unk_token_id not in t5(sentence)["input_ids"]


@pytest.mark.parametrize(
    "text", ["Zebras, 42 of them!", "çà und ß", "漢字 🙂", "a\tb\nc", "<pad></s>", "x" * 300]
)
def test_any_text_can_be_encoded(encoders: TextEncoders, text: str):
    txt, pooled = encoders.encode(text)
    assert txt.isfinite().all()
    assert pooled.isfinite().all()


def test_case_and_white_space_do_not_matter(encoders: TextEncoders):
    for first, second in zip(
        encoders.tokenize(["make the red"]), encoders.tokenize(["  Make THE red\n"]), strict=True
    ):
        assert torch.equal(first, second)


def test_tokens_are_padded_and_end(encoders: TextEncoders):
    t5_ids, clip_ids = encoders.tokenize(["red", WORDS])
    assert t5_ids.shape == clip_ids.shape == (2, 32)
    assert t5_ids[0, 1:].tolist() == [1] + [0] * 30
    end = encoders.clip.config.eos_token_id
    assert end == encoders.clip_tokenizer.eos_token_id == len(encoders.clip_tokenizer) - 1
    assert clip_ids[0, 2:].tolist() == [end] * 30
    assert (t5_ids[1, -1], clip_ids[1, -1]) == (1, end)


def test_states(encoders: TextEncoders):
    txt, pooled = encoders.encode(["make the red circle blue", "remove the small star"])
    assert (txt.shape, pooled.shape) == ((2, 32, 128), (2, 128))
    assert not txt.requires_grad
    assert not torch.allclose(pooled[0], pooled[1], atol=1e-2)


def test_embed_is_what_transformers_computes(encoders: TextEncoders):
    t5_ids, clip_ids = encoders.tokenize(["make the red circle blue"])
    txt, pooled = encoders.embed(t5_ids, clip_ids)
    assert torch.equal(txt, encoders.t5(t5_ids, attention_mask=torch.ones_like(t5_ids)).last_hidden_state)
    states = encoders.clip(clip_ids).last_hidden_state
    assert torch.equal(pooled[0], states[0, 6])  # the end token: start, five words, end


def test_embed_is_differentiable(encoders: TextEncoders):
    txt, pooled = encoders.embed(*encoders.tokenize(["red"]))
    (txt.square().mean() + pooled[:, 0].square().mean()).backward()
    assert all(parameter.grad is not None for parameter in encoders.parameters())


def test_an_empty_prompt_is_allowed(encoders: TextEncoders):
    for empty, blank in zip(encoders.encode(""), encoders.encode(" \n\t"), strict=True):
        assert torch.equal(empty, blank)
        assert empty.isfinite().all()


def test_encodings_are_kept(encoders: TextEncoders, monkeypatch):
    first = encoders.encode("red")
    calls: list[int] = []
    embed = encoders.embed
    monkeypatch.setattr(encoders, "embed", lambda *ids: calls.append(1) or embed(*ids))
    txt, pooled = encoders.encode(["red", "blue", "red"])
    assert len(calls) == 1
    assert torch.equal(txt[:1], first[0])
    assert torch.equal(pooled[2:], first[1])
    encoders.encode([f"number {i}" for i in range(40)])
    assert len(encoders._kept) == 16
    encoders.encode("red")
    assert len(calls) == 42


def test_what_is_kept_is_not_the_callers(encoders: TextEncoders):
    txt, _ = encoders.encode("red")
    expected = txt.clone()
    txt.zero_()
    assert torch.equal(encoders.encode("red")[0], expected)


def test_a_prompt_does_not_depend_on_its_neighbours(encoders: TextEncoders, folder: Path):
    torch.manual_seed(0)
    other = tiny_text_models(folder).eval()
    together = encoders.encode(["make the red circle blue", "remove it"])
    for i, prompt in enumerate(["make the red circle blue", "remove it"]):
        for part, alone in zip(together, other.encode(prompt), strict=True):
            assert torch.equal(part[i : i + 1], alone)


def test_new_weights_forget_what_was_kept(encoders: TextEncoders):
    before, _ = encoders.encode("red")
    with torch.no_grad():
        for parameter in encoders.t5.parameters():
            parameter.add_(0.1)
    after, _ = encoders.encode("red")
    assert not torch.equal(before, after)
    assert encoders.to(torch.bfloat16).encode("red")[0].dtype == torch.bfloat16


def test_t5_refuses_float16(encoders: TextEncoders):
    with pytest.raises(
        ValueError, match="T5 overflows in float16; hold the text encoders in bfloat16 or float32"
    ):
        encoders.to(torch.float16).encode("red")


def test_under_inference_mode(encoders: TextEncoders):
    with torch.inference_mode():
        first, _ = encoders.encode("red")
    assert torch.equal(encoders.encode("red")[0], first)


def test_lost_words_are_named(encoders: TextEncoders, caplog):
    """31 words fit beside T5's end token, 30 beside CLIP's two."""
    words = WORDS.split()
    encoders.encode(" ".join(words[:30]))
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        encoders.encode(" ".join(words[:33]))
    t5, clip = (record.getMessage() for record in caplog.records)
    assert (
        t5
        == f"the prompt is too long for the 32 tokens of T5, so this is cut off: {' '.join(words[31:33])!r}"
    )
    assert (
        clip
        == f"the prompt is too long for the 32 tokens of CLIP, so this is cut off: {' '.join(words[30:33])!r}"
    )
    encoders.encode(" ".join(words[:33]))
    assert len(caplog.records) == 4, "who asks again has not seen the first answer"


def test_a_word_that_is_cut_in_two_is_named_whole(encoders: TextEncoders, caplog):
    encoders.encode(" ".join(WORDS.split()[:28]) + " unheard of")
    losses = [record.getMessage().partition("this is cut off: ")[2] for record in caplog.records]
    assert [loss for loss in losses if loss] == ["'unheard of'", "'unheard of'"]


def test_a_long_loss_is_shown_by_its_beginning(encoders: TextEncoders, caplog):
    encoders.encode(WORDS + " x" * 500_000)
    for record in caplog.records:
        message = record.getMessage()
        assert "characters more" in message
        assert len(message) < 400


@pytest.mark.parametrize(
    ("prompt", "cleaned"),
    [
        ("make it red \ud83c", "make it red"),
        ("caf\udce9 red", "caf red"),
        ("\udf08 red \ud83c\udf08", "red \U0001f308"),
    ],
    ids=["cut off", "not UTF-8", "halves"],
)
def test_halves_of_characters_are_left_out(encoders: TextEncoders, caplog, prompt: str, cleaned: str):
    expected = encoders.encode(cleaned)
    assert "broken" not in caplog.text
    caplog.clear()
    for part, wanted in zip(encoders.encode(prompt), expected, strict=True):
        assert torch.equal(part, wanted)
    for part, wanted in zip(encoders.tokenize([prompt]), encoders.tokenize([cleaned]), strict=True):
        assert torch.equal(part, wanted)
    assert "1 broken characters" in caplog.records[0].getMessage()


@pytest.mark.parametrize("prompt", [[None], b"red", ["red", 5]])
def test_a_prompt_is_text(encoders: TextEncoders, prompt):
    with pytest.raises(ValueError, match="a prompt must be a text, but this one is"):
        encoders.encode(prompt)


def test_tiny_models_are_small(encoders: TextEncoders):
    assert sum(parameter.numel() for parameter in encoders.parameters()) < 1_500_000


def test_words_that_a_small_model_does_not_know_are_named(encoders: TextEncoders, caplog):
    with caplog.at_level(logging.WARNING):
        encoders.encode("please make the Circle red, a b 7")
        encoders.encode("make the circle red")
    assert [record.message for record in caplog.records] == [
        "this model knows few words, and these are none of them: 'please'"
    ]
    caplog.clear()
    encoders.encode("quick brown fox over lazy dogs, please")
    assert caplog.records[-1].message.endswith("'quick', 'brown', 'fox', 'over', 'lazy' and 2 more")


def test_a_large_vocabulary_spells_what_it_likes(encoders: TextEncoders, caplog, monkeypatch):
    monkeypatch.setattr("kontext_core.model.text._FEW_PIECES", 10)
    encoders.encode("please")
    assert caplog.records == []
