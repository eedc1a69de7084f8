"""ComfyUI's folders: complete listings, links, and names that do not lead elsewhere."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from .conftest import picture

Run = Callable[..., Any]
LISTINGS = {"diffusion_models": "model", "vae": "vae", "text_encoders": "t5xxl", "loras": "lora"}
OUT = (
    "../{}",
    "/etc/{}",
    "sub/../../{}",
    r"..\{}",
    r"\{}",
    r"C:\{}",
    "C:{}",
    r"\\host\share\{}",
    "sub\0/{}",
)


def schemas(node_list: list[Any]) -> dict[str, list[str]]:
    """What the nodes offer, by the name of the input, as ComfyUI sends it to the page."""
    info = [node.GET_NODE_INFO_V1() for node in node_list]
    sent = json.loads(json.dumps([one["input"] for one in info]))  # whatever is offered can be sent
    inputs = [entry for one in sent for part in one.values() for entry in part.items()]
    return {name: entry[1]["options"] for name, entry in inputs if entry[0] == "COMBO"}


def bad_entries(folder: Path) -> None:
    """What may stand in a folder and cannot be used."""
    (folder / "gone.safetensors").symlink_to(folder / "nowhere.safetensors")
    (folder / "gone_folder").symlink_to(folder / "nowhere", target_is_directory=True)
    (folder / "self.safetensors").symlink_to("self.safetensors")
    (folder / "round").symlink_to(folder, target_is_directory=True)
    (folder / "folder.safetensors").mkdir()
    (folder / "sub").mkdir()
    (folder / "sub" / "up").symlink_to(folder, target_is_directory=True)
    (folder / "sub" / "good.gguf").touch()
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.safetensors")


def test_no_entry_takes_a_node_away(node_list: list[Any], models: Path, random_model: Path) -> None:
    for kind in LISTINGS:
        (models / kind / "good.safetensors").touch()
        bad_entries(models / kind)
    copy = Path(shutil.copytree(random_model, models / "diffusers" / "whole"))
    (copy / "round").symlink_to(copy, target_is_directory=True)
    (models / "diffusers" / "gone").symlink_to(models / "nowhere", target_is_directory=True)
    (models / "diffusers" / "self").symlink_to("self", target_is_directory=True)
    (models / "diffusers" / "file").touch()
    offered = schemas(node_list)
    files = ["good.safetensors", "sub/good.gguf"]
    assert offered["model"] == ["tiny (comes along)", "whole/", *files]
    assert offered["vae"] == offered["clip_l"] == offered["t5xxl"] == ["auto", *files]
    assert offered["lora"] == ["none", *files]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere such a name cannot be made")
def test_odd_names(node_list: list[Any], run: Run, placed: Path) -> None:
    folder = placed / "diffusion_models"
    odd, no_text = "a 'b'\n\"c\" \u4f60\U0001f600.safetensors", os.fsdecode(b"caf\xe9.safetensors")
    for name in (odd, no_text, "C:drive.safetensors"):
        shutil.copy(folder / "mine.safetensors", folder / name)
        shutil.copy(placed / "vae" / "x.safetensors", placed / "vae" / name)
    assert schemas(node_list)["model"] == ["tiny (comes along)", odd, "mine.safetensors"]
    loaded = run("KontextLoadModel", model=odd, vae=odd)
    assert loaded[0].transformer is not None
    for given in ({"model": no_text}, {"model": "mine.safetensors", "vae": no_text}):
        with pytest.raises(ValueError, match=r"'caf\\udce9\.safetensors' .*its name is not valid UTF-8"):
            run("KontextLoadModel", **given)


def test_a_drive_that_goes_off_between_two_looks(node_list: list[Any], models: Path, tmp_path: Path) -> None:
    """ComfyUI remembers the folders of its list and raises when one of them is gone."""
    drive = tmp_path / "drive"
    drive.mkdir()
    (drive / "far.safetensors").touch()
    for kind in LISTINGS:
        (models / kind / "near.safetensors").touch()
        (models / kind / "drive").symlink_to(drive, target_is_directory=True)
    assert schemas(node_list)["vae"] == ["auto", "drive/far.safetensors", "near.safetensors"]
    shutil.rmtree(drive)
    offered = schemas(node_list)
    assert offered["model"] == ["tiny (comes along)", "near.safetensors"]
    assert offered["vae"] == ["auto", "near.safetensors"]
    assert offered["lora"] == ["none", "near.safetensors"]


def test_a_folder_that_may_not_be_looked_into(
    node_list: list[Any], models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in (*LISTINGS, "diffusers"):
        (models / kind / "closed").mkdir()
        (models / kind / "closed" / "x.safetensors").touch()
        (models / kind / "near.safetensors").touch()
    scandir = os.scandir

    def refused(path: Any) -> Any:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    offered = schemas(node_list)
    assert offered["model"] == ["tiny (comes along)", "near.safetensors"]
    assert offered["t5xxl"] == ["auto", "near.safetensors"]


def test_what_is_remembered_of_a_folder(
    part: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked at anew when it has changed, or the end of a link has, and while it may still change."""
    folders, walks = part("nodes.host.folders"), []
    walk = folders._walk
    monkeypatch.setattr(folders, "_walk", lambda root: (walks.append(root), walk(root))[1])
    root, drive = tmp_path / "root", tmp_path / "drive"
    for folder in (root / "sub", drive):
        folder.mkdir(parents=True)
        (folder / "x").touch()
    (root / "far").symlink_to(drive, target_is_directory=True)
    (root / "file").symlink_to(drive / "x")

    def changed(folder: Path, second: int) -> list[str]:
        """What is known once the folder's clock stands at that second of 1970."""
        os.utime(folder, ns=(second * 10**9,) * 2)
        return sorted(folders._below(root))

    for folder in (drive, root / "sub"):
        changed(folder, 10)
    names = ["far/x", "file", "sub/x"]
    assert changed(root, 10) == names
    count = len(walks)
    assert changed(root, 10) == names
    assert len(walks) == count, "nothing has changed"
    (root / "sub" / "y").touch()
    assert changed(root / "sub", 20) == ["far/x", "file", "sub/x", "sub/y"]
    (drive / "x").unlink()
    (drive / "z").touch()
    assert changed(drive, 10) == ["far/z", "sub/x", "sub/y"], "a link has lost its end"
    (drive / "x").touch()
    assert changed(drive, 20) == ["far/x", "far/z", "file", "sub/x", "sub/y"]
    drive.rename(tmp_path / "off")
    assert sorted(folders._below(root)) == ["sub/x", "sub/y"]
    (root / "far").unlink()
    (root / "file").unlink()
    count = len(walks)
    for _ in range(2):
        assert changed(root, 5 * 10**9) == [
            "sub/x",
            "sub/y",
        ]  # by its clock, it may change within this very tick
    assert len(walks) == count + 2


