"""Words for the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import inputs
from ._api import io
from .host import versions
from .host.errors import user_errors
from .host.outputs import collect_warnings, text_output
from .types import CATEGORY, Model, Prompt, PromptSocket

if TYPE_CHECKING:
    from ..kontext_core.editor import Editor


class KontextEncodePrompt(io.ComfyNode):
    """Encodes here, so that the time is spent and shown here; the sampler reuses the result."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return versions.schema(
            node_id="KontextEncodePrompt",
            display_name="Kontext Prompt",
            category=CATEGORY,
            search_aliases=["text encode", "clip text encode", "instruction"],
            description="The instruction, in plain words: what to change in the picture, or what the "
            "picture shows.",
            inputs=[
                Model.Input(
                    "model", tooltip="The model from Kontext Load Model; its text encoders read the words."
                ),
                inputs.instruction("text"),
                io.String.Input(
                    "negative",
                    multiline=True,
                    dynamic_prompts=True,
                    default="",
                    tooltip="What to steer away from. Used only when the sampler's nag or cfg is not 1.",
                ),
            ],
            outputs=[PromptSocket.Output("PROMPT", display_name="prompt", tooltip="For Kontext Sampler.")],
        )

    @classmethod
    @user_errors
    def execute(cls, model: Editor, text: str, negative: str) -> io.NodeOutput:
        with collect_warnings() as notes:
            model.encode_prompt(text)
            if negative.strip():
                model.encode_prompt(negative)
        return io.NodeOutput(Prompt(text, negative), ui=text_output(*notes))
