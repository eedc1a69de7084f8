"""The pack as ComfyUI sees it: an entry point, nodes with complete schemas, help and texts."""

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

from kontext_core.world import vocabulary
from kontext_core.world.language import TEMPLATES, patterns
from tools import comfyui
from tools.make_locales import DATA_TYPES, english, page_commands, page_settings, tables, translated
from tools.paths import ROOT

IDS = {
    "KontextLoadModel": ["KONTEXT_MODEL"],
    "KontextEncodePrompt": ["KONTEXT_PROMPT"],
    "KontextReference": ["KONTEXT_REFERENCES"],
    "KontextReferenceGrid": ["KONTEXT_REFERENCES"],
    "KontextSampler": ["LATENT"],
    "KontextEncode": ["LATENT"],
    "KontextDecode": ["IMAGE"],
    "KontextEdit": ["IMAGE", "LATENT", "MASK", "STRING"],
    "KontextExample": ["IMAGE"],
    "KontextTurn": ["KONTEXT_CHAIN", "IMAGE", "LATENT", "MASK", "STRING"],
    "KontextScript": ["KONTEXT_CHAIN", "IMAGE", "LATENT", "MASK", "STRING"],
    "KontextPickTurn": ["KONTEXT_CHAIN", "IMAGE"],
    "KontextCompare": ["IMAGE", "IMAGE"],
    "KontextChainSheet": ["IMAGE"],
    "KontextSaveChain": [],
    "KontextLoadChain": ["KONTEXT_CHAIN", "IMAGE"],
    "KontextVisualCue": ["IMAGE", "MASK"],
    "KontextFromComfyUI": ["KONTEXT_MODEL"],
    "KontextToConditioning": ["CONDITIONING", "CONDITIONING", "LATENT"],
    "KontextFromConditioning": ["KONTEXT_PROMPT"],
    "KontextLora": ["KONTEXT_MODEL"],
    "KontextPromptTemplate": ["STRING", "STRING"],
}
# What nodes that edit in one box have last; `execute` takes these together.
SAMPLING = ["approximate", "approximate_number", "negative", "cfg", "solver", "shift"]
EDITING = ["keep_outside", "size", "detail", "nag", "cfg_to"]
# Released names: they stand in people's workflows, so none may ever change or move.
INPUTS = {
    "KontextLoadModel": [
        "model", "vae", "clip_l", "t5xxl", "dtype", "device", "weights", "memory", "speed", "attention",
    ],
    "KontextEncodePrompt": ["model", "text", "negative"],
    "KontextReference": [
        "fit", "image", "latent", "references", "model", "strength", "max_tokens", "place", "region",
        "name",
    ],
    "KontextReferenceGrid": [
        "fit", "arrange", "image_1", "image_2", "image_3", "image_4", "references", "model",
    ],
    "KontextSampler": [
        "model", "prompt", "references", "start", "mask", "width", "height", "steps", "guidance", "cfg", "seed",
        "layout", "batch", "strength", "shift", "solver", "approximate", "approximate_number", "nag", "cfg_to",
    ],
    "KontextEncode": ["model", "image", "fit"],
    "KontextDecode": ["model", "latent"],
    "KontextEdit": [
        "model", "instruction", "seed", "steps", "guidance", "fit", "layout", "image", "latent", "references",
        "mask", "feather", *SAMPLING, *EDITING,
    ],
    "KontextExample": ["picture"],
    "KontextTurn": [
        "model", "instruction", "seed", "steps", "guidance", "fit", "layout", "anchor", "image", "chain", "references",
        "mask", "feather", "align", "marks", *SAMPLING, "candidates",
        *EDITING,
    ],
    "KontextScript": [
        "model", "script", "seed", "seeds", "steps", "guidance", "fit", "layout", "anchor", "image", "chain",
        "references", "mask", "feather", "align", *SAMPLING, *EDITING,
    ],
    "KontextPickTurn": ["chain", "turn"],
    "KontextCompare": ["chain", "turn", "other_turn", "other"],
    "KontextChainSheet": ["chain", "first", "animation"],
    "KontextSaveChain": ["chain", "filename_prefix", "latents"],
    "KontextLoadChain": ["file"],
    "KontextVisualCue": ["image", "marks"],
    "KontextFromComfyUI": ["model", "clip", "vae"],
    "KontextToConditioning": ["model", "prompt", "guidance", "layout", "references"],
    "KontextFromConditioning": ["conditioning", "negative"],
    "KontextLora": ["model", "lora", "strength", "start_percent", "end_percent", "apply"],
    "KontextPromptTemplate": [
        "template", "target", "change", "keep", "old", "new", "place", "style", "pictures", "model",
    ],
}  # fmt: skip