def test_auto_passes_over_what_it_does_not_take(
    part: Callable[[str], Any], placed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("vae", "text_encoders"):
        bad_entries(placed / kind)
        (placed / kind / "page.safetensors").write_text("<html>")
        header = json.dumps({"__metadata__": {"config": '{"text_config": 5}'}}).encode()
        (placed / kind / "odd.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
        (placed / kind / "private.safetensors").touch()
    opened = Path.open

    def refused(path: Path, *args: Any, **options: Any) -> Any:
        if path.name == "private.safetensors":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *args, **options)

    monkeypatch.setattr(Path, "open", refused)
    found = part("nodes.files").select("mine.safetensors", vae="auto", clip_l="auto", t5xxl="auto").parts
    names = {path.name for name, path in found.items() if not name.startswith("tokenizer")}
    assert names == {"mine.safetensors", "x.safetensors", "a.safetensors", "b.safetensors"}


def test_who_chooses_a_broken_link_reads_where_it_leads(
    run: Run, node_list: list[Any], model: Any, placed: Path, tmp_path: Path
) -> None:
    gone = tmp_path / "drive" / "gone.safetensors"
    for kind in LISTINGS:
        (placed / kind / "gone.safetensors").symlink_to(gone)
        (placed / kind / "drive").symlink_to(gone.parent, target_is_directory=True)
    broken = r"gone\.safetensors is a link to .*gone\.safetensors, and nothing can be read there"
    for choice in ("model", "vae", "t5xxl"):
        with pytest.raises(ValueError, match=broken):
            run("KontextLoadModel", **({"model": "mine.safetensors"} | {choice: "gone.safetensors"}))
    with pytest.raises(ValueError, match=broken):
        run("KontextLora", model=model, lora="gone.safetensors", strength=1.0)
    for name in ("drive/inner.safetensors", "drive/"):
        with pytest.raises(ValueError, match=r"drive is a link to .*drive, and nothing can be read there"):
            run("KontextLoadModel", model=name)
    loader = next(node for node in node_list if node.GET_SCHEMA().node_id == "KontextLoadModel")
    assert "is a link to" in loader.validate_inputs(model="gone.safetensors")


def snapshot(model: Path, cache: Path) -> Path:
    """The model as Hugging Face's cache keeps one: a folder of links to files without endings."""
    inside = cache / "snapshots" / "1234"
    (cache / "blobs").mkdir(parents=True)
    for number, file in enumerate(file for file in sorted(model.rglob("*")) if file.is_file()):
        blob, link = cache / "blobs" / f"{number:040}", inside / file.relative_to(model)
        shutil.copy(file, blob)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return inside


@pytest.mark.parametrize("where", ["diffusion_models", "diffusers"])
@pytest.mark.parametrize("way", ["folder", "snapshot", "files"])
def test_a_model_folder_by_links(
    run: Run, node_list: list[Any], models: Path, random_model: Path, tmp_path: Path, where: str, way: str
) -> None:
    link = models / where / "linked"
    if way == "files":
        drive = Path(shutil.copytree(random_model, tmp_path / "drive"))
        shutil.copytree(random_model, link)
        (link / "ae.safetensors").unlink()
        (link / "ae.safetensors").symlink_to(drive / "ae.safetensors")
        shutil.rmtree(link / "text_encoder_2")
        (link / "text_encoder_2").symlink_to(drive / "text_encoder_2", target_is_directory=True)
    else:
        drive = shutil.copytree(random_model, tmp_path / "drive") if way == "folder" else tmp_path / "hub"
        target = drive if way == "folder" else snapshot(random_model, tmp_path / "hub")
        link.symlink_to(target, target_is_directory=True)
    assert schemas(node_list)["model"] == ["tiny (comes along)", "linked/"]
    assert run("KontextLoadModel", model="linked/")[0].transformer.config.text_length == 32


def test_a_change_behind_a_link_is_noticed(
    node_list: list[Any], models: Path, random_model: Path, tmp_path: Path
) -> None:
    drive = Path(shutil.copytree(random_model, tmp_path / "drive"))
    shutil.copytree(random_model, models / "diffusers" / "mine")
    inner = models / "diffusers" / "mine" / "text_encoder_2"
    shutil.rmtree(inner)
    inner.symlink_to(drive / "text_encoder_2", target_is_directory=True)
    (inner / "round").symlink_to(drive / "text_encoder_2", target_is_directory=True)
    loader = next(node for node in node_list if node.GET_SCHEMA().node_id == "KontextLoadModel")
    choices = {"model": "mine/", "vae": "auto", "clip_l": "auto", "t5xxl": "auto"}
    before = loader.fingerprint_inputs(**choices)
    assert loader.fingerprint_inputs(**choices) == before
    os.utime(drive / "text_encoder_2" / "model.safetensors", ns=(1, 1))
    assert loader.fingerprint_inputs(**choices) != before


def test_single_files_by_links(run: Run, placed: Path, model: Any, tmp_path: Path) -> None:
    for kind, name in (
        ("diffusion_models", "mine"), ("vae", "x"), ("text_encoders", "a"), ("text_encoders", "b"),
    ):  # fmt: skip
        file = placed / kind / f"{name}.safetensors"
        file.symlink_to(shutil.move(file, tmp_path / f"{name}.bin"))
    choices = {"vae": "x.safetensors", "clip_l": "a.safetensors", "t5xxl": "b.safetensors"}
    assert run("KontextLoadModel", model="mine.safetensors", **choices)[0].transformer is not None
    assert run("KontextLoadModel", model="mine.safetensors")[0].transformer is not None
    save_file(lora(), tmp_path / "drive.safetensors")
    (placed / "loras" / "far.safetensors").symlink_to(tmp_path / "drive.safetensors")
    assert run("KontextLora", model=model, lora="far.safetensors", strength=1.0)[0] is not model


def lora() -> dict[str, torch.Tensor]:
    module = "lora_unet_double_blocks_0_img_attn_proj"
    return {
        f"{module}.lora_down.weight": torch.ones(2, 128),
        f"{module}.lora_up.weight": torch.ones(128, 2),
    }


@pytest.mark.parametrize("name", OUT)
def test_names_do_not_lead_out_of_model_folders(run: Run, model: Any, placed: Path, name: str) -> None:
    """Though the file is there: beside the folder, and under the very name in it."""
    for kind in LISTINGS:
        shutil.copy(placed / "vae" / "x.safetensors", placed / "out.safetensors")
        (placed / kind / "sub").mkdir()
    path = str(placed / "out.safetensors") if name.startswith("/") else name.format("out.safetensors")
    for given in (path, name.format("diffusers/")):
        with pytest.raises(ValueError, match=r"^the model .* is not there"):
            run("KontextLoadModel", model=given)
    for choice in ("vae", "clip_l", "t5xxl"):
        with pytest.raises(ValueError, match=r"^there is no file .* in "):
            run("KontextLoadModel", model="mine.safetensors", **{choice: path})
    with pytest.raises(ValueError, match=r"^the LoRA .* is not there"):
        run("KontextLora", model=model, lora=path, strength=1.0)


def test_both_slashes_are_one(
    run: Run, node_list: list[Any], model: Any, placed: Path, random_model: Path
) -> None:
    for kind, name in (
        ("diffusion_models", "mine"), ("vae", "x"), ("text_encoders", "a"), ("text_encoders", "b"),
    ):  # fmt: skip
        (placed / kind / "flux" / "dev").mkdir(parents=True, exist_ok=True)
        shutil.move(placed / kind / f"{name}.safetensors", placed / kind / "flux" / "dev")
    (placed / "loras" / "flux" / "dev").mkdir(parents=True)
    save_file(lora(), placed / "loras" / "flux" / "dev" / "l.safetensors")
    shutil.copytree(random_model, placed / "diffusion_models" / "whole" / "tiny")
    for slash in ("/", "\\", "mixed"):

        def named(file: str, slash: str = slash) -> str:
            return f"flux\\dev/{file}" if slash == "mixed" else f"flux{slash}dev{slash}{file}"

        choices = {"vae": "x.safetensors", "clip_l": "a.safetensors", "t5xxl": "b.safetensors"}
        choices = {choice: named(file) for choice, file in choices.items()}
        assert run("KontextLoadModel", model=named("mine.safetensors"), **choices)[0] is not None
        assert run("KontextLora", model=model, lora=named("l.safetensors"), strength=1.0)[0] is not model
        # newer hosts ask whether a choice is among those that the schema offers
        schema = {node.GET_SCHEMA().node_id: node.GET_SCHEMA().inputs for node in node_list}
        options = {one.id: one.as_dict().get("options") for one in schema["KontextLoadModel"]}
        assert all(name in options[choice] for choice, name in choices.items())
        assert named("gone.safetensors") not in options["vae"]
    assert (
        run("KontextLoadModel", model="whole\\tiny\\")[0] is run("KontextLoadModel", model="whole/tiny/")[0]
    )


@pytest.mark.skipif(sys.platform == "win32", reason="there it is a folder")
def test_a_name_may_hold_a_backslash_itself(run: Run, node_list: list[Any], placed: Path) -> None:
    (placed / "diffusion_models" / "mine.safetensors").rename(
        placed / "diffusion_models" / "a\\b.safetensors"
    )
    assert "a\\b.safetensors" in schemas(node_list)["model"]
    assert run("KontextLoadModel", model="a\\b.safetensors")[0] is not None


@pytest.fixture
def places(comfy_base: Path) -> Iterator[SimpleNamespace]:
    """ComfyUI's input and output folder, empty."""
    folders = [comfy_base / "input", comfy_base / "output"]
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    yield SimpleNamespace(input=folders[0], output=folders[1])
    for folder in folders:
        shutil.rmtree(folder)
        folder.mkdir()


@pytest.fixture
def saved(run: Run, model: Any, places: SimpleNamespace) -> Path:
    """A chain of one turn with its latents, in a folder below the output folder."""
    chain = run("KontextTurn", model=model, image=picture(32, 48), fit="none", steps=1)[0]
    file = run("KontextSaveChain", chain=chain, filename_prefix="kontext/chain").ui["images"][0]
    return places.output / file["subfolder"] / file["filename"]


def test_no_picture_takes_load_chain_away(
    node_list: list[Any], places: SimpleNamespace, saved: Path, tmp_path: Path
) -> None:
    for folder in (places.input, places.output, saved.parent):
        shutil.copy(saved, folder / "real.png")
        (folder / "gone.png").symlink_to(folder / "nowhere.png")
        (folder / "self.png").symlink_to("self.png")
        (folder / "folder.png").mkdir()
        (folder / "round").symlink_to(folder, target_is_directory=True)
        (folder / "gone.kontext.safetensors").symlink_to(folder / "nowhere")
        (folder / "out.png").symlink_to(shutil.copy(saved, tmp_path / "out.png"))
        shutil.copy(saved.with_suffix(".kontext.safetensors"), folder / "out.kontext.safetensors")
        (folder / "drive").symlink_to(tmp_path, target_is_directory=True)
        if hasattr(os, "mkfifo"):
            os.mkfifo(folder / "pipe.png")
    shutil.copy(saved.with_suffix(".kontext.safetensors"), tmp_path / "out.kontext.safetensors")
    (places.output / "inside").symlink_to(saved.parent, target_is_directory=True)
    offered = schemas(node_list)["file"]
    assert offered[0] == "example (comes along)"
    assert offered[-1] == "real.png"
    chains = {name.removesuffix(" [output]") for name in offered[1:-1]}
    own = f"kontext/{saved.name}"
    assert chains >= {own, own.replace("kontext", "inside")}
    assert all(name.endswith(saved.name) for name in chains), "and each is the one chain, by some way"


def test_chains_by_either_slash_and_by_links_inside(run: Run, places: SimpleNamespace, saved: Path) -> None:
    prefix = "deep\\er/chain"
    chain = run("KontextLoadChain", file=f"kontext/{saved.name} [output]")[0]
    file = run("KontextSaveChain", chain=chain, filename_prefix=prefix).ui["images"][0]
    assert (places.output / "deep" / "er" / file["filename"]).is_file()
    for way in ("deep/er/{} [output]", "deep\\er\\{} [output]", "deep/er\\{} [output]"):
        assert len(run("KontextLoadChain", file=way.format(file["filename"]))[0]) == len(chain)
    (places.output / "inside").symlink_to(saved.parent, target_is_directory=True)
    assert len(run("KontextLoadChain", file=f"inside/{saved.name} [output]")[0]) == len(chain)


@pytest.mark.parametrize("name", OUT)
@pytest.mark.parametrize("kind", ["", " [output]", " [input]", " [temp]"])
def test_names_do_not_lead_out_of_input_and_output(
    run: Run, node_list: list[Any], places: SimpleNamespace, saved: Path, name: str, kind: str
) -> None:
    for folder in (places.input, places.output):
        (folder / "sub").mkdir()
    shutil.copy(saved, places.output.parent / "out.png")
    loader = next(node for node in node_list if node.GET_SCHEMA().node_id == "KontextLoadChain")
    outside = places.output.parent / "out.png"
    path = (str(outside) if name.startswith("/") else name.format(outside.name)) + kind
    with pytest.raises(ValueError, match=r"^there is no picture .* in "):
        run("KontextLoadChain", file=path)
    assert "there is no picture" in loader.validate_inputs(file=path)
    outside.unlink()


@pytest.mark.parametrize(
    "prefix", [*(name.format("x") for name in OUT), "..", "linked/x", "linked\\x", "drive"]
)
def test_results_stay_in_the_output_folder(
    run: Run, places: SimpleNamespace, saved: Path, tmp_path: Path, prefix: str
) -> None:
    """Also where a link leads out of it; ComfyUI (since 0.28) follows none there either."""
    (tmp_path / "x").mkdir()
    (places.output / "linked").symlink_to(tmp_path, target_is_directory=True)
    (places.output / "drive").symlink_to(tmp_path / "x", target_is_directory=True)
    chain = run("KontextLoadChain", file="example (comes along)")[0]
    before = sorted(path for path in places.output.parent.rglob("*") if places.output not in path.parents)
    with pytest.raises(ValueError, match=r"^filename_prefix .* leads out of ComfyUI's output folder"):
        run("KontextSaveChain", chain=chain, filename_prefix=prefix)
    after = sorted(path for path in places.output.parent.rglob("*") if places.output not in path.parents)
    assert before == after
    assert list(tmp_path.rglob("*")) == [tmp_path / "x"]


def test_a_picture_by_a_link_out_is_refused_with_the_reason(
    run: Run, places: SimpleNamespace, tmp_path: Path
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "far.png")
    (places.input / "far.png").symlink_to(tmp_path / "far.png")
    with pytest.raises(ValueError, match=r"^the picture 'far\.png' is a link that leads out of .*input"):
        run("KontextLoadChain", file="far.png")


def test_fingerprints_never_raise(node_list: list[Any], placed: Path, places: SimpleNamespace) -> None:
    """ComfyUI would run the node and all behind it at every turn; a name by a wire is None there."""
    nodes = {node.GET_SCHEMA().node_id: node for node in node_list}
    loader, lora_node, chain = (nodes[f"Kontext{name}"] for name in ("LoadModel", "Lora", "LoadChain"))
    auto = {"vae": "auto", "clip_l": "auto", "t5xxl": "auto"}
    (placed / "loras" / "l.safetensors").touch()
    (places.input / "p.png").touch()
    for bad in (None, "gone.safetensors", "../x", "a\0", 5, ["x"], {}):
        for node, inputs in (
            (loader, {"model": bad} | auto),
            (loader, {"model": "mine.safetensors"} | auto | {"vae": bad}),
            (lora_node, {"lora": bad}),
            (chain, {"file": bad}),
        ):
            assert node.fingerprint_inputs(**inputs) == node.fingerprint_inputs(**inputs)
    for node, inputs, file in (
        (loader, {"model": None} | auto, placed / "diffusion_models" / "mine.safetensors"),
        (loader, {"model": "mine.safetensors"} | auto | {"vae": None}, placed / "vae" / "x.safetensors"),
        (lora_node, {"lora": None}, placed / "loras" / "l.safetensors"),
        (chain, {"file": None}, places.input / "p.png"),
    ):
        before = node.fingerprint_inputs(**inputs)
        os.utime(file, ns=(1, 1))
        assert node.fingerprint_inputs(**inputs) != before, file


def test_a_name_that_is_not_known_yet_passes_validation(node_list: list[Any]) -> None:
    nodes = {node.GET_SCHEMA().node_id: node for node in node_list}
    for name in ("LoadModel", "Lora", "LoadChain", "VisualCue", "Turn", "Script"):
        assert nodes[f"Kontext{name}"].validate_inputs() is True
    for name, entry in (
        ("LoadModel", "model"), ("Lora", "lora"), ("LoadChain", "file"), ("VisualCue", "marks"),
        ("Turn", "marks"), ("Script", "script"),
    ):  # fmt: skip
        for value in (5, {}, ["x"], b"x"):
            assert "; it must be text" in nodes[f"Kontext{name}"].validate_inputs(**{entry: value})
