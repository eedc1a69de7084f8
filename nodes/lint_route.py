"""The page's requests while an instruction is written: what may go wrong with it.

Nothing is computed. If models are loaded, tokenizers like theirs count, so that no running edit is disturbed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..kontext_core.prompts.lint import TokenCount, lint
from . import load, values
from .host import routes

PATH = "/kontext/lint"
MOST_PICTURES = 64


def serve() -> None:
    """Register the route for the page."""
    routes.serve(PATH, answer)


def answer(question: Any) -> dict[str, list[str]]:
    """Look for what may go wrong with an instruction.

    Args:
        question: {"instruction": text, "pictures": how many the model will see, or null if not known}.
    Returns: {"findings": sentences}. Of loaded models the one that reads most counts tokens.
    Raises: ValueError in one sentence.
    """
    if not isinstance(question, dict):
        raise values.wrong(question, "the question", "an object")
    instruction = values.text(question.get("instruction"), "instruction")
    pictures = question.get("pictures")
    if pictures is not None:
        pictures = values.whole(pictures, "pictures", 0, MOST_PICTURES)
    findings = lint(instruction, pictures=pictures, tokens=_token_counter())
    return {"findings": [finding.sentence for finding in findings]}


def _token_counter() -> Callable[[str], list[TokenCount]] | None:
    models = load.loaded_models()
    if not models:
        return None
    from ..kontext_core.loading.token_counts import token_counter_like

    return token_counter_like(max((model.text for model in models), key=lambda text: text.text_length))
