"""`python -m tools.make_locales`: writes locales/ from the nodes' schemas and tools/locales.

English is what the schemas say. A translation is a table from the English sentence; a sentence that was
changed is missing there, which this says and a test holds. What is set in a node has a name in each language;
names of sockets stay as they are: messages tell which of them to connect.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from . import comfyui
from .console import ToolError, run, say
from .paths import ROOT, TRANSLATIONS

FOLDER = ROOT / "locales"
DATA_TYPES = {
    "KONTEXT_CHAIN": "Kontext chain",
    "KONTEXT_MODEL": "Kontext model",
    "KONTEXT_PROMPT": "Kontext prompt",
    "KONTEXT_REFERENCES": "Kontext references",
}
SCRIPTS = ROOT / "web" / "js"

Texts = dict[str, Any]


class WidgetName(str):
    """The name of an input that is set in the node."""

    __slots__ = ()


def english(nodes: list[Any]) -> dict[str, Texts]:
    """The contents of ComfyUI's locale files by name, in English.

    Args:
        nodes: the pack's node classes.
    """
    return {
        "main.json": {
            "dataTypes": DATA_TYPES,
            "nodeCategories": {"Kontext": "Kontext"},
            "settingsCategories": {"Kontext": "Kontext", "Chain panel": "Chain panel"},
            "kontextPage": {sentence: sentence for sentence in page_sentences()},
        },
        "commands.json": {id: {"label": label} for id, label in page_commands().items()},
        "settings.json": page_settings(),
        "nodeDefs.json": {node.GET_SCHEMA().node_id: _of_schema(node.GET_SCHEMA()) for node in nodes},
    }


def page_sentences() -> list[str]:
    """What the page's scripts say, in `t("...")`, and the labels and needs of their actions."""
    sentences = re.findall(r'\b(?:t\(|label:|need:|NEED =)\s*"([^"]+)"', _scripts())
    return sorted(set(sentences))


def page_commands() -> dict[str, str]:
    """Labels of the page's commands by id, with _ for the dot."""
    commands = re.findall(r'id: "(Kontext\.\w+)",\s*label: "([^"]+)"', _scripts())
    return {id.replace(".", "_"): label for id, label in commands}


def page_settings() -> Texts:
    """Names and tooltips of the page's settings by id, with _ for the dots."""
    settings = re.findall(r'id: "(Kontext[\w.]+)",\s*name: "([^"]+)",\s*tooltip:\s*"([^"]+)"', _scripts())
    return {id.replace(".", "_"): {"name": name, "tooltip": tooltip} for id, name, tooltip in settings}


def _scripts() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(SCRIPTS.rglob("*.js")))


def _of_schema(schema: Any) -> Texts:
    return {
        "display_name": schema.display_name,
        "description": schema.description,
        "inputs": {
            entry.id: {
                "name": WidgetName(entry.id) if hasattr(entry, "widget_type") else entry.id,
                "tooltip": entry.tooltip,
            }
            for entry in schema.inputs
        },
        "outputs": {
            str(i): {"name": output.display_name, "tooltip": output.tooltip}
            for i, output in enumerate(schema.outputs)
        },
    }


def translated(
    texts: Any, table: dict[str, str], missing: set[str], key: str = "", *, slots: bool = False
) -> Any:
    """The same with every sentence in another language; what the table lacks goes into `missing`.

    Args:
        slots: the texts are those of a node's inputs and outputs; of sockets the names stay.
    """
    if isinstance(texts, dict):
        inside = slots or key in ("inputs", "outputs")
        return {name: translated(value, table, missing, name, slots=inside) for name, value in texts.items()}
    if (slots and key == "name" and not isinstance(texts, WidgetName)) or texts == "Kontext":
        return texts
    if texts not in table:
        missing.add(texts)
    return table.get(texts, texts)


def tables() -> dict[str, dict[str, str]]:
    """Translations by language."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in TRANSLATIONS.glob("*.json")}


def write(folder: Path, files: dict[str, Texts]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, texts in files.items():
        text = json.dumps(texts, indent=2, ensure_ascii=False) + "\n"
        (folder / name).write_text(text, encoding="utf-8")


def loaded_nodes() -> list[Any]:
    """The pack's nodes, loaded by path beside ComfyUI's modules in this process."""
    sys.path.append(str(comfyui.get().folder))
    from comfy.cli_args import args  # pyright: ignore[reportMissingImports]

    args.cpu, args.base_directory = True, tempfile.mkdtemp()
    spec = importlib.util.spec_from_file_location("kontext_pack", ROOT / "__init__.py")
    assert spec is not None, "the pack has a root module"
    assert spec.loader is not None, "which can be loaded"
    module = importlib.util.module_from_spec(spec)
    sys.modules["kontext_pack"] = module
    spec.loader.exec_module(module)

    async def ask() -> list[Any]:
        return await (await module.comfy_entrypoint()).get_node_list()

    return asyncio.run(ask())


def main() -> None:
    """The command line."""
    files = english(loaded_nodes())
    write(FOLDER / "en", files)
    say(f"wrote {FOLDER / 'en'}")
    for language, table in sorted(tables().items()):
        missing: set[str] = set()
        write(FOLDER / language, {name: translated(texts, table, missing) for name, texts in files.items()})
        say(f"wrote {FOLDER / language}")
        if missing:
            raise ToolError(f"{language} lacks {len(missing)} sentences, the first: {sorted(missing)[0]!r}.")


if __name__ == "__main__":
    run(main)
