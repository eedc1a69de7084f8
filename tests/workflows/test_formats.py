"""Files of other formats through the loader, in a running ComfyUI: the picture is still right."""

import io
import shutil
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.written import write
from kontext_core.loading import load_transformer
from kontext_core.loading.folders import TINY
from kontext_core.loading.save import TRANSFORMER_FILE
from kontext_core.remote.client import Client
from kontext_core.remote.workflow import read_workflow, to_api_form
from kontext_core.world import examples
from tools.make_workflows import showing
from tools.paths import ROOT
from tools.server import Server

pytestmark = pytest.mark.comfy
FORMS = {"GGUF Q8_0": "gguf", "fp8_scaled": "fp8"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A ComfyUI with the tiny model in each of the formats, as model folders."""
    base = tmp_path_factory.mktemp("formats")
    transformer = load_transformer(TINY, dtype=torch.float32)
    for form, name in FORMS.items():
        folder = base / "models" / "diffusers" / name
        shutil.copytree(TINY, folder, ignore=shutil.ignore_patterns(TRANSFORMER_FILE))
        write(form, transformer, folder / "transformer")
    with Server(base=base) as server, Client(server.url) as client:
        yield client


@pytest.mark.parametrize("form", FORMS)
def test_the_edit_is_right(client: Client, form: str) -> None:
    prompt = to_api_form(read_workflow(ROOT / "workflows" / "single_edit.json"), client.object_info())
    loader = next(id for id, node in prompt.items() if node["class_type"] == "KontextLoadModel")
    prompt[loader]["inputs"]["model"] = f"{FORMS[form]}/"
    result = client.run(prompt)
    text = result.outputs[loader]["text"][0]
    assert ", weights packed in " in text.splitlines()[0]
    assert ("GGUF, tensors" if "GGUF" in form else "ComfyUI's fp8_scaled") in text
    (shown,) = showing(prompt)
    picture = Image.open(io.BytesIO(client.view(result.images(shown)[0]))).convert("RGB")
    pixels = torch.from_numpy(np.asarray(picture) / np.float32(255))[None]
    assert examples.is_right(pixels, examples.EXAMPLES["single_edit"].shown[0])
