"""Words for the model from a template, and what may go wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..kontext_core.prompts.lint import TokenCount, lint
from ..kontext_core.prompts.templates import CATEGORIES, SLOTS, TEMPLATES, fill
from ._api import io
from .host import versions
from .host.errors import user_errors
from .host.outputs import text_output
from .types import CATEGORY, Model

if TYPE_CHECKING:
    from ..kontext_core.editor import Editor

# As the menu names them; a name never changes, since saved workflows hold it.
NAMES = {
    f"{category}: {template.name.replace('_', ' ')}": template
    for category in CATEGORIES
    for template in TEMPLATES.values()
    if template.category == category
}
MOST_PICTURES = 64
NOTHING = "nothing found"


def _slot(name: str, tooltip: str) -> io.String.Input:
    return io.String.Input(name, default="", tooltip=tooltip)


class KontextPromptTemplate(io.ComfyNode):
    """Fills a template, and lints what it makes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return versions.schema(
            node_id="KontextPromptTemplate",
            display_name="Kontext Prompt Template",
            category=CATEGORY,
            search_aliases=["prompt helper", "prompt check", "lint", "instruction template"],
            description="Writes an instruction from a template, in the form that Kontext follows best, and "
            "says what may go wrong with it. No language model is used.",
            inputs=[
                io.Combo.Input(
                    "template",
                    options=list(NAMES),
                    default=next(iter(NAMES)),
                    tooltip="The kind of edit and the sentence for it. Each uses some of the texts below; the "
                    "others are left out.",
                ),
                _slot(
                    "target",
                    "What is changed, named so that nothing else can be meant ('the car on the left').",
                ),
                _slot("change", "What it becomes, or what it does ('dark red', 'smile and wave')."),
                _slot("keep", "What stays as it is ('the face, the pose and the background')."),
                _slot("old", "The text that is there now, without quotation marks."),
                _slot("new", "The text, or the thing, that comes in ('a small straw hat')."),
                _slot("place", "Where in the picture, or where in the world ('on the table')."),
                _slot("style", "A style by its name and traits ('a watercolour with soft edges')."),
                io.Int.Input(
                    "pictures",
                    default=0,
                    min=0,
                    max=MOST_PICTURES,
                    optional=True,
                    tooltip="How many pictures the model will see, with the one to edit: the report tells which "
                    "of them the instruction does not name. 0: this is not checked.",
                ),
                Model.Input(
                    "model",
                    optional=True,
                    tooltip="Used only to count tokens: the report tells if the instruction is longer than this "
                    "model reads.",
                ),
            ],
            outputs=[
                io.String.Output(
                    "INSTRUCTION",
                    display_name="instruction",
                    tooltip="For Kontext Turn, Kontext Edit or Kontext Prompt.",
                ),
                io.String.Output(
                    "REPORT", display_name="report", tooltip="What may go wrong with it, one sentence a line."
                ),
            ],
        )

    @classmethod
    @user_errors
    def execute(
        cls,
        template: str,
        target: str,
        change: str,
        keep: str,
        old: str,
        new: str,
        place: str,
        style: str,
        pictures: int = 0,
        model: Editor | None = None,
    ) -> io.NodeOutput:
        texts = dict(zip(SLOTS, (target, change, keep, old, new, place, style), strict=True))
        known = NAMES[template]
        instruction = fill(known, {name: texts[name] for name in known.slots})
        findings = lint(instruction, pictures=pictures or None, tokens=_token_counter(model))
        unused = [name for name in texts if texts[name].strip() and name not in known.slots]
        lines = [finding.sentence for finding in findings] or [NOTHING]
        if unused:
            lines.append(f"not used by this template: {', '.join(unused)}")
        return io.NodeOutput(instruction, "\n".join(lines), ui=text_output(instruction, *lines))


def _token_counter(model: Editor | None) -> Callable[[str], Sequence[TokenCount]] | None:
    """Find what counts the tokens of a model; None where ComfyUI's own encoders read the words."""
    if model is None:
        return None
    from ..kontext_core.pipeline import Pipeline  # which the model has imported

    return model.text.count_tokens if isinstance(model, Pipeline) else None
