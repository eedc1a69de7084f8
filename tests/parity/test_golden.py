"""Everything equals tensors that the authors' published modules gave: relative L2 at most 1e-5, float32."""

import filecmp
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from kontext_core.config import FLUX_VAE, KONTEXT_DEV, LAYOUTS, TransformerConfig, VAEConfig
from kontext_core.model.blocks import timestep_embedding
from kontext_core.model.latents import pack
from kontext_core.model.positions import HeightWidth, layout_ids, target_ids, text_ids
from kontext_core.model.rope import rotary_table
from kontext_core.model.transformer import Transformer
from kontext_core.model.vae import VAE
from kontext_core.sampling.denoise import denoise
from kontext_core.sampling.schedule import sigmas

REPOSITORY = Path(__file__).parents[2]
COPIED = REPOSITORY / "tests" / "data" / "golden"
ORIGINAL = REPOSITORY.parent / "shared" / "golden"  # there only where the tensors are made
GOLDEN = ORIGINAL if ORIGINAL.is_dir() else COPIED
CASES: dict[str, Any] = json.loads((GOLDEN / "cases.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class TransformerCase:
    """One case of `transformer_<model>_cases.safetensors`, with what `cases.json` says of it."""

    transformer: Transformer
    layout: str
    target: HeightWidth  # in tokens
    reference_sizes: list[HeightWidth]
    timestep: float
    guidance: float
    timesteps: list[float]
    noise: Tensor
    references: list[Tensor]
    txt: Tensor
    pooled: Tensor
    img_ids: Tensor
    velocity: Tensor
    latents: Tensor

    @property
    def batch(self) -> int:
        return self.noise.shape[0]

    @property
    def n_target(self) -> int:
        return self.target[0] * self.target[1]

    @property
    def steps(self) -> int:
        return len(self.timesteps) - 1


@pytest.fixture(scope="session")
def published_keys() -> dict[str, dict[str, list[int]]]:
    """Names and shapes of the published transformer and autoencoder."""
    return json.loads((GOLDEN / "published_keys.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def embeddings() -> dict[str, Tensor]:
    """Rotary cosines and sines, and the timestep embedding."""
    return load_file(GOLDEN / "embeddings_cases.safetensors")


@pytest.fixture(scope="session", params=list(CASES["transformer"]))
def golden_transformer(request: pytest.FixtureRequest) -> tuple[str, Transformer]:
    name = request.param
    transformer = Transformer(TransformerConfig.from_dict(CASES["transformer"][name]["config"]))
    transformer.load_state_dict(load_file(GOLDEN / f"transformer_{name}.safetensors"))
    return name, transformer.eval()


@pytest.fixture(scope="session", params=list(CASES["transformer"]["kontext"]["cases"]))
def transformer_case(
    request: pytest.FixtureRequest, golden_transformer: tuple[str, Transformer]
) -> TransformerCase:
    name, transformer = golden_transformer
    said = CASES["transformer"][name]["cases"][request.param]
    tensors = load_file(GOLDEN / f"transformer_{name}_cases.safetensors")
    sizes = [tuple(reference["tokens_hw"]) for reference in said["references"]]
    return TransformerCase(
        transformer=transformer,
        layout=next((layout for layout in LAYOUTS if layout in request.param), "index"),
        target=tuple(said["target_tokens_hw"]),
        reference_sizes=sizes,
        timestep=said["timestep"],
        guidance=said["guidance"],
        timesteps=said["timesteps"],
        references=[tensors[f"{request.param}.reference_{i}"] for i in range(len(sizes))],
        pooled=tensors[f"{request.param}.vec"],
        **{
            key: tensors[f"{request.param}.{key}"]
            for key in ("noise", "txt", "img_ids", "velocity", "latents")
        },
    )


@pytest.fixture(scope="session")
def golden_vae() -> VAE:
    vae = VAE(VAEConfig.from_dict(CASES["autoencoder"]["config"]))
    vae.load_state_dict(load_file(GOLDEN / "autoencoder_tiny.safetensors"))
    return vae.eval()


@pytest.fixture(scope="session", params=range(CASES["autoencoder"]["cases"]))
def vae_case(request: pytest.FixtureRequest) -> dict[str, Tensor]:
    """`image`, `latents` (after scale and shift) and `decoded`."""
    tensors = load_file(GOLDEN / "autoencoder_tiny_cases.safetensors")
    return {key: tensors[f"case{request.param}.{key}"] for key in ("image", "latents", "decoded")}


@pytest.fixture(
    params=CASES["schedule"], ids=lambda case: f"{case['steps']}-steps-{case['image_seq_len']}-tokens"
)
def schedule_case(request: pytest.FixtureRequest) -> tuple[int, int, list[float]]:
    """Steps, target tokens, and the sigmas that belong to them."""
    case = request.param
    return case["steps"], case["image_seq_len"], case["timesteps"]


def test_the_copy_is_complete() -> None:
    if not ORIGINAL.is_dir():
        pytest.skip("the originals are not on this machine; the copy is all there is")
    names = sorted(path.name for path in ORIGINAL.iterdir())
    assert sorted(path.name for path in COPIED.iterdir()) == names
    assert filecmp.cmpfiles(ORIGINAL, COPIED, names, shallow=False)[0] == names


def test_ids(transformer_case: TransformerCase) -> None:
    case = transformer_case
    ids = [target_ids(*case.target), *layout_ids(case.target, case.reference_sizes, case.layout)]
    assert torch.equal(torch.cat(ids, dim=1).expand(case.batch, -1, -1), case.img_ids)


def test_velocity(transformer_case: TransformerCase, assert_close: Callable[..., float]) -> None:
    case = transformer_case
    velocity = case.transformer(
        img=torch.cat([pack(latents) for latents in (case.noise, *case.references)], dim=1),
        img_ids=case.img_ids,
        txt=case.txt,
        txt_ids=text_ids(case.batch, case.txt.shape[1]),
        timesteps=torch.full((case.batch,), case.timestep),
        pooled=case.pooled,
        guidance=torch.full((case.batch,), case.guidance),
        n_target=case.n_target,
    )
    assert_close(velocity, case.velocity)


def test_whole_loop(transformer_case: TransformerCase, assert_close: Callable[..., float]) -> None:
    case = transformer_case
    levels = sigmas(case.steps, case.n_target)
    assert levels == pytest.approx(case.timesteps, abs=1e-6)
    latents = denoise(
        case.transformer,
        case.noise,
        case.txt,
        case.pooled,
        levels,
        guidance=case.guidance,
        references=case.references,
        layout=case.layout,
    )
    assert_close(latents, case.latents)


def test_autoencoder(
    golden_vae: VAE, vae_case: dict[str, Tensor], assert_close: Callable[..., float]
) -> None:
    assert_close(golden_vae.encode(vae_case["image"]), vae_case["latents"])
    assert_close(golden_vae.decode(vae_case["latents"]), vae_case["decoded"])


@pytest.mark.parametrize(("dim", "furthest"), [(16, 8), (56, 256), (56, 4096)])
def test_rotary_table(
    embeddings: dict[str, Tensor], dim: int, furthest: int, assert_close: Callable[..., float]
) -> None:
    name = f"rope_d{dim}_max{furthest}"
    positions = embeddings[f"{name}.positions"]
    table = rotary_table(positions[..., None], (dim,), 10_000)
    assert_close(table.real, embeddings[f"{name}.cos"], 1e-7)
    assert_close(table.imag, embeddings[f"{name}.sin"], 1e-7)


def test_timestep_embedding(embeddings: dict[str, Tensor], assert_close: Callable[..., float]) -> None:
    t, expected = embeddings["timestep_embedding.t"], embeddings["timestep_embedding.out"]
    actual = timestep_embedding(t)
    levels = t <= 1
    assert_close(actual[levels], expected[levels])
    # exp in float32 may differ by the last bit between processors, which a large guidance scale shows
    frequencies = 10_000.0 ** -(torch.arange(128) / 128)
    last_bit = 1000 * t[:, None] * frequencies.repeat(2) * torch.finfo(torch.float32).eps
    assert ((actual - expected).abs() <= last_bit + 1e-6).all()


@pytest.mark.skipif(
    not torch.backends.mkl.is_available(), reason="torch has no MKL to be told to compute alike"
)
def test_timestep_embedding_to_the_last_bit(tmp_path: Path) -> None:
    """With the arithmetic that MKL has on every processor, all bits are the published ones."""
    script = (
        "import torch; from safetensors.torch import load_file; from kontext_core.model.blocks import timestep_embedding;"
        f"d = load_file({str(GOLDEN / 'embeddings_cases.safetensors')!r});"
        "assert torch.equal(timestep_embedding(d['timestep_embedding.t']), d['timestep_embedding.out'])"
    )
    environment = os.environ | {"MKL_CBWR": "COMPATIBLE", "PYTHONPATH": str(REPOSITORY)}
    subprocess.run([sys.executable, "-c", script], env=environment, cwd=tmp_path, check=True)


def test_schedule(schedule_case: tuple[int, int, list[float]]) -> None:
    steps, n_target, expected = schedule_case
    assert sigmas(steps, n_target) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("build", "name", "tensors", "parameters"),
    [
        (lambda: Transformer(KONTEXT_DEV), "transformer_kontext_dev", 780, 11_901_408_320),
        (lambda: VAE(FLUX_VAE), "autoencoder", 244, 83_819_683),
    ],
    ids=["transformer", "autoencoder"],
)
def test_published_keys(
    build: Callable[[], torch.nn.Module],
    name: str,
    tensors: int,
    parameters: int,
    published_keys: dict[str, dict[str, list[int]]],
) -> None:
    with torch.device("meta"):
        model = build()
    shapes = {key: list(tensor.shape) for key, tensor in model.state_dict().items()}
    assert shapes == published_keys[name]
    assert len(shapes) == tensors
    assert sum(tensor.numel() for tensor in model.parameters()) == parameters
