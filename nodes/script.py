"""A script of many turns."""

from __future__ import annotations

from typing import Any, Unpack

from . import inputs, values
from ._api import io
from .host import versions
from .host.errors import user_errors
from .host.graph import new_graph
from .turn import FOLDED, turn_inputs, turn_outputs
from .types import CATEGORY, Model

MOST_LINES = 100
SEEDS = ("same", "one more each turn")


class KontextScript(io.ComfyNode):
    """A script that expands to one KontextTurn per line; finished turns survive a stop or a change."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return versions.schema(
            node_id="KontextScript",
            display_name="Kontext Script",
            category=CATEGORY,
            search_aliases=["edit chain", "list of instructions", "batch prompts"],
            advanced=FOLDED,
            description="Many turns in one box: each line is an instruction, applied to the result of the "
            "line before.",
            inputs=[
                Model.Input(
                    "model", tooltip="The model from Kontext Load Model.", extra_dict={"rawLink": True}
                ),
                io.String.Input(
                    "script",
                    multiline=True,
                    default="",
                    placeholder="make the red circle blue\nremove the green star\nmake the background sand",
                    tooltip=f"One instruction a line, up to {MOST_LINES}. Empty lines and lines that begin "
                    "with # are ignored.",
                ),
                inputs.seed(),
                io.Combo.Input(
                    "seeds",
                    options=list(SEEDS),
                    default=SEEDS[1],
                    tooltip="Whether all turns start from the same noise, or each from the next seed.",
                ),
                *turn_inputs(raw=True),
                *inputs.sampling(),
                *inputs.editing(),
            ],
            outputs=turn_outputs(),
            is_output_node=True,
            enable_expand=True,
        )

    @classmethod
    def validate_inputs(cls, script: str | None = None) -> bool | str:
        return values.validity(_turns, script)

    @classmethod
    @user_errors
    def execute(
        cls,
        model: Any,
        script: str,
        seed: int,
        seeds: str,
        steps: int,
        guidance: float,
        fit: str,
        layout: str,
        anchor: bool,
        image: Any = None,
        chain: Any = None,
        references: Any = None,
        mask: Any = None,
        feather: int = inputs.FEATHER_PX,
        align: bool = False,
        **editing: Unpack[inputs.Editing],
    ) -> io.NodeOutput:
        lines = _turns(script)
        graph = new_graph()
        settings: dict[str, Any] = {
            "model": model,
            "steps": steps,
            "guidance": guidance,
            "fit": fit,
            "layout": layout,
            "anchor": anchor,
            "feather": feather,
            "align": align,
            **editing,
        }
        settings |= {
            name: link for name, link in (("references", references), ("mask", mask)) if link is not None
        }
        outputs: list[Any] = []
        source = {name: link for name, link in (("image", image), ("chain", chain)) if link is not None}
        for number, line in enumerate(lines):
            turn_seed = (seed + number * (seeds == SEEDS[1])) % (inputs.MAX_SEED + 1)
            turn = graph.node("KontextTurn", instruction=line, seed=turn_seed, **settings, **source)
            outputs = [turn.out(i) for i in range(len(turn_outputs()))]
            source = {"chain": outputs[0]}
        return io.NodeOutput(*outputs, expand=graph.finalize())


def instructions(script: str) -> list[str]:
    """Return the lines of a script that are instructions."""
    lines = (line.strip() for line in script.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _turns(script: object) -> list[str]:
    """Read the instructions of a script. Raises: ValueError in one sentence if none, or too many."""
    lines = instructions(values.text(script, "script"))
    if not lines:
        raise ValueError(
            "the script has no instruction: write one on each line, such as 'make the red circle blue'"
        )
    if len(lines) > MOST_LINES:
        raise ValueError(
            f"the script has {len(lines)} instructions, but {MOST_LINES} is the maximum: connect a second "
            "script after it"
        )
    return lines
