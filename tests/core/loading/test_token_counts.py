"""Tokens of an instruction, counted without weights as a loaded model counts them."""

import shutil
from pathlib import Path

import pytest

from kontext_core.errors import CheckpointError
from kontext_core.loading import load_text_encoders
from kontext_core.loading.locate import TINY_FOLDER
from kontext_core.loading.token_counts import load_token_counter
from kontext_core.prompts.lint import TokenCount


@pytest.mark.parametrize("prompt", ["", "make the red circle blue", "  a café 'fox' " * 30])
def test_the_counts_are_those_of_the_loaded_model(prompt: str) -> None:
    encoders = load_text_encoders(TINY_FOLDER)
    counts = load_token_counter("tiny")(prompt)
    assert counts == encoders.count_tokens(prompt)
    assert [count.encoder for count in counts] == ["T5", "CLIP"]
    t5_ids, clip_ids = encoders.tokenize([prompt])
    assert [count.most for count in counts] == [t5_ids.shape[1], clip_ids.shape[1]]


def test_tokenizers_alone_have_the_published_lengths(tmp_path: Path) -> None:
    for name in ("tokenizer", "tokenizer_2"):
        shutil.copytree(TINY_FOLDER / name, tmp_path / name)
    t5, clip = load_token_counter(str(tmp_path))("fox")
    assert (t5.most, clip.most) == (512, 77)
    assert isinstance(t5, TokenCount)
    assert t5.count >= 2


def test_a_folder_without_tokenizers_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match="there is no tokenizer for CLIP in "):
        load_token_counter(str(tmp_path))
    with pytest.raises(CheckpointError, match="there is no folder "):
        load_token_counter(str(tmp_path / "none"))
