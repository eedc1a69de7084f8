"""Behaviour of other versions of ComfyUI, with stand-ins: the tests run on the installed version."""

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from tools.paths import ROOT

from .conftest import PACK

SAMPLING = {"approximate", "approximate_number", "negative", "cfg", "solver", "shift"}
EDITING = {"keep_outside", "size", "detail", "nag", "cfg_to"}
FOLDED = {
    "KontextLoadModel": {"dtype", "device", "memory", "speed", "attention"},
    "KontextSampler": {
        "cfg",
        "layout",
        "shift",
        "solver",
        "approximate",
        "approximate_number",
        "nag",
        "cfg_to",
    },
    "KontextEdit": {"layout", "feather", *SAMPLING, *EDITING},
    "KontextTurn": {
        "layout",
        "anchor",
        "feather",
        "align",
        *SAMPLING,
        "candidates",
        *EDITING,
    },
    "KontextScript": {"layout", "anchor", "feather", "align", *SAMPLING, *EDITING},
    "KontextReference": {"max_tokens", "place"},
    "KontextLora": {"start_percent", "end_percent", "apply"},
    "KontextToConditioning": {"layout"},
}


@dataclass
class OlderSchema:
    """As up to 0.10."""

    node_id: str
    inputs: list[Any] = field(default_factory=list[Any])


@dataclass
class NewerSchema(OlderSchema):
    """As from 0.19 on."""

    search_aliases: list[str] = field(default_factory=list[str])
    essentials_category: str | None = None
    has_intermediate_output: bool = False


class OlderInput:
    """As up to 0.9."""

    id = "steps"

    def __init__(self) -> None:
        self.extra_dict = {"rawLink": True}

    def as_dict(self) -> dict[str, Any]:
        return dict(self.extra_dict)


class NewerInput(OlderInput):
    """As from 0.10 on."""

    advanced: bool | None = None

    def as_dict(self) -> dict[str, Any]:
        return super().as_dict() | {"advanced": self.advanced}


@pytest.fixture
def versions(part: Callable[[str], Any]) -> Any:
    return part("nodes.host.versions")