def test_root_declares_web_folder_and_entry_point_only(pack: ModuleType) -> None:
    public = {name for name in vars(pack) if not name.startswith("_")} - {"Any", "nodes", "kontext_core"}
    assert public == {"WEB_DIRECTORY", "comfy_entrypoint"}
    assert (ROOT / pack.WEB_DIRECTORY).is_dir()
    assert (
        "web" not in (ROOT / "pyproject.toml").read_text().partition("[tool.comfy]")[2].partition("[tool.")[0]
    )


def test_ids_and_outputs(node_list: list[Any]) -> None:
    schemas = [node.GET_SCHEMA() for node in node_list]
    assert {one.node_id: [str(output.io_type) for output in one.outputs] for one in schemas} == IDS
    assert len(schemas) == len(IDS)
    assert {one.category for one in schemas} == {"Kontext"}


@pytest.mark.parametrize("node_id", IDS)
def test_schema_and_execute_agree(node_list: list[Any], node_id: str) -> None:
    node = next(node for node in node_list if node.GET_SCHEMA().node_id == node_id)
    schema = node.GET_SCHEMA()
    parameters = dict(inspect.signature(node.execute).parameters)
    assert [one.id for one in schema.inputs] == INPUTS[node_id]
    together = parameters.pop("sampling", None) or parameters.pop("editing", None)
    assert together is None or together.kind is inspect.Parameter.VAR_KEYWORD
    shared = [*SAMPLING, *EDITING]
    sampling = [] if together is None else [one for one in schema.inputs if one.id in shared]
    assert [one.id for one in sampling] in ([], SAMPLING, shared)
    assert all(one.optional for one in sampling)
    assert {*parameters, *(one.id for one in sampling)} == set(INPUTS[node_id])
    for one in schema.inputs:
        if one in sampling:
            continue
        assert (parameters[one.id].default is not inspect.Parameter.empty) == bool(one.optional), one.id
        if one.optional and hasattr(one, "default") and one.default is not None:
            assert parameters[one.id].default == one.default, one.id


def test_every_input_and_output_is_explained(node_list: list[Any]) -> None:
    for node in node_list:
        schema = node.GET_SCHEMA()
        assert schema.description
        for one in (*schema.inputs, *schema.outputs):
            assert one.tooltip, f"{schema.node_id}.{one.id}"
            assert one.tooltip[0].isupper()
            assert one.tooltip.endswith((".", ")"))


def test_widgets_have_default_and_range(node_list: list[Any]) -> None:
    for node in node_list:
        for one in node.GET_SCHEMA().inputs:
            kind = str(one.get_io_type())
            if kind in ("INT", "FLOAT"):
                assert one.min <= one.default <= one.max, one.id
            if kind == "COMBO" and one.upload is None:  # files of the user's, of which none is the usual one
                assert one.default in one.options, one.id
            if kind == "STRING":
                assert one.default == ("kontext/chain" if one.id == "filename_prefix" else ""), one.id


@pytest.mark.parametrize("node_id", IDS)
def test_help_page_names_every_input_and_output(node_list: list[Any], node_id: str) -> None:
    schema = next(node for node in node_list if node.GET_SCHEMA().node_id == node_id).GET_SCHEMA()
    page = (ROOT / "web" / "docs" / f"{node_id}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {schema.display_name}\n")
    for one in schema.inputs:
        assert f"**{one.id}**" in page, one.id
    for output in schema.outputs:
        assert f"**{output.display_name}**" in page, output.display_name


@pytest.mark.parametrize("node_id", IDS)
def test_help_page_shows_the_node(node_id: str) -> None:
    """'python -m tools.node_pictures NODE' takes the picture."""
    folder = ROOT / "web" / "docs"
    shown = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", (folder / f"{node_id}.md").read_text(encoding="utf-8"))
    assert f"images/nodes/{node_id}.png" in shown
    for one in shown:
        with Image.open(folder / one) as picture:
            assert min(picture.size) > 90, one


def test_no_help_page_without_a_node() -> None:
    assert {page.stem for page in (ROOT / "web" / "docs").glob("*.md")} == set(IDS)


def test_english_texts_are_those_of_the_schemas(node_list: list[Any]) -> None:
    for name, texts in english(node_list).items():
        written = json.loads((ROOT / "locales" / "en" / name).read_text(encoding="utf-8"))
        assert written == texts, "run 'python -m tools.make_locales'"
    kinds = {str(one.get_io_type()) for node in node_list for one in node.GET_SCHEMA().inputs}
    assert set(DATA_TYPES) == {kind for kind in kinds if kind.startswith("KONTEXT_")}


@pytest.mark.parametrize("language", sorted(tables()))
def test_translations_are_complete(node_list: list[Any], language: str) -> None:
    """Every sentence has a translation, none is left over, and the locale files match."""
    table, missing, used = tables()[language], set(), set()
    for name, texts in english(node_list).items():
        wanted = translated(texts, table, missing)
        written = json.loads((ROOT / "locales" / language / name).read_text(encoding="utf-8"))
        assert written == wanted, "run 'python -m tools.make_locales'"
        translated(texts, {}, used)
    assert not missing
    assert set(table) == used, "sentences that no node says any more"
    assert all(text.strip() and text != english_text for english_text, text in table.items())


