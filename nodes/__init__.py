"""The list of nodes. Nothing heavy is imported before a node runs."""

from typing import Any

from . import layout_route, lint_route
from ._api import ComfyExtension
from .chain import KontextChainSheet, KontextCompare, KontextPickTurn
from .chain_file import KontextLoadChain, KontextSaveChain
from .conditioning import KontextFromConditioning, KontextToConditioning
from .cue import KontextVisualCue
from .edit import KontextEdit
from .example import KontextExample
from .from_comfyui import KontextFromComfyUI
from .latent import KontextDecode, KontextEncode
from .load import KontextLoadModel
from .lora import KontextLora
from .prompt import KontextEncodePrompt
from .prompt_template import KontextPromptTemplate
from .reference import KontextReference
from .reference_grid import KontextReferenceGrid
from .sample import KontextSampler
from .script import KontextScript
from .turn import KontextTurn

NODES: tuple[type[Any], ...] = (
    KontextLoadModel,
    KontextEncodePrompt,
    KontextReference,
    KontextReferenceGrid,
    KontextSampler,
    KontextEncode,
    KontextDecode,
    KontextEdit,
    KontextExample,
    KontextTurn,
    KontextScript,
    KontextPickTurn,
    KontextCompare,
    KontextChainSheet,
    KontextSaveChain,
    KontextLoadChain,
    KontextVisualCue,
    KontextFromComfyUI,
    KontextToConditioning,
    KontextFromConditioning,
    KontextLora,
    KontextPromptTemplate,
)


class KontextExtension(ComfyExtension):
    """The nodes that the pack adds to ComfyUI."""

    async def get_node_list(self) -> list[type[Any]]:
        for route in (layout_route, lint_route):  # here, since ComfyUI 0.3 never calls `on_load`
            route.serve()
        return list(NODES)
