"""Templates of instructions by the five categories of KontextBench, with slots to fill.

Sources: arXiv:2506.15742, section 4.1, the categories; docs.bfl.ai, prompting guide of FLUX.1 Kontext.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ..checks.json_values import words
from ..checks.shorten import short

CATEGORIES = ("local editing", "global editing", "character reference", "text editing", "style reference")
MOST_LETTERS = 2_000  # of one slot

SLOTS = MappingProxyType(
    {
        "target": "what is changed, named so that nothing else can be meant",
        "change": "what it becomes, or what it does",
        "keep": "what stays as it is",
        "old": "the text that is there now, without quotation marks",
        "new": "the text or the thing that comes in",
        "place": "where in the picture, or where in the world",
        "style": "a style by its name and traits",
    }
)
_SLOT = re.compile(r"('?){(\w+)}\1")  # in quotation marks, or not
_MARKS = (("'", "'"), ('"', '"'), ("“", "”"))


@dataclass(frozen=True)
class Template:
    """A sentence with slots.

    Args:
        name: of one word, which never changes.
        category: one of `CATEGORIES`.
        text: with the names of slots in braces.
        example: values for its slots.
    """

    name: str
    category: str
    text: str
    example: Mapping[str, str]

    @property
    def slots(self) -> tuple[str, ...]:
        """The names of its slots, in the order in which they first stand in the text."""
        return tuple(dict.fromkeys(name for _, name in _SLOT.findall(self.text)))


def _template(name: str, category: str, text: str, **example: str) -> Template:
    return Template(name, category, text, MappingProxyType(example))


_LOCAL, _GLOBAL, _CHARACTER, _TEXT, _STYLE = CATEGORIES
_FACE = "the same face, hair and clothes"

TEMPLATES: Mapping[str, Template] = MappingProxyType({template.name: template for template in (
    _template("recolour", _LOCAL, "Change the colour of {target} to {change}, keep {keep} the same",
              target="the car on the left", change="dark red", keep="the background and the lighting"),
    _template("replace", _LOCAL, "Replace {target} with {new}, keep {keep} unchanged",
              target="the cup on the table", new="a glass vase with tulips", keep="the table and the light"),
    _template("add", _LOCAL, "Add {new} {place}, keep everything else the same",
              new="a small straw hat", place="on the head of the dog"),
    _template("remove", _LOCAL, "Remove {target} and fill the space with {new}",
              target="the bicycle at the wall", new="the bricks of the wall"),
    _template("pose", _LOCAL, "Make {target} {change} while keeping {keep}",
              target="the man in the blue shirt", change="smile and wave", keep=_FACE),
    _template("background", _GLOBAL,
              "Change the background to {place} while keeping {target} in the same position, scale and pose",
              place="a sunny beach with palm trees", target="the woman in the red dress"),
    _template("weather", _GLOBAL, "Change the scene to {change}, keep {keep} the same",
              change="a snowy winter evening", keep="the buildings, the people and the framing"),
    _template("restyle", _GLOBAL, "Render the picture as {style} while keeping {keep}",
              style="a watercolour with soft edges and visible paper", keep="the composition and the faces"),
    _template("restore", _GLOBAL, "Restore this photo: {change}, keep {keep} the same",
              change="remove the scratches and give it natural colours", keep="the faces and the framing"),
    _template("scene", _CHARACTER, "{target} is now {change} {place}, with {keep}",
              target="The woman with the short black hair", change="reading a newspaper",
              place="in a small café", keep=_FACE),
    _template("view", _CHARACTER, "Show {target} {change}, keep {keep} the same",
              target="the toy robot", change="from the side, against a plain grey wall", keep="its colours and shape"),
    _template("outfit", _CHARACTER, "Dress {target} in {new} while keeping {keep}",
              target="the boy with the glasses", new="the silver suit of an astronaut",
              keep="the same face, hairstyle and pose"),
    _template("place_in", _CHARACTER, "Put {target} from picture 2 {place}, keep {keep} the same",
              target="the cat", place="on the armchair of picture 1", keep="the fur and the face"),
    _template("rewrite", _TEXT, "Replace '{old}' with '{new}', keep the font, the colour and the size the same",
              old="OPEN", new="CLOSED"),
    _template("rewrite_at", _TEXT, "Change the text on {target} from '{old}' to '{new}', keep {keep} the same",
              target="the shop sign", old="Bakery", new="Flowers", keep="the lettering and the sign"),
    _template("write", _TEXT, "Write '{new}' {place} in {style}",
              new="HAPPY BIRTHDAY", place="at the top of the card", style="large golden handwriting"),
    _template("erase_text", _TEXT, "Remove the text '{old}' from {target}, keep {keep} the same",
              old="SALE", target="the window", keep="the glass and the goods behind it"),
    _template("with_style", _STYLE, "Using this style, {change}",
              change="create a picture of a fox that sleeps under a birch"),
    _template("style_of", _STYLE, "Redraw picture 1 in the style of picture 2, with {style}, keep {keep} the same",
              style="its brush strokes and colours", keep="the subject and the composition"),
    _template("material", _STYLE, "In the style and material of this picture, show {new} {place}",
              new="a tall lighthouse", place="on a cliff by the sea"),
)})  # fmt: skip


def find_template(name: str) -> Template:
    """Look up a template by its name. Raises: ValueError in one sentence that lists those there are."""
    if name not in TEMPLATES:
        raise ValueError(f"there is no template {short(name)}; choose one of {', '.join(TEMPLATES)}")
    return TEMPLATES[name]


def fill(template: Template, slots: Mapping[str, str]) -> str:
    """Put values into the slots of a template.

    Space around a value is nothing, and so are quotation marks where the slot has its own.

    Args:
        template: one of `TEMPLATES`.
        slots: a text for each of its slots, by name.
    Returns: the instruction.
    Raises: ValueError in one sentence about a slot that is missing or not known, or a value that is no text.
    """
    names = ", ".join(template.slots)
    if unknown := [name for name in slots if name not in template.slots]:
        raise ValueError(
            f"the template '{template.name}' has no slot {short(unknown[0])}; its slots are {names}"
        )
    values = {name: _value(name, value) for name, value in slots.items()}
    if missing := [name for name in template.slots if not values.get(name)]:
        raise ValueError(
            f"the template '{template.name}' needs a text for '{missing[0]}' ({SLOTS[missing[0]]}), such as "
            f"'{template.example[missing[0]]}'; its slots are {names}"
        )
    return _SLOT.sub(lambda slot: _quoted(values[slot[2]]) if slot[1] else values[slot[2]], template.text)


def _value(name: str, value: object) -> str:
    """Give back the text of a slot on one line."""
    try:
        return " ".join(words(value, MOST_LETTERS).split())
    except ValueError as error:
        raise ValueError(f"the slot '{name}' cannot be filled: {error}") from error


def _quoted(text: str) -> str:
    """Put a text between quotation marks that it does not hold itself."""
    bare = text
    for opening, closing in _MARKS:
        if len(bare) > 2 and bare[0] == opening and bare[-1] == closing:
            bare = bare[1:-1].strip()
    opening, closing = next((pair for pair in _MARKS if not set(pair) & set(bare)), _MARKS[-1])
    return f"{opening}{bare}{closing}"
