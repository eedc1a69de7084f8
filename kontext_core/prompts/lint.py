"""A lint of instructions: what is known to go wrong with FLUX.1 Kontext, found by rules and word lists alone.

The rules know English. They advise and refuse nothing: an instruction with findings may still work.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from ..edit_settings import clean_prompt
from ..world.language import is_sentence
from .changes import many_changes, negative_words, nothing_stays
from .instruction import Instruction
from .numbers import absent_pictures, unnamed_pictures
from .pronouns import pronoun_without_a_name
from .texts import text_without_quotes, unlike_texts
from .vocabulary import CHANGES, OTHER_VERBS, STAYS, word_set

# Of the words alone, by name. Source: docs.bfl.ai, prompting guide of FLUX.1 Kontext.
RULES = MappingProxyType(
    {
        "pronoun": pronoun_without_a_name,
        "quotes": text_without_quotes,
        "texts": unlike_texts,
        "stays": nothing_stays,
        "negative": negative_words,
        "changes": many_changes,
    }
)

# Words that a text in English has: in others "no" and "her" may be any word.
_ENGLISH = (
    word_set(
        "the an of with and his she he him it its this that these those they their into from is should has"
    )
    | CHANGES
    | STAYS
    | OTHER_VERBS
)
_FEW_WORDS = 4  # of which none has to be a word that only English has


@dataclass(frozen=True)
class Finding:
    """Something that is known to go wrong.

    Args:
        rule: its name: one of `RULES`, "pictures" or "tokens".
        sentence: what is wrong, and what to write instead.
    """

    rule: str
    sentence: str


@dataclass(frozen=True)
class TokenCount:
    """How much of what a text encoder reads an instruction takes.

    Args:
        encoder: its name.
        count: tokens of the instruction, with those that begin and end it.
        most: tokens that the encoder reads.
    """

    encoder: str
    count: int
    most: int


def lint(
    instruction: str,
    *,
    pictures: int | None = 1,
    tokens: Callable[[str], Sequence[TokenCount]] | None = None,
) -> list[Finding]:
    """Look for what is known to go wrong with an instruction.

    A sentence of the tiny model's grammar is right as it is, whatever the rules of English say.

    Args:
        instruction: what is asked of the model; "" has no findings.
        pictures: how many are connected, with the edited one; None: not known, which leaves that rule out.
        tokens: counts them for each text encoder; None leaves that rule out.
    Returns: the findings, in the order of the rules.
    Raises: ValueError if the instruction is no text.
    """
    text = clean_prompt(instruction)
    parsed = Instruction.read(text)
    findings = [] if is_sentence(text) or not _is_english(parsed) else list(_of_words(parsed))
    if pictures is not None:
        sentences = list(absent_pictures(parsed, pictures))
        if not is_sentence(text):
            sentences += unnamed_pictures(parsed, pictures)
        findings += [Finding("pictures", sentence) for sentence in sentences]
    if tokens is not None:
        findings += [Finding("tokens", sentence) for sentence in _too_long(tokens(text))]
    return findings


def _of_words(parsed: Instruction) -> Iterator[Finding]:
    for name, rule in RULES.items():
        for sentence in rule(parsed):
            yield Finding(name, sentence)


def _is_english(parsed: Instruction) -> bool:
    """Tell whether the rules can say anything of a text."""
    words = [token.word for token in parsed.tokens if token.text.isalpha()]
    return len(words) < _FEW_WORDS or not _ENGLISH.isdisjoint(words)


def _too_long(counts: Sequence[TokenCount]) -> Iterator[str]:
    for count in counts:
        if count.count > count.most:
            yield (
                f"{count.encoder} reads {count.most} tokens and this instruction has {count.count}: shorten it, or "
                "put the most important words first, since the end is not read"
            )
