"""Files of all formats through the loader, in a running ComfyUI: the picture is still correct.

Those whose weights are off by more than 2 % need not be: they say how far off they are in
benchmarks/results/formats.json.
"""

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.written import FORMS, write
from kontext_core.loading import load_transformer
from kontext_core.loading.locate import TINY_FOLDER
from kontext_core.loading.save import TRANSFORMER_FILE
from kontext_core.model.transformer import Transformer
from kontext_core.remote.client import Client
from kontext_core.remote.workflow import read_workflow, to_api_form
from kontext_core.world import examples
from tools.make_workflows import showing
from tools.paths import ROOT
from tools.server import Server

pytestmark = pytest.mark.comfy
OFTEN = ("GGUF Q8_0", "fp8_scaled", "torchao int8")
MEASURED = json.loads((ROOT / "benchmarks" / "results" / "formats.json").read_text(encoding="utf-8"))[
    "formats"
]
PLAIN = ("float32", "bfloat16", "float16", "GGUF F32", "GGUF F16", "GGUF BF16")
SAID = {
    "GGUF": "GGUF, tensors", "fp8_scaled": "ComfyUI's fp8_scaled", "NF4": "NF4 of bitsandbytes",
    "FP4": "FP4 of bitsandbytes", "torchao": "of torchao",
}  # fmt: skip
MOST = 0.02  # relative L2 error of the weights


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("formats")


@pytest.fixture(scope="module")
def client(base: Path) -> Iterator[Client]:
    with Server(base=base) as server, Client(server.url) as client:
        yield client


@pytest.fixture(scope="module")
def transformer() -> Transformer:
    return load_transformer(TINY_FOLDER, dtype=torch.float32)


@pytest.mark.parametrize(
    "form", [form if form in OFTEN else pytest.param(form, marks=pytest.mark.matrix) for form in FORMS]
)
def test_the_edit_is_right(base: Path, client: Client, transformer: Transformer, form: str) -> None:
    folder = base / "models" / "diffusers" / form
    shutil.copytree(TINY_FOLDER, folder, ignore=shutil.ignore_patterns(TRANSFORMER_FILE))
    write(form, transformer, folder / "transformer")
    prompt = to_api_form(read_workflow(ROOT / "workflows" / "single_edit.json"), client.object_info())
    loader = next(id for id, node in prompt.items() if node["class_type"] == "KontextLoadModel")
    prompt[loader]["inputs"]["model"] = f"{form}/"
    result = client.run(prompt)
    text = result.outputs[loader]["text"][0]
    assert (", weights packed in " in text.splitlines()[0]) == (form not in PLAIN)
    assert SAID.get(form.split()[0], "published names") in text
    (shown,) = showing(prompt)
    picture = Image.open(io.BytesIO(client.view(result.images(shown)[0]))).convert("RGB")
    pixels = torch.from_numpy(np.asarray(picture) / np.float32(255))[None]
    right = examples.is_right(pixels, examples.EXAMPLES["single_edit"].shown[0])
    assert right or MEASURED.get(form, {}).get("weights", 0.0) > MOST
