"""Kontext Chain Sheet saves a chain as an animation: its files, what they say of the graph, and refusals."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from tools.paths import ROOT

Run = Callable[..., Any]


@pytest.fixture
def output(comfy_base: Path) -> Path:
    """ComfyUI's output folder."""
    import folder_paths

    folder = Path(folder_paths.get_output_directory())
    folder.mkdir(parents=True, exist_ok=True)
    return folder


Chain = Callable[[int], Any]


@pytest.fixture
def chain(run: Run) -> Chain:
    """Makes a chain of so many turns: the nodes know only those of their own core."""
    start = run("KontextPickTurn", chain=torch.zeros(1, 32, 32, 3), turn=0)[0]

    def make(turns: int) -> Any:
        pictures = [torch.full((1, 32, 32, 3), i / turns) for i in range(turns + 1)]
        return type(start)(tuple(type(start.last)(image) for image in pictures))

    return make


@pytest.mark.parametrize("ending", ["gif", "webp"])
def test_each_run_saves_a_file_of_its_own(run: Run, chain: Chain, output: Path, ending: str) -> None:
    plain = run("KontextChainSheet", chain=chain(2))[0]
    names = []
    for _ in range(2):
        result = run("KontextChainSheet", chain=chain(2), animation=ending)
        assert torch.equal(result[0], plain), "the sheet stays as it is"
        (file,) = result.ui["images"]
        assert (file["subfolder"], file["type"]) == ("kontext", "output")
        assert result.ui["text"] == (f"3 pictures in {file['filename']}",)
        # without it ComfyUI's page shows one frame; with it, it takes a GIF for a video
        assert result.ui.get("animated") == ((True,) if ending == "webp" else None)
        with Image.open(output / "kontext" / file["filename"]) as picture:
            assert picture.n_frames == 3
        names.append(file["filename"])
    assert len(set(names)) == 2
    assert all(name.endswith(f".{ending}") for name in names)


def test_before_and_after(run: Run, chain: Chain, output: Path) -> None:
    (file,) = run("KontextChainSheet", chain=chain(3), first=-2, animation="gif").ui["images"]
    with Image.open(output / "kontext" / file["filename"]) as picture:
        assert picture.n_frames == 2


def test_the_graph_is_in_a_webp_unless_metadata_are_off(
    node_list: list[Any], chain: Chain, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import comfy.cli_args

    node = next(node for node in node_list if node.GET_SCHEMA().node_id == "KontextChainSheet")
    hidden = SimpleNamespace(prompt={"1": {}}, extra_pnginfo={"workflow": {}})
    monkeypatch.setattr(node, "hidden", hidden, raising=False)
    texts = []
    for disabled in (False, True):
        monkeypatch.setattr(comfy.cli_args.args, "disable_metadata", disabled)
        (file,) = node.execute(chain(1), animation="webp").ui["images"]
        with Image.open(output / "kontext" / file["filename"]) as picture:
            texts.append(sorted(picture.getexif().values()))
    assert texts == [['prompt:{"1": {}}', "workflow:{}"], []]
    assert "--disable-metadata" in (ROOT / "web" / "docs" / "KontextChainSheet.md").read_text(
        encoding="utf-8"
    )


def test_too_many_turns_are_refused_in_one_sentence_and_nothing_is_left(
    run: Run, chain: Chain, output: Path
) -> None:
    before = sorted(output.rglob("*"))
    with pytest.raises(ValueError, match=r"^from turn 0 on this chain has 206 pictures, but an animation"):
        run("KontextChainSheet", chain=chain(205), animation="gif")
    assert [path for path in sorted(output.rglob("*")) if path.is_file() and path not in before] == []
    with pytest.raises(ValueError, match=r"^animation .*off"):
        run("KontextChainSheet", chain=chain(1), animation="mp4")
