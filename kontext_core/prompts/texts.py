"""The rules of written words: they stand in quotation marks, and a new text is like the old one."""

import re
from collections.abc import Iterator

from ..checks.shorten import cut
from .instruction import QUOTED, Instruction
from .vocabulary import COLOURS, word_set

LONGEST_RATIO = 1.5  # of the lengths of a text and the one in its place
_SHOWN = 30  # letters of a text in a sentence

_WRITTEN = r"(?:text|title|words?|wording|captions?|headline|heading|slogan|inscription|phrase|subtitle|message|tagline)"
_BOARD = (
    r"(?:sign|signs|banner|poster|label|billboard|signboard|plate|screen|bubble|board|logo|cover|shirt|mug)"
)

# A text that is asked for begins with none of these: they say what it looks like, or where it is.
_LOOKS = COLOURS | word_set(
    "a an the this that these those its his her their my your our be being become look looks match matching appear "
    "make have has show fit stand pop read reads say says something anything nothing another different other same "
    "more less bold bolder italic italics uppercase lowercase capital capitals all small large larger big bigger "
    "smaller handwritten handwriting cursive serif sans script graffiti neon chalk wooden wood metal metallic stone "
    "glowing shiny glitter rainbow font lettering calligraphy gothic modern vintage retro embossed engraved english "
    "french german spanish italian portuguese chinese japanese korean russian arabic latin hindi dutch polish "
    "left right top bottom center centre middle upper lower front back one two three flowers hearts stars emojis "
    "emoji symbols pictures picture image images icons letters nothing what whatever it them him us me picture"
)
# After "the word" or "a title", these go on with the sentence.
_GOES_ON = _LOOKS | word_set(
    "on in at of from to with into onto by for behind below above under over next near beside across around along "
    "inside between and or but so as is are was were should must will that which who while using stays stay remains "
    "overlay overlays box boxes bubble bubbles color colour font size style effect effects layer area block element "
    "elements line lines tag tags plate badge page card bar balloon written printed engraved painted drawn appearing "
    "only instead completely entirely slightly without reading saying cloud art search count here there"
)
_NEXT = r"[:,]? (?P<next>[\w'&-]+)"
_PLACE = r"(?: (?:on|in|at|of|above|below|under|across|from)(?: [\w'-]+){1,6}?)?"

_ASPECT = r"(?:fonts?|typeface|colou?rs?|sizes?|styles?|positions?|language|look|case|letters?|lettering|alignment)\b"

_SAYS = re.compile(
    rf"(?P<before>^|[^.;!?]{{0,80}})\b(?P<verb>says?|saying|reads|reading|(?:to|should|must|shall) read|spells?|spelling){_NEXT}",
    re.IGNORECASE,
)
_CHANGED = re.compile(
    rf"\b(?:change|replace|edit|update|set|rewrite|switch|swap|turn)(?: (?!{_ASPECT})[\w'-]+){{0,4}}? {_WRITTEN}{_PLACE}"
    rf" (?:to|with|into){_NEXT}",
    re.IGNORECASE,
)
_RENAMED = re.compile(rf"\b{_BOARD}{_PLACE} (?:to|with|into)[:,]? (?P<next>[A-Z][A-Z'&!-]+)\b")
_NAMED = re.compile(
    rf"\b(?:(?:name|label){_PLACE}|[Rr]ename(?: [\w'-]+){{1,6}}?) (?:to|into|as)[:,]? (?P<next>[A-Z][\w'&-]+)"
)
_NO_WORDS = word_set("LED TV USA UK UFO HDR RGB VHS NASA LCD OLED CRT AI VR")
_WRITE = re.compile(rf"\b(?:write|spell(?: out)?){_NEXT}", re.IGNORECASE)
_THE_WORD = re.compile(rf"\b(?:the|a) (?:words?|phrase|name){_NEXT}", re.IGNORECASE)
_WITH_TEXT = re.compile(
    rf"\b(?:add|put|insert|place|include|display|overlay|write|print|with)(?: (?:the|a|an|some))?(?: [\w'-]+){{0,2}}?"
    rf" {_WRITTEN}{_NEXT}",
    re.IGNORECASE,
)
_HALF = re.compile(
    rf"\b(?:change|replace|swap|edit|turn|rename)\b[^.;!?]{{0,60}}?{QUOTED} (?:to|with|into|by){_NEXT}",
    re.IGNORECASE,
)
_HAS_WRITING = re.compile(
    rf"\b(?:{_WRITTEN}|{_BOARD}|neon|letters?|lettering|note|paper|book|tattoo|that|which)\b", re.I
)

