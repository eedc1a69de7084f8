"""Tokenizers for text encoders that are trained from scratch on a small, closed language.

Each word of the language becomes one token of both. Other text is spelt in characters (T5) or bytes (CLIP).
The folders are written file by file, in the published layout, so that every transformers reads the same.
"""

import io
import json
import math
import re
import string
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

_WORD = re.compile(r"[^\W\d_]+|\S")  # a run of letters, or any other single character
_CLIP_WORD = (
    r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"  # source: transformers, CLIPConverter
)
_SPACE = "▁"
_T5_SPECIAL = ("<pad>", "</s>", "<unk>")
_START, _END = "<|startoftext|>", "<|endoftext|>"
_SPELLING_SCORE = -20.0  # log-probability of a character; words score higher, so that they win


def train_tokenizers(sentences: Iterable[str], folder: Path) -> None:
    """Write `tokenizer_2` (T5, sentencepiece) and `tokenizer` (CLIP, byte-level BPE) into a folder.

    Args:
        sentences: a sample of what users are expected to write; every word in it becomes one token.
    """
    lines = [" ".join(sentence.lower().split()) for sentence in sentences]
    _write_t5(lines, folder / "tokenizer_2")
    _write_clip(lines, folder / "tokenizer")


def _write_t5(lines: list[str], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    model = _sentencepiece_model(lines)
    (folder / "spiece.model").write_bytes(model.SerializeToString())

    tokenizer = Tokenizer(models.Unigram([(piece.piece, piece.score) for piece in model.pieces], unk_id=2))
    # What transformers makes of a spiece.model (convert_slow_tokenizer.py, SpmConverter).
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Precompiled(model.normalizer_spec.precompiled_charsmap),
            normalizers.Strip(left=False, right=True),
            normalizers.Replace(Regex(" {2,}"), _SPACE),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement=_SPACE, prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in _T5_SPECIAL])
    (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=True), encoding="utf-8")

    special = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    _write_json(folder / "special_tokens_map.json", special)
    _write_json(
        folder / "tokenizer_config.json",
        {
            **special,
            "added_tokens_decoder": {str(i): _added(token) for i, token in enumerate(_T5_SPECIAL)},
            "additional_special_tokens": [],
            "clean_up_tokenization_spaces": False,
            "extra_ids": 0,
            "model_max_length": 512,
            "tokenizer_class": "T5Tokenizer",
        },
    )


def _sentencepiece_model(lines: list[str]) -> Any:
    """A unigram model whose pieces are the words, with or without a space before them, and ASCII."""
    trained = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*lines, string.printable]),
        model_writer=trained,
        model_type="unigram",
        vocab_size=1000,
        hard_vocab_limit=False,
        normalization_rule_name="nmt_nfkc_cf",  # folds case
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    proto: Any = sentencepiece_model_pb2  # its classes are made at run time
    model = proto.ModelProto.FromString(trained.getvalue())
    special = {piece.piece: piece for piece in model.pieces if piece.piece in _T5_SPECIAL}
    counts = Counter(piece for line in lines for piece in _pieces(line))
    total = sum(counts.values())
    scores = {piece: math.log(count / total) for piece, count in counts.most_common()}
    for character in sorted(set(string.printable.lower()) - set(string.whitespace)):
        scores.setdefault(character, _SPELLING_SCORE)
    scores.setdefault(_SPACE, _SPELLING_SCORE)

    pieces = [special[token] for token in _T5_SPECIAL]
    pieces += [proto.ModelProto.SentencePiece(piece=piece, score=score) for piece, score in scores.items()]
    del model.pieces[:]
    model.pieces.extend(pieces)
    model.trainer_spec.vocab_size = len(pieces)
    return model


def _pieces(line: str) -> Iterable[str]:
    for chunk in line.split():
        first, *others = _WORD.findall(chunk)
        yield _SPACE + first
        yield from others


def _write_clip(lines: list[str], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_CLIP_WORD), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trained = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    trained.normalizer, trained.pre_tokenizer = normalizer, pre_tokenizer
    trained.train_from_iterator(
        lines,
        trainers.BpeTrainer(
            vocab_size=100_000,
            initial_alphabet=alphabet,
            end_of_word_suffix="</w>",
            min_frequency=1,
            show_progress=False,
        ),
    )
    merges = [tuple(merge) for merge in json.loads(trained.to_str())["model"]["merges"]]
    # CLIP's own order: bytes, bytes that end a word, merges, start, end. The end token has the highest id.
    tokens = [*alphabet, *(byte + "</w>" for byte in alphabet), *(a + b for a, b in merges), _START, _END]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(tokens))}

    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token=_END, end_of_word_suffix="</w>"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(
        (_END, vocabulary[_END]), (_START, vocabulary[_START]), add_prefix_space=False, trim_offsets=False
    )
    tokenizer.add_special_tokens(
        [AddedToken(token, normalized=False, special=True) for token in (_START, _END)]
    )
    (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=True), encoding="utf-8")

    special = {"bos_token": _START, "eos_token": _END, "pad_token": _END, "unk_token": _END}
    _write_json(folder / "vocab.json", vocabulary)
    merge_lines = ["#version: 0.2", *(" ".join(merge) for merge in merges)]
    (folder / "merges.txt").write_text("\n".join(merge_lines) + "\n", encoding="utf-8")
    _write_json(folder / "special_tokens_map.json", special)
    _write_json(
        folder / "tokenizer_config.json",
        {
            **special,
            "added_tokens_decoder": {str(vocabulary[token]): _added(token) for token in (_START, _END)},
            "add_prefix_space": False,
            "clean_up_tokenization_spaces": False,
            "do_lower_case": True,
            "errors": "replace",
            "model_max_length": 77,
            "tokenizer_class": "CLIPTokenizer",
        },
    )


def _added(token: str) -> dict[str, Any]:
    """An entry of tokenizer_config.json's `added_tokens_decoder`."""
    return {
        "content": token,
        "lstrip": False,
        "normalized": False,
        "rstrip": False,
        "single_word": False,
        "special": True,
    }


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
