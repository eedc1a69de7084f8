"""Prompts to what the transformer reads: T5's states `txt` and CLIP's pooled vector `pooled`.

The encoders are transformers' classes. B batch, L T5 tokens (the model's text length).
"""

import logging
import re
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPTextModel, T5EncoderModel

from ..checks.shorten import short
from ..edit_settings import clean_prompt
from ..prompts.lint import TokenCount

log = logging.getLogger(__name__)

_MOST_SHOWN = 200  # characters of what a prompt loses
_FEW_PIECES = 4_000  # of a tokenizer that has whole words for a small world only; T5's own has 32,000
_MOST_NAMED = 5
_WORD = re.compile(r"[^\W\d_]{2,}")
CLIP_LENGTH = 77  # tokens that CLIP-L reads (openai/clip-vit-large-patch14, config.json)
_PROMPTS_KEPT = 16  # 4 MiB each at the published sizes in bfloat16


class TextEncoders(nn.Module):
    """T5 and CLIP with their tokenizers.

    Args:
        t5: the encoders.
        clip: likewise.
        t5_tokenizer: their fast tokenizers (transformers).
        clip_tokenizer: likewise.
        text_length: T5 tokens that every prompt is padded or cut to; the transformer was trained with it.
    """

    def __init__(
        self,
        t5: T5EncoderModel,
        clip: CLIPTextModel,
        t5_tokenizer: Any,
        clip_tokenizer: Any,
        text_length: int,
    ) -> None:
        super().__init__()
        self.t5 = t5
        self.clip = clip
        self.t5_tokenizer = t5_tokenizer
        self.clip_tokenizer = clip_tokenizer
        self.text_length = text_length
        self._kept: OrderedDict[str, tuple[Tensor, Tensor, list[str]]] = OrderedDict()
        self._kept_state: Any = None

    def with_encoders(self, t5: T5EncoderModel, clip: CLIPTextModel) -> "TextEncoders":
        """The same tokenizers before other encoders, with nothing kept."""
        return TextEncoders(t5, clip, self.t5_tokenizer, self.clip_tokenizer, self.text_length)

    @property
    def clip_length(self) -> int:
        return self.clip.config.max_position_embeddings

    def tokenize(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token ids (B, text_length) for T5 and (B, clip_length) for CLIP, padded and cut.

        White space around a prompt is nothing, see `edit_settings.clean_prompt`.
        """
        stripped = [clean_prompt(prompt) for prompt in prompts]
        return (
            _ids(self.t5_tokenizer, stripped, self.text_length),
            _ids(self.clip_tokenizer, stripped, self.clip_length),
        )

    def count_tokens(self, prompt: str) -> list[TokenCount]:
        """Count the tokens of a prompt for each encoder, with those that begin and end it."""
        encoders = (
            ("T5", self.t5_tokenizer, self.text_length),
            ("CLIP", self.clip_tokenizer, self.clip_length),
        )
        return count_tokens(prompt, encoders)

    def embed(self, t5_ids: Tensor, clip_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Differentiable. No attention mask: the transformer was trained on states that saw the padding.

        Args:
            t5_ids: (B, L), clip_ids (B, clip_length), on any device.
        Returns: txt (B, L, T5 width); pooled (B, CLIP width), CLIP's output at the end token, not projected.
        Raises: ValueError if T5 is in float16, where its activations overflow.
        """
        if self.t5.dtype == torch.float16:
            raise ValueError("T5 overflows in float16; hold the text encoders in bfloat16 or float32")
        txt = self.t5(input_ids=t5_ids.to(self.t5.device)).last_hidden_state
        pooled = self.clip(input_ids=clip_ids.to(self.clip.device)).pooler_output
        return txt, pooled

    @torch.no_grad()
    def encode(self, prompts: str | Sequence[str]) -> tuple[Tensor, Tensor]:
        """`txt` and `pooled` of prompts. The last ones used are kept; what is cut off is logged.

        Raises: ValueError if one is no text.
        """
        listed = [prompts] if isinstance(prompts, str) else prompts
        texts = [clean_prompt(prompt) for prompt in listed]
        if (state := self._state()) != self._kept_state:
            self._kept.clear()
            self._kept_state = state
        encoded: list[tuple[Tensor, Tensor]] = []
        for text in texts:  # one at a time: a prompt's bits must not depend on its neighbours
            if text not in self._kept:
                txt, pooled = self.embed(*self.tokenize([text]))
                # a device that the model leaves is left by these too
                self._kept[text] = (
                    txt.cpu(),
                    pooled.cpu(),
                    [*self._lost_text(text), *self._unknown_words(text)],
                )
            self._kept.move_to_end(text)
            txt, pooled, warnings = self._kept[text]
            for warning in warnings:  # each time: who asks again has not seen the first answer
                log.warning(warning)
            encoded.append((txt, pooled))
        while len(self._kept) > _PROMPTS_KEPT:
            self._kept.popitem(last=False)
        return (
            torch.cat([txt.to(self.t5.device) for txt, _ in encoded]),
            torch.cat([pooled.to(self.clip.device) for _, pooled in encoded]),
        )

    def _state(self) -> Any:
        """Changes when the weights do, or their dtype: what was kept is then of no use."""
        versions = sum(parameter._version for parameter in self.parameters() if not parameter.is_inference())
        return self.t5.dtype, self.clip.dtype, versions

    def _lost_text(self, prompt: str) -> list[str]:
        """For each encoder that cannot hold the whole prompt, a sentence that says what it loses."""
        return [
            (
                f"the prompt is too long for the {length} tokens of {name}, so this is cut off: "
                f"{_beginning(lost)}"
            )
            for name, tokenizer, length in (
                ("T5", self.t5_tokenizer, self.text_length),
                ("CLIP", self.clip_tokenizer, self.clip_length),
            )
            if (lost := _lost_text(tokenizer, prompt, length))
        ]

    def _unknown_words(self, prompt: str) -> list[str]:
        """A sentence on the words that a model of few words has to spell by letters, if there are any."""
        if len(self.t5_tokenizer) > _FEW_PIECES:
            return []
        encoded = self.t5_tokenizer(
            prompt, return_offsets_mapping=True, add_special_tokens=False, verbose=False
        )
        starts: list[int] = sorted(start for start, _ in encoded["offset_mapping"])
        spans = [word.span() for word in _WORD.finditer(prompt)]
        # Whole words are one piece each; where another begins inside a word, it was taken apart.
        unknown = dict.fromkeys(
            prompt[start:end]
            for start, end in spans
            if bisect_left(starts, end) > bisect_right(starts, start)
        )
        if not unknown:
            return []
        named = ", ".join(short(word) for word in list(unknown)[:_MOST_NAMED])
        more = f" and {len(unknown) - _MOST_NAMED} more" if len(unknown) > _MOST_NAMED else ""
        return [f"this model knows few words, and these are none of them: {named}{more}"]


def count_tokens(prompt: str, encoders: Sequence[tuple[str, Any, int]]) -> list[TokenCount]:
    """Count the tokens of a prompt, with those that begin and end it.

    Args:
        prompt: as it is written.
        encoders: name, fast tokenizer and number of tokens of each encoder.
    """
    text = clean_prompt(prompt)
    return [
        TokenCount(name, len(tokenizer(text, verbose=False)["input_ids"]), most)
        for name, tokenizer, most in encoders
    ]


def _beginning(text: str) -> str:
    """A text in a message: as it is, or how it begins and how long it is."""
    if len(text) <= _MOST_SHOWN:
        return repr(text)
    return f"{text[:_MOST_SHOWN]!r} and {len(text) - _MOST_SHOWN:,} characters more"


def _ids(tokenizer: Any, prompts: list[str], length: int) -> Tensor:
    encoded = tokenizer(
        prompts, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
    )
    return encoded["input_ids"]


def _lost_text(tokenizer: Any, prompt: str, length: int) -> str:
    """The end of the prompt that is cut off, from the start of the first word that suffers."""
    encoded = tokenizer(prompt, return_offsets_mapping=True, verbose=False)
    surplus = len(encoded["input_ids"]) - length
    if surplus <= 0:
        return ""
    last_lost = len(encoded["input_ids"]) - 2  # the end token is put behind whatever stays
    start = encoded["offset_mapping"][last_lost - surplus + 1][0]
    while start > 0 and not prompt[start].isspace() and not prompt[start - 1].isspace():
        start -= 1
    return prompt[start:].strip()