_EXCHANGE = re.compile(
    r"\b(?:replace|change|swap|edit|update|turn|switch|correct|rewrite|modify|make|alter|convert|rename|translate)\b",
    re.IGNORECASE,
)
_INTO = re.compile(
    r"(?:\b(?:to|with|into|by|for)|->|→|=>)(?: (?:say|read|spell))?(?: the)?(?: new)?(?: (?:text|words?|phrase|name))?$",
    re.IGNORECASE,
)


def text_without_quotes(instruction: Instruction) -> Iterator[str]:
    """Find words that are to be written and stand in no quotation marks."""
    plain = instruction.plain
    if instruction.quoted:
        words = [match["next"] for match in _HALF.finditer(plain) if not _describes(match["next"], _LOOKS)]
    else:
        words = list(_unquoted(plain))
    if words:
        yield (
            f"words to be written belong in quotation marks, as in \"the sign says 'OPEN'\": put them around the "
            f"text that begins with '{cut(words[0], _SHOWN)}'"
        )


def _unquoted(plain: str) -> Iterator[str]:
    """List the first words of texts that are asked for."""
    for match in _SAYS.finditer(plain):
        verb, word = match["verb"].lower(), match["next"].lower()
        read = "read" in verb or "spell" in verb
        if read and word in _LOOKS:
            continue
        if word in ("something", "anything", "nothing", "what", "that", "it", "in", "on", "goodbye", "so"):
            continue
        if verb in ("say", "says") or _HAS_WRITING.search(match["before"]):
            yield match["next"]
    for pattern, others in (
        (_CHANGED, _LOOKS),
        (_WRITE, _GOES_ON),
        (_THE_WORD, _GOES_ON),
        (_WITH_TEXT, _GOES_ON),
    ):
        yield from (
            match["next"] for match in pattern.finditer(plain) if not _describes(match["next"], others)
        )
    yield from (match["next"] for match in _NAMED.finditer(plain) if match["next"].lower() not in _LOOKS)
    yield from (match["next"] for match in _RENAMED.finditer(plain) if match["next"] not in _NO_WORDS)


def _describes(word: str, words: frozenset[str]) -> bool:
    """Tell whether a word goes on with the sentence; "The" inside one begins a title."""
    return word.lower() in words and word not in ("The", "A", "An", "My", "Our", "Your")


def unlike_texts(instruction: Instruction) -> Iterator[str]:
    """Compare each quoted text with the quoted one that is to stand in its place."""
    for old, new in _exchanges(instruction):
        was, becomes = _case(old), _case(new)
        if was and becomes and was != becomes:
            yield (
                f"'{cut(new, _SHOWN)}' is written in {becomes} and the text in its place, '{cut(old, _SHOWN)}', in "
                f"{was}: write both alike, such as '{cut(_in_case(new, was), _SHOWN)}'"
            )
        short, long = sorted((len(old), len(new)))
        if short and long > LONGEST_RATIO * short:
            yield (
                f"'{cut(new, _SHOWN)}' has {len(new)} characters and the text in its place, '{cut(old, _SHOWN)}', "
                f"{len(old)}: choose a text of {_fitting(len(old))} characters, or the letters change their size"
            )


def _exchanges(instruction: Instruction) -> Iterator[tuple[str, str]]:
    """List the pairs of old and new text."""
    plain, places = instruction.plain, instruction.places
    for i in range(len(places) - 1):
        between = plain[places[i] + 1 : places[i + 1]].strip(" ,:\"'")
        before = re.split(r"[.;!?]", plain[max(places[i] - 200, 0) : places[i]])[-1]
        if (
            len(between) <= 160
            and not re.search(r"[.;!?]", between)
            and _INTO.search(between)
            and _EXCHANGE.search(before)
        ):
            yield instruction.quoted[i], instruction.quoted[i + 1]


def _case(text: str) -> str:
    """Name how a text is written; "" where its letters do not tell."""
    letters = [letter for letter in text if letter.isupper() or letter.islower()]
    if len(letters) < 2:
        return ""
    if all(letter.isupper() for letter in letters):
        return "capitals"
    return "small letters" if all(letter.islower() for letter in letters) else "capitals and small letters"


def _in_case(text: str, case: str) -> str:
    if case == "capitals":
        return text.upper()
    return text.lower() if case == "small letters" else text.title()


def _fitting(length: int) -> str:
    least, most = -int(-length // LONGEST_RATIO), int(LONGEST_RATIO * length)
    return f"{least} to {most}" if least < most else str(most)