def test_every_language_is_one_of_the_tables() -> None:
    assert {path.name for path in (ROOT / "locales").iterdir()} == {"en", *tables()}


def test_commands_and_settings_of_the_page_are_found() -> None:
    scripts = [path.read_text(encoding="utf-8") for path in (ROOT / "web" / "js").rglob("*.js")]
    ids = {id for script in scripts for id in re.findall(r'\bid: "(Kontext\.[\w.]+)"', script)}
    assert "Kontext.AddTurn" in ids
    assert {id.replace(".", "_") for id in ids} == {*page_commands(), *page_settings()}


_START = """
import asyncio, importlib.util, logging, sys
sys.path.append(sys.argv[1])
from comfy.cli_args import args
args.cpu, args.base_directory = True, sys.argv[2]
import comfy_api.latest, comfy.model_management
handlers = list(logging.getLogger().handlers)
spec = importlib.util.spec_from_file_location("pack", sys.argv[3])
module = importlib.util.module_from_spec(spec)
sys.modules["pack"] = module
spec.loader.exec_module(module)
async def schemas():
    return [node.GET_SCHEMA() for node in await (await module.comfy_entrypoint()).get_node_list()]
assert len(asyncio.run(schemas())) > 6
heavy = {"transformers", "tokenizers", "diffusers", "pack.kontext_core.pipeline"} & set(sys.modules)
assert not heavy, heavy
assert handlers == logging.getLogger().handlers
import torch
assert not torch.cuda.is_initialized()
"""


def test_start_is_light(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-c",
        _START,
        str(comfyui.get().folder),
        str(tmp_path),
        str(ROOT / "__init__.py"),
    ]
    subprocess.run(command, check=True, cwd=tmp_path, timeout=120)


def test_options_of_the_loader_are_listed_at_run_time(
    node_list: list[Any], comfy_base: Path, part: Callable[[str], Any]
) -> None:
    folder = comfy_base / "models" / "vae"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "new.safetensors").write_bytes(b"")
    loader = next(node for node in node_list if node.GET_SCHEMA().node_id == "KontextLoadModel")
    try:
        listed = {one.id: one.options for one in loader.GET_SCHEMA().inputs if hasattr(one, "options")}
        assert listed["vae"] == ["auto", "new.safetensors"]
        assert listed["model"][0] == "tiny (comes along)"
    finally:
        (folder / "new.safetensors").unlink()


def test_instructions_in_the_help_are_the_worlds() -> None:
    """Whoever copies one into the node gets a sentence of the tiny model's lessons, or of its world."""
    page = (ROOT / "web" / "docs" / "KontextExample.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (?:recolour|remove|add|change the background) \| (.+) \|$", page, re.MULTILINE)
    asked = [sentence.strip() for row in rows for sentence in row.split(";")]
    asked += re.findall(r"\*([a-z0-9 ]+)\*[,.]", page.partition("It was also trained on others")[2])
    alone = set(TEMPLATES) - {
        "character",
        "both",
        "text_to_image",
    }  # those speak of several pictures, or of none
    known = [pattern for action in sorted(alone) for pattern in patterns(action)]
    assert len(asked) >= 14
    for sentence in asked:
        assert set(sentence.split()) <= set(vocabulary()), sentence
        assert any(pattern.fullmatch(sentence) for pattern in known) or "picture 2" in sentence, sentence


def test_the_page_asks_no_other_server() -> None:
    """What it fetches it fetches from ComfyUI by ComfyUI's own functions, or it is the
    font beside the scripts.
    """
    scripts = {path: path.read_text(encoding="utf-8") for path in (ROOT / "web").rglob("*.[cj]s*")}
    assert len(scripts) > 20
    asks = r"\w+://|//\w+\.\w+|\bfetch\(|XMLHttpRequest|WebSocket|EventSource|sendBeacon|\bimport\((?!\"\.)"
    for path, text in scripts.items():
        plain = text.replace("http://www.w3.org/2000/svg", "")  # the name of a format, not an address
        plain = plain.replace("fetch(FONT)", "")
        assert re.findall(asks, plain) == [], path


def test_colours_follow_the_theme() -> None:
    """Every colour is one of the page's, with what stands in where a theme lacks it; but for
    what lies upon a picture.
    """
    upon_pictures = {"#fff", "#000"}
    for path in (*(ROOT / "web" / "css").glob("*.css"), ROOT / "web" / "js" / "draw" / "style.js"):
        own = re.sub(r"var\(--[\w-]+,[^()]*\)|rgb\(0 0 0 / 50%\)", "", path.read_text(encoding="utf-8"))
        assert set(re.findall(r"#[0-9a-fA-F]{3,8}\b|(?:rgb|hsl)a?\(", own)) <= upon_pictures, path