def test_a_schema_says_what_the_version_knows(versions: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {"node_id": "A", "inputs": [], "search_aliases": ["b"], "has_intermediate_output": True}
    monkeypatch.setattr(versions, "io", SimpleNamespace(Schema=OlderSchema))
    assert versions.schema(**fields) == OlderSchema("A", [])
    monkeypatch.setattr(versions, "io", SimpleNamespace(Schema=NewerSchema))
    assert versions.schema(**fields) == NewerSchema("A", [], ["b"], None, True)
    with pytest.raises(TypeError, match="misspelt"):
        versions.schema(node_id="A", misspelt=True)


@pytest.mark.parametrize("kind", [OlderInput, NewerInput])
def test_a_widget_is_folded_away_on_any_version(
    versions: Any, monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    monkeypatch.setattr(versions, "io", SimpleNamespace(Schema=OlderSchema))
    [entry] = versions.schema(node_id="A", inputs=[kind()], advanced=("steps",)).inputs
    assert entry.as_dict() == {"rawLink": True, "advanced": True}
    with pytest.raises(KeyError):
        versions.schema(node_id="A", inputs=[kind()], advanced=("misspelt",))


def test_which_widgets_may_be_folded_away(node_list: list[Any]) -> None:
    """The rest a newcomer needs. A widget that says so says nothing else than before."""
    folded = {
        schema.node_id: {entry.id for entry in schema.inputs if entry.as_dict().get("advanced")}
        for schema in (node.GET_SCHEMA() for node in node_list)
    }
    assert {node: names for node, names in folded.items() if names} == FOLDED


def test_a_manager_that_asks_for_the_size_at_once(
    comfy_models: None, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As up to 0.3.71, whose constructor calls `model_size`."""
    import comfy.model_patcher

    asked: list[int] = []

    class Eager(comfy.model_patcher.ModelPatcher):
        def __init__(self, *args: Any, **options: Any) -> None:
            asked.append(self.model_size())
            super().__init__(*args, **options)

    monkeypatch.setattr(comfy.model_patcher, "ModelPatcher", Eager)
    spec = importlib.util.spec_from_file_location(
        f"{PACK}.nodes.managed_by_eager", ROOT / "nodes/managed_pipeline.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    patcher = module._Patcher(model)
    assert asked == [model.weights.resident_bytes]
    assert patcher.model_size() == model.weights.resident_bytes


class Throttled:
    """A progress bar as from 0.9.2 on: the first and the last step and those with a picture;
    others at times, here never.
    """

    sent: list[tuple[int, bool]]

    def __init__(self, total: int, node_id: str | None = None) -> None:
        self.total, self.first = total, True

    def update_absolute(self, value: int, total: int | None = None, preview: Any = None) -> None:
        if self.first or value >= (total or self.total) or preview is not None:
            self.sent.append((value, preview is not None))
        self.first = False


@pytest.fixture
def throttled(comfy_base: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    """What gets through: the step, and whether it has a picture."""
    import comfy.utils

    sent: list[tuple[int, bool]] = []
    monkeypatch.setattr(Throttled, "sent", sent, raising=False)
    monkeypatch.setattr(comfy.utils, "ProgressBar", Throttled)
    return sent


def test_the_end_gets_through_with_its_picture(part: Callable[[str], Any], throttled: list[Any]) -> None:
    for preview, picture in ((lambda _: Image.new("RGB", (8, 8)), True), (None, False)):
        throttled.clear()
        progress = part("nodes.host.progress").Progress(preview)
        for step in range(6):
            progress(step, 6, torch.zeros(1))
        assert throttled[0] == (1, picture)
        assert throttled[-1] == (6, picture)


def test_the_stop_button_counts_between_what_gets_through(
    part: Callable[[str], Any], throttled: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import comfy.model_management as management

    progress = part("nodes.host.progress").Progress(None)
    progress(0, 9, torch.zeros(1))
    progress(1, 9, torch.zeros(1))
    management.interrupt_current_processing()
    with pytest.raises(management.InterruptProcessingException):
        progress(2, 9, torch.zeros(1))
    assert throttled == [(1, False)]


@pytest.fixture
def previews(comfy_base: Path, versions: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str | None]:
    """The method with the page's setting, ComfyUI's own argument now, and the words of its command line."""
    import comfy.options
    from comfy.cli_args import LatentPreviewMethod, args

    def choice(setting: str | None = None, now: str = "none", line: str = "") -> str | None:
        data = {"client_id": "a"} | ({} if setting is None else {"preview_method": setting})
        item = (0, "id", {}, data, [], {})
        queue = SimpleNamespace(get_current_queue_volatile=lambda: ([item], []))
        server = SimpleNamespace(PromptServer=SimpleNamespace(instance=SimpleNamespace(prompt_queue=queue)))
        monkeypatch.setitem(sys.modules, "server", server)
        monkeypatch.setattr(args, "preview_method", LatentPreviewMethod(now))
        monkeypatch.setattr(comfy.options, "args_parsing", True)
        monkeypatch.setattr(sys, "argv", ["main.py", *line.split()])
        return versions.preview_method()

    return choice


@pytest.mark.parametrize(
    ("setting", "now", "line", "method"),
    [
        (None, "none", "", None),  # ComfyUI's own default, and nobody's choice
        (None, "none", "--preview-size 256 --cpu", None),
        (None, "none", "--cpu --preview-method none", "none"),
        (None, "none", "--preview-m=none", "none"),  # as argparse allows
        (None, "auto", "--preview-method auto", "auto"),
        (None, "latent2rgb", "", "latent2rgb"),  # set at run time, by another pack
        ("none", "none", "--preview-method auto", "none"),
        ("none", "auto", "--preview-method auto", "none"),  # up to 0.4, where the setting reaches no node of ComfyUI's
        ("taesd", "none", "--preview-method none", "taesd"),
        ("default", "none", "", None),
        ("default", "none", "--preview-method none", "none"),
        ("of the future", "auto", "", "auto"),
    ],
)  # fmt: skip
def test_whose_choice_of_previews_counts(
    previews: Callable[..., str | None], setting: str | None, now: str, line: str, method: str | None
) -> None:
    assert previews(setting, now, line) == method


def test_no_server_and_no_running_graph_choose_nothing(
    previews: Callable[..., str | None], versions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert previews() is None
    queue = sys.modules["server"].PromptServer.instance.prompt_queue
    monkeypatch.setattr(queue, "get_current_queue_volatile", lambda: ([], []))
    assert versions.preview_method() is None
    monkeypatch.delitem(sys.modules, "server")
    assert versions.preview_method() is None


@pytest.mark.parametrize("method", ["none", "latent2rgb", None])
@pytest.mark.parametrize("kind", ["model", "hosted"])
def test_previews_of_both_kinds_of_model_follow_it(
    request: pytest.FixtureRequest,
    run: Callable[..., Any],
    versions: Any,
    image: Tensor,
    throttled: list[tuple[int, bool]],
    monkeypatch: pytest.MonkeyPatch,
    method: str | None,
    kind: str,
) -> None:
    monkeypatch.setattr(versions, "preview_method", lambda: method)
    run("KontextEdit", model=request.getfixturevalue(kind), image=image, steps=2, fit="none", layout="offset")
    assert throttled[-1] == (2, method != "none")
    assert any(picture for _, picture in throttled) == (method != "none")


def test_previews_have_the_size_that_was_asked_for(
    part: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import comfy.utils
    from comfy.cli_args import args

    sizes: list[int] = []
    monkeypatch.setattr(args, "preview_size", 96)
    monkeypatch.setattr(comfy.utils.ProgressBar, "update_absolute", lambda *told: sizes.append(told[3][2]))
    part("nodes.host.progress").Progress(lambda _: Image.new("RGB", (8, 8)))(0, 1, torch.zeros(1))
    assert sizes == [96]
